"""Slow loads: who counted them, when they are warned of, and how long they are remembered."""

import re
import time

import pytest
from conftest import MAIN, MODES, read_answer, requests
from httpd import PROBE_LOCATION
from samples import FORM, body, http, new_id, number

BEACON = "/b24/worker?b24bg=load"
WARNING = "B24BG0(?:108|333)"  # of a known portal the task may be faster than the request
LOST = "B24BG0201|B24BG0322"
PATIENT = 0.15  # seconds by which a client is slow, where B24bgSlowLimit is SHORT
SHORT = "B24bgSlowLimit 100ms 10"


def app(lines):
    return f"<B24bgApp one>\n{lines}\n</B24bgApp>\n{MAIN}"


def warned(server):
    """[(used, source)] of the warnings so far."""
    line = re.compile(rf":warn\].*{WARNING}: .* used=(\d+) source=(\w+)$", re.M)
    return [(int(used), source) for used, source in line.findall(server.error_log())]


def tell(server, tag, milliseconds=6000):
    """A beacon, which must count."""
    answer = server.ask("POST", BEACON, f"tag={tag}&ms={milliseconds}", "text/plain")
    assert answer.log["verdict"] == "ok", answer


def slow_page(server, member_id, times=1):
    """Loads of a portal that nobody knows, slow in the browser."""
    for _ in range(times):
        page = server.load("DOMAIN=a.example", body(member_id=member_id))
        tell(server, page.tag)


def slow_answer(server, member_id, times=1):
    """Loads that are slow before the page is there: the body takes its time."""
    for _ in range(times):
        mark, payload = number(), body(member_id=member_id).encode()
        with server.connect() as link:
            link.sendall(http("POST", f"/b24/worker?DOMAIN=a.example&n={mark}", None,
                              f"Content-Type: {FORM}\nContent-Length: {len(payload)}"))
            time.sleep(PATIENT)
            link.sendall(payload)
            assert read_answer(link)[0] == 200
            server.logged(mark)


# Warnings

@pytest.mark.parametrize("mode", MODES)
def test_five_and_eight_are_warned_of_once(serve, mode):
    server = serve(MAIN, **MODES[mode])
    server.expect(WARNING)
    member_id = new_id()
    slow_page(server, member_id, 4)
    assert not warned(server)
    slow_page(server, member_id, 8)
    assert warned(server) == [(5, "browser"), (8, "browser")]
    line, _ = server.tagged(WARNING)
    assert "at the next one after 10 Bitrix24 deletes the registration" in line
    assert f"app=default portal={member_id} domain=a.example user=0 used=5 source=browser" in line
    slow_page(server, new_id(), 4)
    if mode != "X":
        server.graceful()
        slow_page(server, member_id)
    assert len(warned(server)) == 2


@pytest.mark.parametrize("count, used", [(1, [1]), (2, [1]), (3, [1, 2]), (20, [10, 16])])
def test_default_numbers_follow_the_count(serve, count, used):
    server = serve(app(f"B24bgSlowLimit 5s {count}"))
    server.expect(WARNING)
    slow_page(server, new_id(), count)
    assert warned(server) == [(number, "browser") for number in used]


@pytest.mark.parametrize("after, more, used", [("2 5 8", 1, [5]), ("8", 2, [5, 8])])
def test_other_numbers_after_a_reload(serve, after, more, used):
    server = serve(app("B24bgBudgetWarn 5 8"))
    server.expect(WARNING)
    member_id = new_id()
    slow_page(server, member_id, 6)
    server.write_conf(app(f"B24bgBudgetWarn {after}"))
    server.graceful()
    slow_page(server, member_id, more)
    assert warned(server) == [(number, "browser") for number in used]


def test_each_portal_is_warned_of(serve):
    server = serve(MAIN)
    server.expect(WARNING)
    ids = [new_id() for _ in range(3)]
    for _ in range(5):
        for member_id in ids:
            slow_page(server, member_id)
    assert [re.search("portal=(\\w+)", line)[1] for line in server.tagged(WARNING)] == ids


# B24bgBudgetWarn, or nothing; slow loads at which there is a warning
NUMBERS = {"1 3 10": [1, 3, 10], "2": [2], "5 8": [5, 8], "10 11 12": [10, 11, 12],
           "3\nB24bgBudgetWarn 4": [3, 4], "1000": []}


@pytest.mark.parametrize("numbers", NUMBERS)
def test_other_numbers(serve, numbers):
    server = serve(app(f"B24bgSlowLimit 5s 1000\nB24bgBudgetWarn {numbers}"))
    server.expect(WARNING)
    slow_page(server, new_id(), 12)
    assert [used for used, _ in warned(server)] == NUMBERS[numbers]


def test_the_limit_in_the_warning_is_that_of_the_app(serve):
    server = serve(app("B24bgSlowLimit 2s 4\nB24bgBudgetWarn 1"))
    server.expect(WARNING)
    page = server.load("DOMAIN=a.example", body(member_id=new_id()))
    tell(server, page.tag, 2001)
    line, = server.tagged(WARNING)
    assert "at the next one after 4 Bitrix24" in line


def test_loads_that_are_not_slow_use_nothing_up(serve):
    server = serve(app("B24bgBudgetWarn 1"))
    for milliseconds in 0, 4999, 5000:
        page = server.load("DOMAIN=a.example", body(member_id=new_id()))
        tell(server, page.tag, milliseconds)
    assert not warned(server)


# Who counts

@pytest.mark.parametrize("mode", MODES)
def test_the_servers_own_slow_answers(serve, mode):
    server = serve(app(f"{SHORT}\nB24bgBudgetWarn 2"), **MODES[mode])
    server.expect(WARNING)
    member_id = new_id()
    slow_answer(server, member_id, 3)
    assert warned(server) == [(2, "server")]
    assert server.counters()[f"budget app=one member_id={member_id} user=0 source=server"] == 3


def test_what_is_no_load_uses_nothing_up(serve):
    """However slow."""
    server = serve(app(f"{SHORT}\nB24bgBudgetWarn 1"))
    before = server.counters()
    for target, status in ("/b24/worker?x=1", 400), ("/b24/error?x=1", 200):
        mark = number()
        with server.connect() as link:
            link.sendall(http("POST", f"{target}&n={mark}", None,
                              f"Content-Type: {FORM}\nContent-Length: 3"))
            time.sleep(PATIENT)
            link.sendall(b"a=b")
            assert read_answer(link)[0] == status
            server.logged(mark)
    grown = server.counters() - before
    assert sum(grown[name] for name in grown if name.startswith("requests")) == 2
    assert not [name for name in grown if name.startswith(("slow_loads", "budget"))]
    assert not warned(server)


def test_browsers_count_before_the_server(serve):
    """Its slow answers are slow loads too, but of the rest of the way it knows nothing."""
    server = serve(app(f"{SHORT}\nB24bgBudgetWarn 2 3"))
    server.expect(WARNING)
    member_id = new_id()
    slow_answer(server, member_id, 2)
    assert warned(server) == [(2, "server")]
    time.sleep(1.1)  # a window is known by the second in which it begins
    # The window is the browsers' now, which begins with one
    page = server.load("DOMAIN=a.example", body(member_id=member_id))
    tell(server, page.tag, 101)
    slow_answer(server, member_id, 2)
    assert warned(server) == [(2, "server")]
    for _ in range(2):
        tell(server, server.load("DOMAIN=a.example", body(member_id=member_id)).tag, 101)
    assert warned(server) == [(2, "server"), (2, "browser"), (3, "browser")]


# Known portals

def conf(bitrix, lines="", **more):
    return PROBE_LOCATION + bitrix.registering(lines, **more)


@pytest.fixture
def server(bitrix):
    made = bitrix.serve(conf(bitrix))
    made.expect(f"{LOST}|{WARNING}")
    return made


def page_of(server, portal, handler="http://h/b24/worker", **fields):
    """A new render's."""
    message = server.bitrix.worker(portal, server.bitrix.app, handler, **fields)
    return server.ask("POST", message.target, message.body)


def slow(server, portal, times=1, handler="http://h/b24/worker", **fields):
    """Loads of a known portal that are slow in the browser."""
    for _ in range(times):
        tell(server, page_of(server, portal, handler, **fields).tag)


def used(server, portal, source="browser", user=0):
    return server.counters()[f"budget app=telephony member_id={portal.member_id} user={user} "
                             f"source={source}"]


def wait_used(server, portal, number_, source="browser"):
    server.wait_for(lambda: used(server, portal, source) == number_,
                    f"have used up {number_} by {source}, it is {used(server, portal, source)}")


def may_be_asked(server):
    """At once; else the second notice of a key waits for ten seconds."""
    server.rows("UPDATE b24bg_registrations SET noticed = 0")


def ask_portal(server, portal):
    """What a forged notice with a live key does: one question."""
    before = len(server.tagged("B24BG0323"))
    may_be_asked(server)
    url = portal.rows[0].options["errorHandlerUrl"]
    server.bitrix.notice(portal, server.bitrix.app, url).wait()
    server.wait_for(lambda: len(server.tagged("B24BG0323")) > before, "ask the portal")


def test_a_made_up_portal_is_counted_and_not_warned_of(bitrix, server):
    """Where there is a client, anybody else could fill the log."""
    member_id = new_id()
    pages = [server.load("DOMAIN=127.0.0.1", body(member_id=member_id)) for _ in range(12)]
    with server.counting({requests("beacon", "ok", "telephony"): 12,
                          "slow_loads app=telephony source=browser": 12}):
        for page in pages:
            tell(server, page.tag)
    assert not server.tagged(WARNING)
    portal = bitrix.add_portal()
    server.bound(portal)
    slow(server, portal, 5)
    assert warned(server) == [(5, "browser")]


@pytest.mark.parametrize("show", ["number", "string"])
def test_the_portals_number_corrects_ours(bitrix, server, show):
    """What it counted of other machines and browsers that told us nothing."""
    portal = bitrix.add_portal()
    bitrix.set_portal(portal, show_count=show)
    server.bound(portal)
    slow(server, portal, 2)
    bitrix.slow(portal, bitrix.app, 6)
    ask_portal(server, portal)
    assert (used(server, portal, "portal"), used(server, portal)) == (6, 2)
    line, = server.wait_log("B24BG0333")  # no load reached it
    assert line.endswith(f"app=telephony portal={portal.member_id} domain={portal.domain} user=0 "
                         "used=6 source=portal")
    slow(server, portal, 2)
    assert warned(server) == [(6, "portal"), (8, "portal")]
    assert used(server, portal) == 4


def test_a_portal_that_does_not_show_its_number(bitrix, server):
    portal = bitrix.add_portal()
    bitrix.set_portal(portal, show_count="absent")
    server.bound(portal)
    slow(server, portal, 2)
    bitrix.slow(portal, bitrix.app, 6)
    ask_portal(server, portal)
    assert (used(server, portal, "portal"), used(server, portal)) == (0, 2)


def test_a_new_registration_has_a_budget_of_its_own(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    slow(server, portal, 10)
    bitrix.slow(portal, bitrix.app, 10)
    ask_portal(server, portal)
    assert used(server, portal, "portal") == 10
    before = warned(server)
    assert before == [(5, "browser"), (8, "browser")]
    may_be_asked(server)
    assert bitrix.slow(portal, bitrix.app)["deleted"]
    server.wait_log("B24BG0321")
    for source in "portal", "browser", "server":
        assert used(server, portal, source) == 0
    assert {row for row, in server.rows("SELECT used FROM b24bg_budgets")} == {"0"}
    server.stop()
    server.start()
    server.bound(bitrix.add_portal())  # and the store has been read
    assert used(server, portal) == 0
    slow(server, portal, 5)
    assert warned(server) == [*before, (5, "browser")]


def test_a_new_registration_counts_from_its_bind_on(bitrix, server):
    """As the portal does, however long the confirmation is on its way."""
    portal = bitrix.add_portal()
    bitrix.set_portal(portal, show_count="absent")
    server.bound(portal)
    slow(server, portal, 3)
    before = portal.rows[0].id
    fault = bitrix.fault("html", portal.name, "placement.get", skip=1, count=1, status=502)
    server.expect("B24BG0324")
    bitrix.lose(portal)
    server.wait_for(lambda: fault.hits, "ask in vain whether it is bound")
    assert portal.rows[0].id != before
    slow(server, portal, 4)
    bitrix.slow(portal, bitrix.app, 4)
    assert used(server, portal) == 4
    server.wait_log("B24BG0321")
    assert used(server, portal) == portal.rows[0].options["maxTimeCount"] == 4
    assert not warned(server)


def test_a_stop_and_start_forgets_nothing(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    slow(server, portal, 6)
    bitrix.slow(portal, bitrix.app, 3)
    server.stop()
    assert server.rows("SELECT source, used FROM b24bg_budgets WHERE used > 0") == [
        ("browser", "6")]
    server.start()
    wait_used(server, portal, 6)
    slow(server, portal)
    assert warned(server) == [(5, "browser")]
    slow(server, portal)
    assert warned(server) == [(5, "browser"), (8, "browser")]
    ask_portal(server, portal)
    wait_used(server, portal, 3, "portal")


def test_a_stop_right_after_a_reload_forgets_nothing(bitrix, server):
    """Before httpd has let the new child's task begin, which takes it a tenth of a second."""
    portal = bitrix.add_portal()
    server.bound(portal)
    for number_ in range(1, 6):
        tags = page_of(server, portal).tag, page_of(server, portal).tag
        server.graceful()
        for tag in tags:
            assert server.post(BEACON, f"tag={tag}&ms=6000", "text/plain")[0] == 204
        server.stop()
        stored = server.rows("SELECT used FROM b24bg_budgets WHERE source = 'browser'")
        assert stored == [(str(2 * number_),)]
        server.start()
        wait_used(server, portal, 2 * number_)


@pytest.mark.parametrize("mode", MODES)
def test_a_budget_on_postgresql(bitrix, postgres, mode):
    server = bitrix.serve(conf(bitrix, store=postgres), store=postgres, **MODES[mode])
    server.expect(WARNING)
    portal = bitrix.add_portal()
    server.bound(portal)
    slow(server, portal, 3)
    server.stop()
    server.start()
    wait_used(server, portal, 3)


def test_the_alert_command_is_told(bitrix, alerts):
    """Once an hour, as of every event; the history has both."""
    server = bitrix.serve(conf(bitrix, alerts.line))
    server.expect(WARNING)
    portal = bitrix.add_portal()
    server.bound(portal)
    slow(server, portal, 5)
    server.wait_for(lambda: server.events("budget") == {portal.member_id: 1}, "write it down")
    server.wait_for(alerts.calls, "alert")
    assert alerts.calls() == [["own", "budget", "telephony", portal.member_id, portal.domain,
                               "5 of 10 slow loads, counted by browser"]]
    slow(server, portal, 3)
    server.wait_for(lambda: server.events("budget") == {portal.member_id: 2}, "write down both")
    server.stop()
    server.start()
    wait_used(server, portal, 8)
    other = bitrix.add_portal()
    server.bound(other)
    assert server.events("budget") == {portal.member_id: 2} and len(alerts.calls()) == 1


def test_personal_registrations_have_budgets_of_their_own(bitrix):
    server = bitrix.serve(conf(bitrix, "B24bgUsers 1 2"))
    server.expect(WARNING)
    portal = bitrix.add_portal()
    server.installed(portal)
    for user in 1, 2:
        server.wait_state(portal, "bound", user)
    server.wait_for(lambda: "user=2 source=browser" in server.request("GET", "/probe")[2].decode(),
                    "have places for both")
    for user, times in (1, 5), (2, 3):
        slow(server, portal, times, f"http://h/b24/worker?u={user}", user_id=user)
    assert [used(server, portal, user=user) for user in (0, 1, 2)] == [0, 5, 3]
    line, = server.tagged(WARNING)
    assert f"portal={portal.member_id} domain={portal.domain} user=1 used=5 source=browser" in line


# Pages that are served and do not run

def test_frames_that_do_not_run(bitrix):
    """Served and never told of, as where a browser refuses to show them."""
    server = bitrix.serve(conf(bitrix, "B24bgBeacon all"))
    server.expect("B24BG0330")
    good, bad = portals = [bitrix.add_portal() for _ in range(2)]
    server.bound(*portals)

    def loads():
        for portal in portals:
            page = page_of(server, portal)
            if portal is good:
                tell(server, page.tag, 50)
        return server.tagged("B24BG0330")

    server.wait_for(loads, "see that the pages do not run")
    for _ in range(60):
        loads()
    line, = server.tagged("B24BG0330")
    assert f"app=telephony portal={bad.member_id} domain={bad.domain} loads=" in line
    assert ":warn]" in line and "ran=0;" in line
