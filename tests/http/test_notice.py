"""Notices for an app with a client: whose they are, what is kept of them, and what somebody learns
who has no key. Live keys are made by the probe module, as registrations would make them."""

import contextlib
import re
import time

import pytest
from bitrix import NAME, key_hash
from conftest import MODES, requests
from httpd import PROBE_LOCATION
from samples import (DESCRIPTION, FORM, KEY, NOTICE_A, NOTICE_B, NOTICE_C, NOTICE_E, OVERTIME, SECRETS,
                     http, new_secret)
from test_registration import key_of

LINE = re.compile(r"\[b24bg:error\] .*B24BG0201: .*app=(\S+) portal=(\S+) domain=(\S+) error=(\S+) "
                  r'description="(.*?)"$')
DEAD = re.compile(r"\[b24bg:warn\] .*B24BG0203: .*app=(\S+) count=(\d+) error=(\S+) "
                  r'description="(.*?)"$')


def notices(result, app=NAME):
    return f"notices app={app} result={result}"


@pytest.fixture
def portal(bitrix):
    return bitrix.add_portal()


@pytest.fixture
def server(bitrix, portal):
    """Knows the portal."""
    server = bitrix.serve(PROBE_LOCATION + bitrix.conf())
    server.installed(portal)
    server.expect("B24BG0201|B24BG0203")
    return server


def send(server, key, body=NOTICE_A, method="POST", query="", content_type=FORM):
    return server.ask(method, f"/b24/error/{key}?{query}", body, content_type)


def lines(server, pattern=LINE, tag="B24BG0201"):
    found = [pattern.search(line) for line in server.tagged(tag)]
    return [line and line.groups() for line in found]


def dead_lines(server):
    return lines(server, DEAD, "B24BG0203")


@contextlib.contextmanager
def nothing_kept(server, portal):
    """What happens inside leaves nothing in journal and inbox: only what comes after it does."""
    before = server.notices()
    yield
    assert send(server, server.make_key(portal), "error=AFTERWARDS").status == 200
    assert server.notices() == before + 1


# Live keys

# name: method, query, body, type
VARIANTS = {
    "A": ("POST", "", NOTICE_A, FORM), "B": ("POST", "", NOTICE_B, FORM),
    "C": ("POST", "", NOTICE_C, FORM), "D, GET": ("GET", NOTICE_B, None, None),
    "D, POST": ("POST", NOTICE_C, "", FORM), "E": ("POST", "", NOTICE_E, "application/json"),
}


def test_live_key(server, portal):
    """Every variant is attributed, counted, logged and kept; who it claims to be does not matter."""
    key = server.make_key(portal)
    kept = {"notice": NAME, "key_hash": key_hash(key), "error": OVERTIME,
            "error_description": DESCRIPTION}
    with server.held_store():
        for number, (method, query, body, content_type) in enumerate(VARIANTS.values(), 1):
            with server.counting({requests("error", "ok", NAME): 1, notices("live"): 1}):
                answer = send(server, key, body, method, query, content_type)
            assert (answer.status, answer.body) == (200, b"")
            assert answer.log["verdict"] == "ok" and answer.log["app"] == NAME
            assert answer.log["portal"] == portal.member_id
            assert lines(server) == number * [(NAME, portal.member_id, portal.domain, OVERTIME,
                                               DESCRIPTION)]
            assert server.journal() == number * [kept]
        assert key.encode() not in (server.state / "journal").read_bytes()
    assert server.notices() == len(VARIANTS)
    assert dead_lines(server) == []


@pytest.mark.parametrize("mode", MODES)
def test_kept_before_the_answer(bitrix, portal, mode):
    """So kill -9 right behind it changes nothing."""
    server = bitrix.serve(PROBE_LOCATION + bitrix.conf(), **MODES[mode])
    server.installed(portal)
    server.expect("B24BG0201")
    key = server.make_key(portal)
    with server.held_store():
        assert send(server, key, "error=ONE&error_description=a+%26+%D0%B6").status == 200
        server.kill()
        (notice,) = server.journal()
        assert (notice["error"], notice["error_description"]) == ("ONE", "a & ж")
        server.start()
    server.end_lease()
    assert server.notices() == 1


def test_upper_case_key(server, portal):
    assert send(server, server.make_key(portal).upper()).log["verdict"] == "ok"


def test_other_codes_count_too(server, portal):
    """Only the code matters, and whoever knows the key may send any; what it means is decided
    later."""
    with server.held_store():
        send(server, server.make_key(portal), "error=SOMETHING+NEW")
        assert server.journal()[0]["error"] == "SOMETHING_NEW"


NO_NOTICE = {
    "look": ("GET", "", None), "HEAD": ("HEAD", "", None), "empty": ("POST", "", ""),
    "other fields": ("GET", "x=1", None),
}


def test_without_a_code_it_is_no_notice(server, portal):
    key = server.make_key(portal)
    with nothing_kept(server, portal):
        for method, query, body in NO_NOTICE.values():
            with server.counting({requests("error", "ok", NAME): 1}):
                answer = send(server, key, body, method, query)
            assert (answer.status, answer.log["verdict"]) == (200, "ok")
            assert answer.log["portal"] == "-"
        assert lines(server) == [] and dead_lines(server) == []


def test_unreadable(server, portal):
    key = server.make_key(portal)
    with nothing_kept(server, portal):
        for payload in ("x=%ZZ", "ts=1&auth[domain]=x", "error=", "error_description=x", "{}"):
            answer = send(server, key, payload)
            assert (answer.status, answer.body, answer.log["verdict"]) == (200, b"", "malformed")
        assert lines(server) == [] and dead_lines(server) == []


# Dead keys

def dead_paths(live):
    """Ends of the path that are not the live key."""
    return ["", "/", "/x", f"/{KEY}", f"/{new_secret()}", f"/{live}/", f"/{live}0", f"/{live[:-1]}",
            f"/{live};x=1", f"/{live}/more", f"/{live[:-1]}g"]


def test_dead_keys(server, portal):
    """Nothing is changed, whatever they say; they are counted, and one line tells of the first."""
    paths = dead_paths(server.make_key(portal))
    with nothing_kept(server, portal):
        for path in paths:
            with server.counting({requests("error", "unknown", NAME): 1, notices("dead"): 1}):
                answer = server.ask("POST", f"/b24/error{path}", NOTICE_C)
            assert (answer.status, answer.body) == (200, b"")
            assert (answer.log["verdict"], answer.log["portal"]) == ("unknown", "-")
        assert lines(server) == []
    assert dead_lines(server)[0] == (NAME, "1", OVERTIME, DESCRIPTION)


@pytest.mark.parametrize("mode", MODES)
def test_a_line_a_minute(bitrix, portal, mode):
    """Of all processes together, and for each app; the first line tells of one notice."""
    other = bitrix.add_app()
    server = bitrix.serve(
        PROBE_LOCATION + bitrix.conf() + bitrix.app_conf(app=other, name="other")
        + f"<Location /b24>\nB24bgUse {NAME}\n</Location>\n"
          "<Location /other>\nSetHandler b24bg-error\nB24bgUse other\n</Location>", **MODES[mode])
    server.expect("B24BG0203")
    server.wait_keys()
    start = time.monotonic()
    with server.counting({requests("error", "unknown", NAME): 40, notices("dead"): 40,
                          requests("error", "unknown", "other"): 40, notices("dead", "other"): 40}):
        for number in range(40):
            for place in "b24/error", "other":
                server.ask("POST", f"/{place}/{new_secret()}", f"error=CODE_{number}")
    minutes = int((time.monotonic() - start) / 60)
    for app in NAME, "other":
        first, *more = [line for line in dead_lines(server) if line[0] == app]
        assert first == (app, "1", "CODE_0", "") and len(more) <= minutes


def test_a_key_dies(server, portal):
    key = server.make_key(portal)
    assert send(server, key).log["verdict"] == "ok"
    server.end_key(key)
    with nothing_kept(server, portal):
        assert send(server, key).log["verdict"] == "unknown"


def test_reloads_keep_keys(bitrix, portal):
    """Those of registrations; what else is in the table goes."""
    server = bitrix.serve(PROBE_LOCATION + bitrix.registering())
    server.expect("B24BG020[13]")
    server.bound(portal)
    stray = server.make_key(portal)
    for reload in server.graceful, server.restart:
        reload()
        assert send(server, key_of(portal)).log["portal"] == portal.member_id
        server.wait_for(lambda: send(server, stray).log["verdict"] == "unknown", "drop the key")


def test_a_key_is_good_for_its_app_alone(bitrix, portal):
    other = bitrix.add_app()
    server = bitrix.serve(
        PROBE_LOCATION + bitrix.conf() + bitrix.app_conf(app=other, name="other")
        + f"<Location /b24>\nB24bgUse {NAME}\n</Location>\n"
          "<Location /other>\nSetHandler b24bg-error\nB24bgUse other\n</Location>")
    server.expect("B24BG020[13]")
    server.installed(portal)
    key = server.make_key(portal)
    with nothing_kept(server, portal):
        assert server.ask("POST", f"/other/{key}", NOTICE_A).log["verdict"] == "unknown"
    assert send(server, key).log["verdict"] == "ok"


def test_an_app_without_a_client_has_no_keys(bitrix, portal):
    """Its notices are logged one by one, beside an app that has keys."""
    server = bitrix.serve(
        PROBE_LOCATION + bitrix.conf() + "<B24bgApp plain>\n</B24bgApp>\n"
        + f"<Location /b24>\nB24bgUse {NAME}\n</Location>\n"
          "<Location /plain>\nSetHandler b24bg-error\nB24bgUse plain\n</Location>")
    server.expect("B24BG0201")
    server.installed(portal)
    key = server.make_key(portal)
    with nothing_kept(server, portal):
        for _ in range(3):
            with server.counting({requests("error", "unknown", "plain"): 1,
                                  notices("unattributed", "plain"): 1}):
                server.ask("POST", f"/plain/{key}", NOTICE_A)
        own = [line for line in server.tagged("B24BG0201") if " app=plain portal=- error=" in line]
        assert len(own) == 3


# Before the keys are read

@contextlib.contextmanager
def missing_store(server):
    """It is not there when the server starts: the keys are in it, and nowhere else."""
    server.expect("B24BG0302")
    server.kill()
    path = server.state / "b24bg.db"
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    server.start()
    yield
    path.rmdir()
    path.with_suffix(".away").rename(path)
    server.end_lease()


@pytest.mark.parametrize("mode", MODES)
def test_a_notice_before_the_keys_are_read(bitrix, portal, mode):
    """It is kept, and when the store is back the portal is asked."""
    server = bitrix.serve(PROBE_LOCATION + bitrix.registering(), **MODES[mode])
    server.expect("B24BG020[13]|B24BG0322")
    server.bound(portal)
    with missing_store(server):
        server.wait_log("B24BG0302")
        bitrix.lose(portal)
        server.wait_log("B24BG0201")
        line, = server.tagged("B24BG0201")
        assert f"app={NAME} portal=- error={OVERTIME} " in line
        (kept,) = server.journal()
        assert kept["error"] == OVERTIME
        for path in "", "/x", f"/{KEY}0":  # without a key it is dead as ever
            answer = server.ask("POST", f"/b24/error{path}", NOTICE_A)
            assert (answer.status, answer.log["verdict"]) == (200, "unknown")
        assert server.journal() == [kept]
    server.wait_log("B24BG0321")
    server.check_agrees(portal)
    assert send(server, new_secret()).log["verdict"] == "unknown"


def early_notice(last):
    return http("POST", f"/b24/error/{new_secret()}", b"error=X",
                f"Content-Type: {FORM}\nConnection: {'close' if last else 'keep-alive'}")


def test_early_notices_are_bounded(bitrix, portal):
    server = bitrix.serve(PROBE_LOCATION + bitrix.registering())
    server.expect("B24BG020[13]")
    server.bound(portal)
    with missing_store(server):
        with server.counting({requests("error", "ok", NAME): 1000, notices("live"): 1000,
                              requests("error", "unknown", NAME): 20, notices("dead"): 20}):
            for _ in range(17):
                server.raw(b"".join(early_notice(last=number == 59) for number in range(60)))
        assert len(server.journal()) == 1000
    assert server.notices() == 1000
    server.wait_for(lambda: server.open_messages() == 0, "look at all of them")
    assert bitrix.asked(portal) == 2  # before and after the bind


# What others learn

def ask_all(server, paths, method, body=None, headers="Connection: close", version="1.1"):
    """The answers of all, without their dates, as they came over the wire."""
    query = "" if body is not None else f"?{NOTICE_A}"
    request = [http(method, f"/b24/error{path}{query}", (body or "").encode(),
                    f"Content-Type: {FORM}\n{headers}", version) for path in paths]
    return {re.sub(rb"Date: [^\r]*", b"", server.raw(one, "close" in headers)) for one in request}


def test_no_oracle(server, portal):
    """Live, dead or missing: the same bytes, and the connection lives on or ends alike."""
    live = server.make_key(portal)
    paths = [f"/{live}", *dead_paths(live)]
    for body in NOTICE_A, NOTICE_E, f"{NOTICE_A}&x={'x' * 70000}", "", "x=%":
        (answer,) = ask_all(server, paths, "POST", body)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\n")
    (answer,) = ask_all(server, paths, "POST", NOTICE_A, "Connection: keep-alive", "1.0")
    assert b"\r\nKeep-Alive: " in answer
    for method in "GET", "HEAD", "OPTIONS", "PUT":
        assert len(ask_all(server, paths, method)) == 1


FORMATS = r"""
LogFormat "%U%q %f %r %{b24bg-portal}n %{Referer}i" all
CustomLog "all.log" all
ExtendedStatus On
<Location "/server-status">
    SetHandler server-status
</Location>
"""


def written(key):
    """Ways to write it in a path."""
    return [f"/b24/error/{key}", f"/b24//error/{key}", f"/b24/./error//{key}",
            f"/b24/error/%{ord(key[0]):02x}{key[1:]}", f"/b24/x/../error/{key}",
            f"/b24/error/{key.upper()}"]


@pytest.mark.parametrize("mode", MODES)
def test_a_live_key_is_in_no_log(bitrix, portal, mode):
    """The end of every test looks for it in error and access log; here in whatever else logs."""
    server = bitrix.serve(PROBE_LOCATION + FORMATS + bitrix.conf(),
                          modules=["status"], log_level="debug", **MODES[mode])
    server.expect("B24BG0201")
    server.installed(portal)
    key = server.make_key(portal)
    SECRETS.append(key[1:].upper())
    for target in written(key):
        answer = server.ask("POST", target, NOTICE_A)
        assert answer.log["verdict"] == "ok"
        assert re.fullmatch(r"POST /b24/error/-[?]n=\d+ HTTP/1.1", answer.log["request"])
    page = server.request("GET", "/server-status")[2].decode()
    text = page + server.read("all.log") + server.error_log()
    assert "POST /b24/error/-" in page and "/b24/error/-?n=" in server.read("all.log")
    assert portal.member_id in server.read("all.log")
    assert key[1:] not in text and key[1:].upper() not in text


# Trouble

def test_journal_that_cannot_be_written(bitrix, portal):
    """503, a line of level crit once a minute, and the notice is in the log at least."""
    server = bitrix.serve(PROBE_LOCATION + bitrix.conf(), **MODES["X"])
    server.installed(portal)
    server.stop()
    server.expect("B24BG0201|B24BG0203|B24BG0204|B24BG0312")
    journal = server.state / "journal"
    journal.unlink()
    journal.mkdir()
    server.start()
    server.wait_keys()
    key = server.make_key(portal)
    for number in range(1, 4):
        with server.counting({requests("error", "refused", NAME): 1, notices("live"): 1,
                              f"refusals app={NAME} reason=journal": 1}):
            answer = send(server, key)
        assert (answer.status, answer.log["verdict"]) == (503, "refused")
        assert answer.text == "notice: it could not be kept safely; see the error log\n"
        assert answer.log["portal"] == portal.member_id
        assert lines(server) == number * [(NAME, portal.member_id, portal.domain, OVERTIME,
                                           DESCRIPTION)]
    (line,) = server.tagged("B24BG0204")
    assert "[b24bg:crit]" in line and f"app={NAME} portal={portal.member_id};" in line
    assert send(server, new_secret()).status == 200
    assert send(server, key, "").status == 200
    journal.rmdir()
    assert send(server, key).status == 200
    assert server.notices() == 1
