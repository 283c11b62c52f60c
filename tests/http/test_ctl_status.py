"""b24bgctl status, bind, unbind and rebind: on SQLite and PostgreSQL, with rows put in by SQL. A
thread of the test stands for the background task."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest
from httpd import PATIENCE
from test_ctl import (CRITICAL, CTL, GOOD, HIDDEN, MEMBER_ID, OTHER, REFRESH, USAGE, WARNING,
                      check_secrets, ctl)

SECOND = 1_000_000
DAY = 86400 * SECOND
BORN = 1_769_850_000 * SECOND  # 2026-01-31T09:00:00Z
KEY_HASH = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def now():
    return time.time_ns() // 1000


class Sqlite:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="b24bg-ctl-"))
        self.path = self.folder / "b24bg.db"
        self.place = ["--store", self.path]
        self.rows("CREATE TABLE seed (number INTEGER)")  # an empty file is no store

    def rows(self, sql):
        with contextlib.closing(sqlite3.connect(self.path, timeout=PATIENCE,
                                                isolation_level=None)) as link:
            return [tuple(map(str, row)) for row in link.execute(sql).fetchall()]

    def close(self):
        shutil.rmtree(self.folder)


class Pgsql:
    def __init__(self, database):
        self.rows = database.rows
        self.place = ["--store", f"pgsql:{database.params}"]

    def close(self):
        pass


class Store:
    def __init__(self, base):
        self.place, self.rows, self.close = base.place, base.rows, base.close
        ctl("portals", *self.place)  # makes the tables

    def insert(self, table, **values):
        texts = ", ".join(f"'{v}'" if isinstance(v, str) else str(v) for v in values.values())
        self.rows(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({texts})")

    def portal(self, member_id=MEMBER_ID, app="telephony", domain="crm.example.com", age=0,
               **changes):
        self.insert("b24bg_portals", **{
            "app": app, "member_id": member_id, "domain": domain,
            "client_endpoint": f"https://{domain}/rest/", "auth_server": "https://oauth.example",
            "access_token": HIDDEN, "refresh_token": REFRESH, "application_token": HIDDEN,
            "scope": "placement", "access_expires": 0, "refreshed": now() - age, "user_id": 1,
            "installed": BORN, "last_load": 0, "loads": 0, "change": 1, **changes})

    def registration(self, state="bound", reason="", member_id=MEMBER_ID, app="telephony",
                     **changes):
        self.insert("b24bg_registrations", **{
            "app": app, "member_id": member_id, "user_id": 0, "state": state, "reason": reason,
            "detail": "", "goal": "keep", "key_hash": KEY_HASH, "next_key_hash": "",
            "old_key_hash": "", "old_key_until": 0, "since": BORN, "bound": BORN,
            "checked": BORN + 60 * SECOND, "noticed": 0, "rebound": 0, "due": 0, "warned": 0,
            "attempts": 0, "was_bound": 1, "forced": 0, "binds": "", "command": "", "change": 1,
            **changes})

    def both(self, *positional, **named):
        self.portal()
        self.registration(*positional, **named)

    def lease(self, until=DAY, holder="www1/77/0123abcd"):
        self.insert("b24bg_leases", name="background", holder=holder, until=now() + until)

    def commands(self):
        """With "" or "done" for the result, which may have several lines."""
        return self.rows("SELECT id, app, member_id, verb, CASE result WHEN '' THEN '' ELSE 'done' "
                         "END FROM b24bg_commands")


@pytest.fixture(params=["sqlite", "pgsql"])
def store(request):
    base = Sqlite() if request.param == "sqlite" else \
        Pgsql(request.getfixturevalue("cluster").new_database())
    one = Store(base)
    yield one
    one.close()


@pytest.fixture
def sqlite():
    one = Store(Sqlite())
    yield one
    one.close()


def status(store, code=GOOD):
    first, *lines = ctl("status", *store.place, code=code).splitlines()
    assert KEY_HASH not in str(lines)
    assert first.startswith(("OK - ", "WARNING - ", "CRITICAL - ")[code])
    return first, lines


def as_json(store, code=GOOD):
    shown = json.loads(ctl("status", "--json", *store.place, code=code))
    assert shown["status"] == ("ok", "warning", "critical")[code]
    return shown


# status


def test_all_is_well(store):
    store.lease()
    store.portal(age=5 * DAY)
    store.registration(noticed=BORN + 3600 * SECOND, rebound=BORN + 7200 * SECOND)
    store.portal(OTHER, domain="a.bitrix24.ru:8080")
    store.registration(state="unbound", member_id=OTHER, checked=0)
    first, lines = status(store)
    assert first == "OK - 1 portal registered, 1 taken away by command"
    assert lines == [
        f"telephony a.bitrix24.ru:8080 {OTHER}: unbound (taken away by command) since "
        "2026-01-31T09:00Z, checked -, last notice -, last rebind -, token age 0m; next: nothing "
        "before b24bgctl bind",
        f"telephony crm.example.com {MEMBER_ID}: bound (registered) since 2026-01-31T09:00Z, "
        "checked 2026-01-31T09:01Z, last notice 2026-01-31T10:00Z, last rebind 2026-01-31T11:00Z, "
        "token age 5d; next: nothing before a notice or silence"]


def test_as_json(store):
    store.lease()
    store.portal(age=DAY)
    store.registration("blocked", "foreign-handler", detail="it is https://other.example/w",
                       user_id=7, noticed=BORN, due=BORN)
    shown = as_json(store, CRITICAL)
    [one] = shown["registrations"]
    assert 86400 <= one.pop("token_age_seconds") < 86400 + PATIENCE
    assert "b24bgctl rebind" in one.pop("remedy")
    assert one == {
        "app": "telephony", "member_id": MEMBER_ID, "domain": "crm.example.com", "user_id": 7,
        "severity": "critical", "state": "blocked", "reason": "foreign-handler",
        "detail": "it is https://other.example/w", "since_at": "2026-01-31T09:00:00Z",
        "checked_at": "2026-01-31T09:01:00Z", "noticed_at": "2026-01-31T09:00:00Z",
        "rebound_at": None, "due_at": "2026-01-31T09:00:00Z"}
    until = shown["background"].pop("until_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", until)
    assert shown["background"] == {"alive": True, "holder": "www1/77/0123abcd"}
    assert shown["summary"] == (f"CRITICAL - portal {MEMBER_ID} (crm.example.com) user 7 blocked: "
                                "foreign-handler")


def test_json_help_names_every_member(sqlite):
    sqlite.both()
    shown = as_json(sqlite, WARNING)
    text = ctl("status", "--help")
    assert set(re.findall(r"^  ([a-z_]+) {2,}", text, re.M)) == set(shown)
    assert set(re.findall(r"^    ([a-z_]+) {2,}", text, re.M)) \
        == set(shown["background"]) | set(shown["registrations"][0])


@pytest.mark.parametrize("state, code, words", [
    ("unknown", GOOD, "not asked for by the configuration"), ("suspect", WARNING, "it may be gone"),
    ("binding", WARNING, "it is being registered"), ("bound", GOOD, "registered"),
    ("unbound", GOOD, "taken away by command"), ("lost", CRITICAL, "the portal has deleted it"),
    ("new-state", WARNING, "not a state that this version knows")])
def test_states(sqlite, state, code, words):
    sqlite.lease()
    sqlite.both(state)
    first, [line] = status(sqlite, code)
    assert f": {state} ({words}) since 2026-01-31T09:00Z" in line
    if code != GOOD:
        assert first.endswith(f" - portal {MEMBER_ID} (crm.example.com) {state}")


def test_not_asked_yet(sqlite):
    sqlite.lease()
    sqlite.both("unknown", due=now())
    first, [line] = status(sqlite, WARNING)
    assert first.endswith(" unknown") and ": unknown (the portal was not asked yet)" in line


@pytest.mark.parametrize("reason, code, remedy", [
    ("no-token", CRITICAL, "install the application again"),
    ("not-admin", CRITICAL, "let an administrator"), ("wrong-app", CRITICAL, "B24bgClient"),
    ("payment", CRITICAL, "subscription"), ("daily-cap", CRITICAL, "b24bgctl bind"),
    ("uninstalled", GOOD, "no action is needed"), ("foreign-handler", CRITICAL, "b24bgctl rebind"),
    ("refused", CRITICAL, "then b24bgctl bind")])
def test_reasons(sqlite, reason, code, remedy):
    sqlite.lease()
    sqlite.both("blocked", reason, detail="says the portal")
    first, [line] = status(sqlite, code)
    assert f": blocked {reason} (no automatic work) since" in line
    assert "; why: says the portal; do: " in line and remedy in line.partition("; do: ")[2]
    if code == CRITICAL:
        assert first == f"CRITICAL - portal {MEMBER_ID} (crm.example.com) blocked: {reason}"


@pytest.mark.parametrize("state, due, words", [
    ("lost", 0, "nothing, B24bgRebind is off"), ("lost", -1, "register it again now"),
    ("lost", DAY, r"register it again at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"),
    ("suspect", -1, "ask the portal now"), ("binding", -1, "read it back now"),
    ("blocked", DAY, "go on at "), ("unknown", -1, "ask the portal now"),
    ("unknown", 0, "nothing before the configuration asks for one")])
def test_what_happens_next(sqlite, state, due, words):
    sqlite.both(state, due=due and now() + due)
    _, [line] = status(sqlite, CRITICAL if state in ("lost", "blocked") else WARNING)
    assert re.search(f"; next: {words}", line), line


@pytest.mark.parametrize("age, code", [(149, GOOD), (151, WARNING), (200, WARNING)])
def test_old_tokens(sqlite, age, code):
    sqlite.lease()
    sqlite.portal(age=age * DAY)
    sqlite.registration()
    first, [line] = status(sqlite, code)
    assert f"token age {age}d" in line
    assert (f"bound, token {age}d old" in first) == (code == WARNING)


@pytest.mark.parametrize("lease", [None, -SECOND])
def test_nobody_is_at_work(store, lease):
    store.both()
    if lease:
        store.lease(lease)
    first, _ = status(store, WARNING)
    assert first == "WARNING - no background task is at work: is Apache running?"
    assert as_json(store, WARNING)["background"]["alive"] is False
    store.rows("UPDATE b24bg_registrations SET state = 'lost'")
    assert status(store, CRITICAL)[0].endswith("; no background task is at work: is Apache running?")


def test_a_portal_without_a_registration(store):
    store.lease()
    store.portal()
    store.portal(OTHER, installed=0, refresh_token="")  # once installed: nothing is expected of it
    first, [line] = status(store, WARNING)
    assert first == f"WARNING - portal {MEMBER_ID} (crm.example.com) unknown"
    assert ": unknown (none was made: the app has no B24bgWorkerURL and B24bgErrorURL, or" in line


def test_a_registration_without_a_portal(sqlite):
    sqlite.lease()
    sqlite.registration()
    _, [line] = status(sqlite)
    assert line.startswith(f"telephony - {MEMBER_ID}: bound ") and "token age -" in line
    assert as_json(sqlite)["registrations"][0]["domain"] is None


def test_a_forgotten_portal_is_not_registered(store):
    store.lease()
    store.portal(installed=0, refresh_token="")
    store.registration()
    assert status(store)[0] == "OK - 0 portals registered"


@pytest.mark.parametrize("place, word, code", [
    (["--store", "/nonexistent/b.db"], "critical", CRITICAL),
    (["--store", "x:y"], "unknown", USAGE)])
def test_no_store(place, word, code):
    """Monitors show what is on stdout."""
    run = subprocess.run([CTL, "status", *place], text=True, capture_output=True, timeout=PATIENCE)
    assert run.returncode == code
    line, = run.stdout.splitlines()
    why = run.stderr.removeprefix("b24bgctl: ").strip()
    assert line == f"{word.upper()} - {why}"
    run = subprocess.run([CTL, "status", "--json", *place], text=True, capture_output=True,
                         timeout=PATIENCE)
    assert run.returncode == code
    assert json.loads(run.stdout) == {"status": word, "summary": line, "background": None,
                                      "registrations": []}


def test_no_portals(store):
    store.lease()
    assert status(store) == ("OK - 0 portals registered", [])
    assert as_json(store)["registrations"] == []


def test_many(sqlite):
    sqlite.lease()
    for number in range(6):
        member_id = f"{number:032x}"
        sqlite.portal(member_id, domain=f"p{number}.example.com")
        sqlite.registration("lost" if number < 5 else "suspect", member_id=member_id)
    sqlite.portal(OTHER, app="chat")
    for user in (9, 7):
        sqlite.registration(member_id=OTHER, app="chat", user_id=user)
    first, lines = status(sqlite, CRITICAL)
    assert first.startswith("CRITICAL - portal ") and first.count("portal ") == 3
    assert first.endswith("; and 2 more") and "suspect" not in first
    assert [line.partition(":")[0] for line in lines] == [
        f"chat crm.example.com {OTHER} user 7", f"chat crm.example.com {OTHER} user 9",
        *(f"telephony p{n}.example.com {n:032x}" for n in range(6))]
    sqlite.rows("DELETE FROM b24bg_registrations WHERE app = 'telephony'")
    sqlite.rows("DELETE FROM b24bg_portals WHERE app = 'telephony'")
    assert status(sqlite)[0] == "OK - 1 portal registered"


def test_what_is_in_the_store_breaks_no_line(sqlite):
    sqlite.lease()
    sqlite.both("blocked", "refused", detail="one\ntwo\x1b[31m")
    _, [line] = status(sqlite, CRITICAL)
    assert "\x1b" not in line and "one two" in line


# bind, unbind, rebind


@contextlib.contextmanager
def task(store, answer):
    """Carries out commands: `answer(id, app, member_id, verb)` returns the result, or None."""
    stop = threading.Event()
    seen = []

    def work():
        while not stop.wait(0.05):
            for command in store.commands():
                if command[:4] not in seen:
                    seen.append(command[:4])
                    result = answer(*command[:4])
                    if result:
                        store.rows(f"UPDATE b24bg_commands SET result = '{result}' "
                                   f"WHERE id = '{command[0]}'")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("verb", ["bind", "unbind", "rebind"])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("name", [MEMBER_ID, "CRM.example.com"])
def test_a_command_is_carried_out(store, verb, dry, name):
    store.both()
    with task(store, lambda *_: "0 bound at the portal.\nThe old key lives for 10 minutes.") as seen:
        output = ctl(verb, "telephony", name, *dry, *store.place)
    assert output == "bound at the portal.\nThe old key lives for 10 minutes.\n"
    [(number, *command)] = seen
    assert re.fullmatch("[0-9a-f]{32}", number)
    assert command == ["telephony", MEMBER_ID, ("dry-" if dry else "") + verb]


@pytest.mark.parametrize("result, code, printed", [
    ("1 bound, but late", WARNING, "bound, but late\n"), ("2 refused", CRITICAL, "refused\n"),
    ("3 what", USAGE, "what\n"), ("4 what", CRITICAL, "4 what\n"), ("done", CRITICAL, "done\n"),
    ("0 a\x1b[31m\tb\r\nc\n", GOOD, "a [31m b \nc\n")])
def test_results(sqlite, result, code, printed):
    sqlite.both()
    with task(sqlite, lambda *_: result):
        output = ctl("bind", "telephony", MEMBER_ID, *sqlite.place, code=code)
    assert output == printed


@pytest.mark.parametrize("app, name", [("telephony", "other.example.com"), ("chat", MEMBER_ID),
                                       ("telephony", OTHER), ("", "")])
def test_an_unknown_portal(store, app, name):
    store.both()
    error = ctl("bind", app, name, *store.place, code=CRITICAL)
    assert f'app "{app}" has no portal "{name}"' in error
    assert store.commands() == []


@pytest.mark.parametrize("words, complaint", [
    ("bind telephony", "bind APP PORTAL"), ("unbind", "unbind APP PORTAL"),
    ("rebind a b c", "rebind APP PORTAL"), ("bind a b --timeout 0", "--timeout: "),
    ("bind a b --timeout 601", "--timeout: "), ("status a", "status takes no words"),
    ("status --dry-run", "status does not take --dry-run"),
    ("status --timeout 1", "status does not take --timeout")])
def test_usage(sqlite, words, complaint):
    assert complaint in ctl(*words.split(), *sqlite.place, code=USAGE)
    assert sqlite.commands() == []


@pytest.mark.parametrize("lease, words", [
    (None, "No background task has this store: is Apache running, with a B24bgClient?"),
    (-SECOND, "The last background task, www1/77/0123abcd, was at work until 20"),
    (DAY, "The background task www1/77/0123abcd has the store until 20")])
def test_nobody_takes_it(store, lease, words):
    store.both()
    if lease:
        store.lease(lease)
    start = time.monotonic()
    error = ctl("bind", "telephony", MEMBER_ID, "--timeout", 1, *store.place, code=CRITICAL)
    assert 1 <= time.monotonic() - start < 1 + PATIENCE / 4
    assert ("no result in time: Apache's background task has not taken the command, which is "
            "withdrawn. ") in error and words in error
    [(*_, result)] = store.commands()
    assert result, "nobody carries it out hours later"


def test_it_is_under_way(store):
    store.both("suspect")

    def begin(number, *_):
        store.rows(f"UPDATE b24bg_registrations SET command = '{number}'")

    with task(store, begin):
        error = ctl("rebind", "telephony", MEMBER_ID, "--timeout", 1, *store.place, code=CRITICAL)
    assert "has begun with it, and goes on" in error


def test_it_tells_that_it_waits(sqlite):
    sqlite.both()
    error = ctl("bind", "telephony", MEMBER_ID, "--timeout", 4, *sqlite.place, code=CRITICAL)
    assert re.findall(r"^b24bgctl: waiting for .*, (\d) s$", error, re.M) == ["2"]


def start_bind(store):
    """A bind that waits for its result."""
    waiting = subprocess.Popen([CTL, "bind", "telephony", MEMBER_ID, *store.place], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + PATIENCE
    while not store.commands():
        assert time.monotonic() < end
        time.sleep(0.02)
    return waiting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_waiting_withdraws_it(sqlite, number):
    sqlite.both()
    waiting = start_bind(sqlite)
    waiting.send_signal(number)
    output, error = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == CRITICAL and output == ""
    assert "interrupted: Apache's background task has not taken the command" in error
    [(*_, result)] = sqlite.commands()
    assert result


def test_a_result_in_the_last_moment_counts(sqlite):
    """Stopped while it sleeps, it looks again only when it withdraws: the result is there by then."""
    sqlite.both()
    waiting = start_bind(sqlite)
    waiting.send_signal(signal.SIGSTOP)
    sqlite.rows("UPDATE b24bg_commands SET result = '0 bound after all'")
    waiting.send_signal(signal.SIGINT)
    waiting.send_signal(signal.SIGCONT)
    output, error = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, output, error) == (GOOD, "bound after all\n", "")


def test_a_command_of_its_own_each_time(sqlite):
    sqlite.both()
    with task(sqlite, lambda *_: "0 done"):
        for _ in range(2):
            ctl("unbind", "telephony", MEMBER_ID, *sqlite.place)
    assert len({number for number, *_ in sqlite.commands()}) == 2


def test_the_store_fails_while_it_waits(sqlite):
    sqlite.both()
    waiting = start_bind(sqlite)
    sqlite.rows("DROP TABLE b24bg_commands")
    output, error = waiting.communicate(timeout=PATIENCE)
    check_secrets(output + error)
    assert waiting.returncode == CRITICAL and "It may still be carried out" in error
