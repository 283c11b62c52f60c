"""b24bg-status and what stands in mod_status: from shared memory alone, whatever is broken."""

import base64
import concurrent.futures
import hashlib
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.parse

import pytest
from bitrix import NAME
from conftest import MAIN
from httpd import PATIENCE, PROBE_LOCATION, REGISTERING
from samples import NEW_QUERY, body, new_id, new_secret

STATUS = '<Location "/b24bg-status">\n    SetHandler b24bg-status\n</Location>\n'
MOD_STATUS = '<Location "/server-status">\n    SetHandler server-status\n</Location>\n'
FORMATS = ("html", "json", "prometheus", "text")
TYPES = {"html": "text/html; charset=utf-8", "json": "application/json",
         "prometheus": "text/plain; version=0.0.4; charset=utf-8",
         "text": "text/plain; charset=utf-8"}
HOSTILE = "\"><script>alert(1)</script>'\n\\{}"
SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')


def show(server, state, app="default", **more):
    """A row that no portal stands behind; returns its member_id."""
    member_id = more.pop("member_id", new_id())
    query = {"show": state, "app": app, "member_id": member_id, "domain": "a.example"} | more
    assert server.request("GET", f"/probe?{urllib.parse.urlencode(query)}")[2] == b"done 1\n"
    return member_id


def look(server, form="html", status=200):
    answer = server.ask("GET", f"/b24bg-status?format={form}")
    assert answer.status == status and answer.headers["Content-Type"] == TYPES[form]
    return answer.text


def metrics(text):
    """{(name, ((label, value), ...)): number} of Prometheus' text."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, number = SAMPLE.fullmatch(line).groups()
            key = name, tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            assert key not in found, f"{key} is there twice"
            found[key] = float(number)
    return found


def scrape(server):
    return metrics(server.request("GET", "/b24bg-status?format=prometheus")[2].decode())


def run(*command, text):
    return subprocess.run(command, input=text, text=True, capture_output=True, timeout=PATIENCE)


def check_page(page):
    """tidy finds nothing, nothing is fetched or run, and every bar and picture has a name."""
    tidy = run("tidy", "-q", "-e", text=page)
    assert (tidy.returncode, tidy.stderr) == (0, "")
    assert not re.search(r"<script|<link|<img|\bsrc=|\bhref=|\bon\w+=|@import|url\(|style=", page)
    for tag in re.findall(r"<(?:meter|svg)[^>]*>", page):
        assert re.search(r'aria-label="[^"]+"', tag), tag


@pytest.fixture
def shown(serve):
    """A server without a client, whose rows are made by the probe."""
    return serve(MAIN + STATUS)


@pytest.fixture
def registering(serve):
    """One that would look after the registrations of these rows."""
    return start_registering(serve)


def start_registering(serve, *conf, **more):
    server = serve(REGISTERING.format("default") + MAIN + STATUS + "".join(conf), **more)
    server.wait_for(lambda: look(server, "text").startswith("OK "), "read the store")
    return server


# The URL

@pytest.mark.parametrize("form", FORMATS)
def test_formats(shown, form):
    text = look(shown, form)
    if form == "html":
        check_page(text)
    if form == "json":
        assert json.loads(text)["level"] == "OK"
    if form == "prometheus":
        promtool = run("promtool", "check", "metrics", text=text)
        assert (promtool.returncode, promtool.stdout + promtool.stderr) == (0, "")
    if form == "text":
        assert text == "OK loads are served and counted; no app has a B24bgClient\n"


def test_html_is_the_default(shown):
    assert shown.ask("GET", "/b24bg-status").body.startswith(b"<!DOCTYPE html>")


def test_headers(shown):
    answer = shown.ask("GET", "/b24bg-status")
    style, = re.findall("<style>(.*?)</style>", answer.text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}';" \
        in answer.headers["Content-Security-Policy"]


def test_head(shown):
    answer = shown.ask("HEAD", "/b24bg-status?format=text")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == TYPES["text"]


def test_range_is_ignored(registering):
    show(registering, "lost")
    for form, status in ("html", 200), ("text", 503):
        answer = registering.ask("GET", f"/b24bg-status?format={form}", headers={"Range": "bytes=0-0"})
        assert answer.status == status and len(answer.body) > 10


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods(shown, method):
    answer = shown.ask(method, "/b24bg-status", "x" * 100 if method == "POST" else None)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("query", ["format=xml", "format=", "format=HTML", "format=text%00",
                                   "format=%", "format=json&format=x"])
def test_unknown_format(shown, query):
    answer = shown.ask("GET", f"/b24bg-status?{query}")
    assert answer.status == 400
    assert answer.text == "format: html, json, prometheus and text are allowed\n"


def test_looking_is_not_counted(shown):
    with shown.counting({}):
        for form in FORMATS:
            look(shown, form)
        shown.ask("POST", "/b24bg-status", "")
    answer = shown.ask("GET", "/b24bg-status")
    assert set(answer.log.values()) & {"worker", "beacon", "error", "install"} == set()


def test_access_control(serve):
    server = serve(MAIN + STATUS.replace("</", "Require all denied\n</"))
    server.expect("AH01630")
    assert server.ask("GET", "/b24bg-status").status == 403


def test_alone(serve):
    """Without any other Location of ours."""
    server = serve(STATUS)
    for form in FORMATS:
        look(server, form)


# What it shows

def test_counts(shown):
    before = scrape(shown)
    member_id = new_id()
    for _ in range(3):
        shown.load(f"DOMAIN=a.example&APP_SID={new_secret()}", body(member_id=member_id))
    after = scrape(shown)
    key = ("b24bg_requests_total",
           (("app", "default"), ("kind", "worker"), ("verdict", "unknown")))
    assert after[key] - before[key] == 3
    count = ("b24bg_server_seconds_count", (("app", "default"),))
    assert after[count] - before[count] == 3
    last = after["b24bg_last_load_timestamp_seconds",
                 (("app", "default"), ("portal", member_id))]
    assert abs(last - time.time()) < PATIENCE
    assert math.isnan(after["b24bg_registered", (("app", "default"), ("portal", member_id))])
    assert member_id in look(shown)
    row, = (row for row in json.loads(look(shown, "json"))["portals"]
            if row["member_id"] == member_id)
    assert (row["loads"], row["known"], row["registered"]) == (3, False, None)


def test_levels(registering):
    """What the line says, and its status."""
    assert look(registering, "text").startswith("OK ")
    doubted = show(registering, "suspect")
    assert look(registering, "text").startswith("WARNING default a.example: in doubt; ")
    lost = show(registering, "lost", domain="b.example")
    assert look(registering, "text", 503).startswith("CRITICAL default b.example: lost; default a.exam")
    show(registering, "bound", member_id=lost)
    show(registering, "bound", member_id=doubted)
    assert look(registering, "text").startswith("OK ")
    show(registering, "bound", member_id=doubted, slow=6)
    assert look(registering, "text").startswith(
        "WARNING default a.example: 6 of 10 slow loads used (browser); ")
    show(registering, "blocked", member_id=doubted, reason="uninstalled")
    assert look(registering, "text").startswith("WARNING default a.example: 6 of 10")
    show(registering, "blocked", member_id=lost, reason="payment")
    assert look(registering, "text", 503).startswith("CRITICAL default b.example: blocked: payment; ")
    for form in "html", "json", "prometheus":
        look(registering, form)  # for people and programs that read on: 200


def test_budget_limit_is_the_configured_one(serve):
    server = serve(PROBE_LOCATION + STATUS + "<B24bgApp one>\nB24bgSlowLimit 4s 20\n</B24bgApp>\n"
                   '<Location "/w">\nSetHandler b24bg-worker\n</Location>\n')
    show(server, "bound", app="one", slow=3)
    page = look(server)
    check_page(page)
    assert 'max="20"' in page and "3 of 20</span>, by browser" in page and "(over 4 s): " in page
    assert scrape(server)["b24bg_budget_limit", (("app", "one"),)] == 20
    assert "default" not in look(server, "prometheus")


def test_events_in_words(shown):
    show(shown, "bound", events="installed,notice,disabled,rebound")
    items = re.findall(r"<li>\d\d:\d\d (.*?)</li>", look(shown))
    assert items == ["installed", "disabled by Bitrix24", "confirmed lost", "registered again"]


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_domain(registering, form):
    show(registering, "suspect", domain=HOSTILE)
    text = look(registering, form)
    if form == "html":
        check_page(text)
        assert "&lt;script&gt;" in text
    elif form == "json":
        assert json.loads(text)["portals"][0]["domain"] == HOSTILE.replace("\n", "?")
    elif form == "prometheus":
        assert metrics(text) and "script" not in text
        assert run("promtool", "check", "metrics", text=text).returncode == 0
    else:
        assert text.count("\n") == 1


# With a store and a background task

def test_registered(bitrix):
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering())
    server.bound(portal)
    server.wait_for(lambda: look(server, "text") == "OK 1 registration, 1 in place\n", "show it")
    labels = (("app", NAME), ("portal", portal.member_id))
    found = scrape(server)
    assert found["b24bg_registered", labels] == 1
    assert found["b24bg_token_age_seconds", labels] < PATIENCE
    assert found["b24bg_store_up", ()] == 1
    server.worker(portal)
    page = look(server)
    check_page(page)
    for form in FORMATS:
        assert server.ask("GET", f"/b24bg-status?format={form}").status == 200  # and no secrets


def test_from_all_to_single_users(bitrix):
    """What the configuration has ceased to ask for is nobody's concern, here and to b24bgctl."""
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering())
    server.bound(portal)
    for users in ("1", "2"):
        server.write_conf(PROBE_LOCATION + STATUS + bitrix.registering(f"B24bgUsers {users}"))
        server.graceful()
        server.install(portal)
        server.wait_state(portal, "bound", int(users))
        server.wait_for(lambda: look(server, "text") == "OK 1 registration, 1 in place\n", "show it")
    shown = [row["user"] for row in json.loads(look(server, "json"))["portals"]]
    assert sorted(shown) == [0, 2]
    assert [labels for name, labels in scrape(server) if name == "b24bg_registered"] \
        == [(("app", NAME), ("portal", f"{portal.member_id}:2"))]
    assert server.ctl("status").startswith("OK - ")


def test_uninstalled(bitrix):
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering())
    server.bound(portal)
    server.send(bitrix.event(portal, "uninstall"))
    server.wait_for(lambda: "blocked: uninstalled" in look(server), "show it")
    page = look(server)
    check_page(page)
    assert "not installed here" not in page and re.search(r"<li>\d\d:\d\d uninstalled</li>", page)
    assert look(server, "text") == "OK 0 registrations, 0 in place\n"
    assert math.isnan(scrape(server)["b24bg_registered",
                                     (("app", NAME), ("portal", portal.member_id))])
    row, = json.loads(look(server, "json"))["portals"]
    assert (row["known"], row["reason"], row["level"]) == (False, "uninstalled", "OK")
    assert row["next"].startswith("nothing by itself; ")


def test_urls_and_app_taken_out(bitrix):
    """What is not looked after any more is neither claimed nor alerted of."""
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering("B24bgRebind off"))
    server.expect("B24BG0201|B24BG0322")
    server.bound(portal)
    bitrix.lose(portal)
    server.wait_for(lambda: "lost" in look(server), "show the loss")
    key = "b24bg_registered", (("app", NAME), ("portal", portal.member_id))
    assert scrape(server)[key] == 0
    server.write_conf(PROBE_LOCATION + STATUS + bitrix.conf())
    server.graceful()
    server.wait_for(lambda: "not looked after" in look(server), "show the new configuration")
    assert math.isnan(scrape(server)[key])
    assert look(server, "text") == "OK 0 registrations, 0 in place\n"
    server.write_conf(MAIN + STATUS)
    server.graceful()
    server.wait_for(lambda: key not in scrape(server), "show no metrics of its portals")
    assert portal.member_id not in look(server)


def test_store_down(bitrix):
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering())
    server.bound(portal)
    with server.held_store():
        server.install(portal)
        server.wait_for(lambda: look(server, "text").startswith("WARNING the store is down, "),
                        "say that the store is down")
        found = scrape(server)
        assert found["b24bg_store_up", ()] == 0
        assert 'role="alert"' in look(server) and "the store is down" in look(server)
        server.wait_for(lambda: scrape(server)["b24bg_journal_records", ()] == 1, "show the journal")
        assert portal.member_id in look(server)
    server.wait_for(lambda: look(server, "text").startswith("OK "), "say that it is back")


def test_cold_start_with_the_store_down(bitrix):
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + bitrix.registering())
    server.expect("B24BG030[12]")
    server.bound(portal)
    server.stop()
    store = server.state / "b24bg.db"
    kept = store.read_bytes()
    os.truncate(store, 0)
    with store.open("r+b") as file:  # the owner stays
        file.write(b"no database" * 100)
    server.start()
    server.wait_for(lambda: look(server, "text").startswith("UNKNOWN the store could not be read"),
                    "say that nothing is known")
    page = look(server)
    check_page(page)
    assert "installed the application" not in page
    server.stop()
    store.write_bytes(kept)
    server.start()
    server.wait_for(lambda: look(server, "text") == "OK 1 registration, 1 in place\n", "show it again")


def is_frozen(pid):
    """Whether none of its threads runs any more."""
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T"
               for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))


def test_dead_task(bitrix):
    """The process that runs the task is frozen; the others still answer, and say so. (Not with
    prefork, where the kernel may wake the frozen one alone for a connection.)"""
    portal = bitrix.add_portal()
    server = bitrix.serve(PROBE_LOCATION + STATUS + "StartServers 3\n" + bitrix.registering())
    server.bound(portal)
    line, = server.wait_log("B24BG0308")
    task = int(re.search(r"\[pid (\d+)", line)[1])
    os.kill(task, signal.SIGSTOP)
    try:
        server.wait_for(lambda: is_frozen(task), "stop its task")
        server.request("GET", "/probe?dead=61")
        text = look(server, "text")
        assert text.startswith("WARNING the background task has not run for 6") \
            and text.endswith("1 registration, 1 in place\n")
        page = look(server)
        check_page(page)
        assert "nothing before the background task runs" in page and portal.member_id in page
        assert json.loads(look(server, "json"))["health"]["task"] == "dead"
        assert math.isnan(scrape(server)["b24bg_store_up", ()])
    finally:
        os.kill(task, signal.SIGCONT)
    server.wait_for(lambda: look(server, "text").startswith("OK "), "say that it runs again")


# mod_status

def test_server_status(serve):
    server = start_registering(serve, "B24bgServerStatus on\n" + MOD_STATUS, modules=["status"])
    server.load()
    show(server, "lost", domain=HOSTILE)
    page = server.request("GET", "/server-status")[2].decode()
    assert "<h2>Bitrix24 background workers</h2>" in page and "CRITICAL" in page
    assert "<script" not in page and "&lt;script&gt;" in page
    lines = dict(line.split(": ", 1) for line in server.request(
        "GET", "/server-status?auto")[2].decode().splitlines() if line.startswith("B24bg"))
    assert lines["B24bgLevel"] == "CRITICAL"
    assert (lines["B24bgRegistrations"], lines["B24bgRegistered"], lines["B24bgRequests"]) \
        == ("1", "0", "1")


@pytest.mark.parametrize("line", ["", "B24bgServerStatus off\n"])
def test_server_status_is_off(serve, line):
    server = serve(line + MAIN + MOD_STATUS, modules=["status"])
    for query in "", "?auto":
        text = server.request("GET", f"/server-status{query}")[2].decode()
        assert "ackground workers" not in text and "B24bgLevel" not in text


# Under load

RELOADS, BETWEEN = 5, 10.0  # seconds of load around each reload: a minute of it


def load_until(server, stop, member_id):
    count = 0
    while not stop.is_set():
        query = NEW_QUERY.replace("xxx.bitrix24.com", "a.example")
        assert server.post(f"/b24/worker?{query}", body(member_id=member_id))[0] == 200
        count += 1
    return count


def check_grown(before, after):
    """Counters never go backwards, buckets are cumulative, and known rows are whole."""
    for key, number in before.items():
        if key[0].endswith(("_total", "_bucket", "_sum", "_count")):
            assert after[key] >= number, key
    buckets = {}
    for (name, labels), number in after.items():
        if name.endswith("_bucket"):
            buckets.setdefault((name[:-7], labels[0]), []).append(number)
    assert buckets
    for (name, app), numbers in buckets.items():
        assert numbers == sorted(numbers)
        assert numbers[-1] == after[f"{name}_count", (app,)]


# What one row is made to be in turn.
TURNS = {("lost", ""), ("blocked", "payment")}


def write_until(server, stop, member_id):
    """Writes a row over and over, as the background task does."""
    count = 0
    while not stop.is_set():
        for state, reason in TURNS:
            show(server, state, member_id=member_id, **({"reason": reason} if reason else {}))
            count += 1
    return count


def check_turns(text, member_id):
    """The row is one of them, and not half of each."""
    row, = (row for row in json.loads(text)["portals"] if row["member_id"] == member_id)
    assert (row["state"], row["reason"]) in TURNS


def scrape_until(server, stop, rows, written):
    """rows: {member_id: what b24bg_registered must say}; written: a row that changes all the time"""
    before, count = scrape(server), 0
    while not stop.wait(0.1):
        after = scrape(server)
        check_grown(before, after)
        for member_id, value in rows.items():
            assert after["b24bg_registered", (("app", "default"), ("portal", member_id))] == value
        check_turns(server.request("GET", "/b24bg-status?format=json")[2], written)
        before, count = after, count + 1
    return count


def test_scrapes_under_load(registering):
    """Every 100 ms through five graceful restarts."""
    rows = {show(registering, "bound"): 1, show(registering, "lost"): 0}
    written = show(registering, "lost")
    rows[written] = 0
    ids = [*rows, new_id()]
    stop = threading.Event()
    start = scrape(registering)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        loads = [pool.submit(load_until, registering, stop, member_id) for member_id in ids]
        scrapes = pool.submit(scrape_until, registering, stop, rows, written)
        writes = pool.submit(write_until, registering, stop, written)
        try:
            for _ in range(RELOADS):
                time.sleep(BETWEEN)
                registering.graceful()
            time.sleep(BETWEEN)
        finally:
            stop.set()
        total = sum(future.result() for future in loads)
        assert scrapes.result() > 100 and writes.result() > 100
    requests = "b24bg_requests_total"

    def answered(found):
        return sum(number for (name, _), number in found.items() if name == requests)

    registering.wait_for(lambda: answered(scrape(registering)) - answered(start) >= total,
                         "count all requests")
    end = scrape(registering)
    assert answered(end) - answered(start) == total
    assert end["b24bg_server_seconds_count", (("app", "default"),)] == answered(end)
