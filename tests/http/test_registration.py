"""Registrations: bound by themselves, lost and found again, and what cannot be repaired."""

import concurrent.futures
import re
import socket
import time

import pytest
from bitrix import Bitrix, altered
from conftest import MODES
from httpd import PATIENCE, PROBE_LOCATION

LOST = "B24BG0201|B24BG0322"  # what the log says when a registration is lost: error lines
BLOCKED = "B24BG0325"


@pytest.fixture(params=MODES)
def every(request):
    """A server with registrations, in each mode."""
    with Bitrix() as world:
        server = world.serve(world.registering(), **MODES[request.param])
        server.expect(LOST)
        yield server


@pytest.fixture
def server(bitrix):
    made = bitrix.serve(bitrix.registering())
    made.expect(LOST)
    return made


def key_of(portal, user_id=0):
    row, = (row for row in portal.rows if row.user_id == user_id)
    return row.options["errorHandlerUrl"].rpartition("/")[2]


def quiet(bitrix, server, portal):
    """Nothing is asked any more, also after a reload."""
    count = len(bitrix.requests())
    server.graceful()
    other = bitrix.add_portal()
    server.installed(other)  # the task has gone round
    mine = [r for r in bitrix.requests()[count:] if r.listener == portal.name]
    assert not mine, mine


# Bound, lost, bound again


def test_an_installation_binds(every):
    bitrix, portal = every.bitrix, every.bitrix.add_portal()
    every.bound(portal)
    every.check_agrees(portal)
    row, = portal.rows
    assert re.fullmatch("[0-9a-f]{32}", key_of(portal))
    assert (row.placement, row.title) == ("PAGE_BACKGROUND_WORKER", "telephony")
    assert [r.endpoint for r in bitrix.requests(portal.name)] == [
        "placement.get", "placement.bind", "placement.get"]
    line, = every.wait_log("B24BG0320")
    assert f"app=telephony portal={portal.member_id} domain={portal.domain} user=0" in line


def test_a_lost_registration_comes_back(every):
    """Eleven slow loads, the notice, the question, the bind, the question: with a new key."""
    bitrix, portal = every.bitrix, every.bitrix.add_portal()
    every.bound(portal)
    before, row = key_of(portal), portal.rows[0].id
    started = time.monotonic()
    bitrix.lose(portal)
    every.wait_log("B24BG0321")
    elapsed = time.monotonic() - started
    print(f"notice to rebound: {elapsed:.2f} s")
    assert elapsed < 5  # spec.md section 8
    every.wait_state(portal, "bound")
    every.check_agrees(portal)
    assert key_of(portal) != before and portal.rows[0].id != row
    notice, = every.tagged("B24BG0201")
    assert f"portal={portal.member_id}" in notice and ":error]" in notice
    assert "error=ERROR_PLACEMENT_LOADING_OVERTIME" in notice
    assert len(every.wait_log("B24BG0322")) == 1
    assert [r.endpoint for r in bitrix.requests(portal.name)][3:] == [
        "placement.get", "placement.bind", "placement.get"]


@pytest.mark.parametrize("variant", "ABCDE")
def test_every_variant_of_the_notice(bitrix, server, variant):
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal, variant=variant)
    server.wait_log("B24BG0321")
    server.check_agrees(portal)


def test_notices_that_come_twice(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal, copies=5)
    server.wait_log("B24BG0321")
    server.wait_for(lambda: server.open_messages() == 0, "take all notices")
    assert len(server.tagged("B24BG0321")) == 1 and len(server.tagged("B24BG0201")) == 5
    assert bitrix.asked(portal, "placement.bind") == 2


def test_a_forged_notice_is_a_question(bitrix, server):
    """With the live key of a registration that is there: one question, and no more."""
    portal = bitrix.add_portal()
    server.bound(portal)
    url = portal.rows[0].options["errorHandlerUrl"]
    time.sleep(0.01)
    server.rows("UPDATE b24bg_registrations SET checked = 1, change = change")
    bitrix.notice(portal, bitrix.app, url).wait()
    server.wait_log("B24BG0323")
    server.wait_state(portal, "bound")
    assert bitrix.asked(portal) == 3 and bitrix.asked(portal, "placement.bind") == 1
    server.check_agrees(portal)


def test_a_lost_notice_is_found_by_silence(bitrix):
    server = bitrix.serve(bitrix.registering("B24bgSilence 1s"))
    server.expect(LOST + "|B24BG0327")
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal, drop=True)
    for _ in range(25):
        bitrix.worker(portal, bitrix.app, f"http://127.0.0.1:{server.port}/b24/worker").send()
    server.wait_log("B24BG0327")
    server.wait_log("B24BG0321")
    server.check_agrees(portal)
    assert not server.tagged("B24BG0201")


def test_silence_asks_once(bitrix):
    """The registration is there and people have gone home: one question until loads come back."""
    server = bitrix.serve(bitrix.registering("B24bgSilence 1s"))
    server.expect("B24BG0327")
    portal = bitrix.add_portal()
    server.bound(portal)
    handler = portal.rows[0].handler
    for asked in 1, 2:
        for _ in range(25):
            bitrix.worker(portal, bitrix.app, handler).send()
        server.wait_for(lambda: len(server.tagged("B24BG0323")) == asked, "ask")
        time.sleep(2.5)  # two more silences
        assert len(server.tagged("B24BG0327")) == asked
    assert bitrix.asked(portal) == 4


def test_rebind_off_tells_and_leaves_it(bitrix):
    server = bitrix.serve(bitrix.registering("B24bgRebind off"))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal)
    line, = server.wait_log("B24BG0322")
    assert "b24bgctl bind" in line
    server.wait_state(portal, "lost")
    quiet(bitrix, server, portal)
    assert not portal.rows


def test_not_more_binds_a_day_than_allowed(bitrix):
    server = bitrix.serve(bitrix.registering("B24bgRebindBackoff 0s 6h 2"))
    server.expect(LOST + "|" + BLOCKED)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal)
    server.wait_log("B24BG0321")
    bitrix.lose(portal)
    line, = server.wait_log(BLOCKED)
    assert "reason=daily-cap" in line
    assert server.state_of(portal) == "blocked daily-cap"
    quiet(bitrix, server, portal)
    assert bitrix.asked(portal, "placement.bind") == 2


# Tokens, rights, names


@pytest.mark.parametrize("mpm", ["prefork", "worker"])
def test_an_expired_token_is_refreshed_once(bitrix, postgres, mpm):
    """Four processes of two servers look after one portal; the refresh token works once."""
    conf = "StartServers 2\n" + bitrix.registering(store=postgres)
    servers = [bitrix.serve(conf, store=postgres, mpm=mpm) for _ in range(2)]
    for server in servers:
        server.expect(LOST)
    portal = bitrix.add_portal()
    servers[0].bound(portal)
    bitrix.expire(portal, bitrix.app)
    bitrix.lose(portal)
    servers[0].wait_for(lambda: sum(len(s.tagged("B24BG0321")) for s in servers) == 1, "rebind")
    refresh, = bitrix.requests(endpoint="oauth/token")
    stored, = servers[0].rows("SELECT access_token, refresh_token FROM b24bg_portals")
    live = [t.value for t in bitrix.oauth.refresh.values() if not t.dead and t.portal is portal]
    assert stored[1] in live and refresh.params["refresh_token"] != stored[1]


def test_a_dead_refresh_token_blocks(bitrix, alerts):
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect(LOST + "|" + BLOCKED)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.expire(portal, bitrix.app, refresh=True)
    bitrix.lose(portal)
    line, = server.wait_log(BLOCKED)
    assert "reason=no-token" in line and ":crit]" in line and "install the application" in line
    assert server.state_of(portal) == "blocked no-token"
    server.wait_for(lambda: "blocked" in alerts.events(), "alert")
    quiet(bitrix, server, portal)
    assert alerts.events().count("blocked") == 1
    bitrix.install(portal, bitrix.app)
    server.install(portal)
    server.wait_state(portal, "bound")
    server.check_agrees(portal)
    server.wait_for(lambda: "rebound" in alerts.events(), "alert")


def test_an_installation_outlives_a_refresh_that_answers_late(bitrix):
    """One administrator's token is being refreshed while another one installs again: his counts."""
    server = bitrix.serve(bitrix.registering(f"B24bgTimeout 5s {PATIENCE:.0f}s"))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.set_user(portal, 2, admin=True)
    bitrix.expire(portal, bitrix.app)
    slow = bitrix.fault("slow", bitrix.oauth.name, "oauth/token", seconds=PATIENCE)
    bitrix.lose(portal)
    server.wait_for(lambda: slow.hits, "ask for new tokens")
    bitrix.demote(portal)
    again = bitrix.send_install(portal, bitrix.app, "http://127.0.0.1/b24/install", user_id=2,
                                drop=True)
    server.send(altered(again.message, {}))
    server.wait_for(lambda: server.rows("SELECT user_id FROM b24bg_portals") == [("2",)],
                    "store the second installation")
    bitrix.clear_faults()
    server.wait_log("B24BG0337")
    server.wait_state(portal, "bound")
    (stored,), = server.rows("SELECT refresh_token FROM b24bg_portals")
    assert bitrix.oauth.refresh[stored].user_id == 2
    assert len(portal.rows) == 1
    server.check_agrees(portal)


def test_an_administrator_who_is_none_any_more_blocks(bitrix, server):
    server.expect(BLOCKED)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.demote(portal)
    bitrix.lose(portal)
    line, = server.wait_log(BLOCKED)
    assert "reason=not-admin" in line and "ACCESS_DENIED" in line
    quiet(bitrix, server, portal)
    bitrix.set_user(portal, 1, admin=True)
    server.ctl("bind", "telephony", portal.member_id)
    server.check_agrees(portal)


@pytest.mark.parametrize("how, reason", [
    ({"commercial": False}, "payment"), ({"deleted": True}, "uninstalled")])
def test_portals_that_are_over(bitrix, server, how, reason):
    server.expect(BLOCKED)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal, drop=True)
    bitrix.set_portal(portal, **how)
    bitrix.notice(portal, bitrix.app, error_url(bitrix, portal)).wait()
    server.wait_state(portal, f"blocked {reason}")
    quiet(bitrix, server, portal)


def error_url(bitrix, portal):
    """Where the notice of the last registration goes."""
    bind = bitrix.requests(portal.name, "placement.bind")[-1]
    return bind.params["OPTIONS"]["errorHandlerUrl"]


def test_a_renamed_portal(bitrix, server):
    """The old name redirects; where it lives now is what the auth server says."""
    portal = bitrix.add_portal()
    server.bound(portal)
    before = portal.domain
    bitrix.rename(portal)
    bitrix.lose(portal)
    server.wait_log("B24BG0321")
    line, = server.tagged("B24BG0328")
    assert f"domain={portal.domain} before={before}" in line
    server.check_agrees(portal)
    assert server.portals()[portal.member_id]["domain"] == portal.domain
    answer = server.worker(portal)
    assert answer.headers["Content-Security-Policy"] == f"frame-ancestors {portal.url}"


def test_a_renamed_portal_with_an_expired_token(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.rename(portal)
    bitrix.expire(portal, bitrix.app)
    bitrix.lose(portal)
    server.wait_log("B24BG0321")
    server.check_agrees(portal)
    assert len(bitrix.requests(endpoint="oauth/token")) == 1


def test_an_auth_server_that_is_away(bitrix, server):
    server.expect("B24BG03(17|24)")
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.expire(portal, bitrix.app)
    bitrix.down(bitrix.oauth.name)
    bitrix.lose(portal)
    server.wait_for(lambda: int(server.rows("SELECT attempts FROM b24bg_registrations")[0][0]) >= 2,
                    "try twice")
    assert not portal.rows
    bitrix.up(bitrix.oauth.name)
    server.wait_log("B24BG0321")
    server.check_agrees(portal)


def time_of_rebinds(bitrix, server, portals):
    """Until all that are lost at the same time are rebound, in seconds."""
    rebound = len(server.tagged("B24BG0321"))
    started = time.monotonic()
    for portal in portals:
        bitrix.lose(portal)
    server.wait_for(lambda: len(server.tagged("B24BG0321")) == rebound + len(portals), "rebind all")
    elapsed = time.monotonic() - started
    for portal in portals:
        server.wait_state(portal, "bound")
        server.check_agrees(portal)
    return elapsed


def test_a_portal_that_hangs_delays_no_other(bitrix):
    """Ten others, with and without it: within the time of its one call they are all rebound, not a
    second later than without it."""
    server = bitrix.serve(bitrix.registering(
        "B24bgTimeout 5s 10s\n    B24bgRebindBackoff 0s 6h 9"))
    server.expect(LOST + "|B24BG03(17|24)")
    hanging, *others = portals = [bitrix.add_portal() for _ in range(11)]
    server.bound(*portals)
    without, beside = [], []
    for _ in range(3):  # what else the machine does lengthens one or the other
        without.append(time_of_rebinds(bitrix, server, others))
        hang = bitrix.fault("hang", hanging.name, count=-1, seconds=600)
        bitrix.lose(hanging)
        server.wait_for(lambda: hang.hits, "ask the portal that hangs")
        failed = len(server.tagged("B24BG03(17|24)"))
        beside.append(time_of_rebinds(bitrix, server, others))
        assert hang.hits == 1 and len(server.tagged("B24BG03(17|24)")) == failed
        rebound = len(server.tagged("B24BG0321"))
        bitrix.clear_faults()
        server.wait_for(lambda: len(server.tagged("B24BG0321")) == rebound + 1, "rebind the last")
        if min(beside) < min(without) + 1:
            break
    print(f"ten rebound in {without} s, beside a portal that hangs in {beside} s")
    assert min(beside) < min(without) + 1  # spec.md section 5


def test_many_portals_that_hang_delay_no_other(bitrix, server):
    """More than there are calls at once (B24BG_HTTP_CALLS_MAX), all asked for the first time."""
    server.expect("B24BG03(17|24)")
    healthy, *hanging = [bitrix.add_portal() for _ in range(141)]
    for portal in hanging:
        bitrix.fault("hang", portal.name, count=-1, seconds=600)
        server.install(portal)
    server.wait_for(lambda: sum(map(bitrix.asked, hanging)) >= 128, "wait for 128 answers")
    server.install(healthy)
    server.wait_log("B24BG0320")
    failed = server.tagged("B24BG0317")
    print(f"{len(failed)} of {len(hanging)} made way")
    assert not [line for line in failed if "it hangs, and other calls wait" not in line]
    server.check_agrees(healthy)
    bitrix.clear_faults()


# kill -9

# Where the server is killed: the fault holds the call at the moment at which nothing was done yet
# ("hang"), or all was done and no answer has come ("slow").
CALLS = {"first get": ("placement.get", 0), "bind": ("placement.bind", 0),
         "read back": ("placement.get", 1)}


def killed_at(server, fault, call):
    server.wait_for(lambda: fault.hits, f"come to {call}")
    server.kill()
    server.bitrix.clear_faults()
    server.start()
    server.end_lease()


@pytest.mark.parametrize("kind", ["hang", "slow"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("again", [False, True], ids=["bind", "rebind"])
def test_killed_between_deciding_and_committing(bitrix, server, again, call, kind):
    server.expect("B24BG03(17|22|24)|AH00098")
    portal = bitrix.add_portal()
    if again:
        server.bound(portal)
    method, skip = CALLS[call]
    fault = bitrix.fault(kind, portal.name, method, skip=skip, seconds=600)
    if again:
        bitrix.lose(portal)
    else:
        server.install(portal)
    killed_at(server, fault, call)
    server.wait_state(portal, "bound")
    server.wait_for(lambda: len(portal.rows) == 1, "have one row")
    server.check_agrees(portal)


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_killed_while_taking_away(bitrix, server, kind):
    """A command takes the registration away to bind it with a new key."""
    server.expect("B24BG0322|AH00098")
    portal = bitrix.add_portal()
    server.bound(portal)
    key = key_of(portal)
    fault = bitrix.fault(kind, portal.name, "placement.unbind", seconds=600)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        command = pool.submit(server.ctl, "rebind", "telephony", portal.domain)
        killed_at(server, fault, "unbind")
        command.result()
    server.check_agrees(portal)
    assert key_of(portal) != key


def lose_with_an_expired_token(bitrix, server, portal, kind):
    server.bound(portal)
    bitrix.expire(portal, bitrix.app)
    fault = bitrix.fault(kind, bitrix.oauth.name, "oauth/token", seconds=600)
    bitrix.lose(portal)
    killed_at(server, fault, "refresh")


def test_killed_before_new_tokens_are_made(bitrix, server):
    server.expect("AH00098")
    portal = bitrix.add_portal()
    lose_with_an_expired_token(bitrix, server, portal, "hang")
    server.wait_log("B24BG0321")
    server.wait_state(portal, "bound")
    server.check_agrees(portal)


def test_killed_before_new_tokens_have_come(bitrix, server):
    """The auth server has used the old token up, and the new ones are lost with the answer: nobody
    but the portal's administrator can help, and is told so."""
    server.expect(BLOCKED + "|AH00098")
    portal = bitrix.add_portal()
    lose_with_an_expired_token(bitrix, server, portal, "slow")
    line, = server.wait_log(BLOCKED)
    assert "reason=no-token" in line and "install the application" in line
    server.wait_state(portal, "blocked no-token")
    assert not portal.rows
    bitrix.install(portal, bitrix.app)
    server.install(portal)
    server.wait_state(portal, "bound")
    server.check_agrees(portal)


@pytest.mark.parametrize("seconds", [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_killed_at_any_moment(bitrix, server, seconds):
    """Some time after the notice was accepted, wherever that is."""
    server.expect("B24BG03(17|22|24)|AH00098")
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal)
    delivery = bitrix.deliveries()[-1].wait()
    time.sleep(seconds)
    server.kill()
    server.start()
    server.end_lease()
    assert delivery.status == 200
    server.wait_for(lambda: portal.rows and server.state_of(portal) == "bound", "be bound again")
    server.wait_for(lambda: server.open_messages() == 0, "finish all messages")
    server.check_agrees(portal)


def test_two_servers_on_one_store_bind_once(bitrix, postgres):
    """The same notice reaches both: two machines behind one name."""
    conf = PROBE_LOCATION + bitrix.registering(store=postgres)
    servers = [bitrix.serve(conf, store=postgres) for _ in range(2)]
    for server in servers:
        server.expect(LOST)
    portal = bitrix.add_portal()
    servers[0].bound(portal)
    for server in servers:
        server.wait_key(key_of(portal))
    url = error_url(bitrix, portal)
    own = url.split("/b24/")[0]
    bitrix.lose(portal, drop=True)
    for server in servers:
        bitrix.notice(portal, bitrix.app, url.replace(own, f"http://127.0.0.1:{server.port}"))
    servers[0].wait_for(lambda: sum(len(s.tagged("B24BG0321")) for s in servers) == 1, "rebind")
    servers[0].wait_for(lambda: servers[0].open_messages() == 0, "take both notices")
    assert bitrix.asked(portal, "placement.bind") == 2 and len(portal.rows) == 1


# Personal registrations


def test_personal_registrations(bitrix):
    server = bitrix.serve(bitrix.registering("B24bgUsers 1 2"))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.installed(portal)
    for user_id in 1, 2:
        server.wait_state(portal, "bound", user_id)
        server.check_agrees(portal, user_id)
    assert [row.user_id for row in portal.rows] == [1, 2] and key_of(portal, 1) != key_of(portal, 2)
    bitrix.lose(portal, 2)
    line, = server.wait_log("B24BG0321")
    assert "user=2" in line
    server.check_agrees(portal, 1)
    server.check_agrees(portal, 2)


def test_from_a_general_to_personal_registrations_and_back(bitrix, server):
    """A general row keeps personal ones from being bound; personal ones beside it load it twice."""
    portal = bitrix.add_portal()
    server.bound(portal)
    server.write_conf(bitrix.registering("B24bgUsers 1 2"))
    server.graceful()
    server.install(portal)
    for user_id in 1, 2:
        server.wait_state(portal, "bound", user_id)
        server.check_agrees(portal, user_id)
    assert len(portal.rows) == 2 and server.state_of(portal) == "unknown"
    server.write_conf(bitrix.registering())
    server.graceful()
    server.ctl("rebind", "telephony", portal.domain)
    server.check_agrees(portal)
    assert len(portal.rows) == 1


def foreign(bitrix, portal, user_id=0):
    """A handler of the same application that is not ours."""
    row = bitrix.rows(portal)
    token = bitrix.tokens(portal, bitrix.app)[0]
    status, _ = rest(portal, "placement.bind", {
        "PLACEMENT": "PAGE_BACKGROUND_WORKER", "HANDLER": "https://elsewhere.example/worker",
        "OPTIONS[errorHandlerUrl]": "https://elsewhere.example/error", "auth": token,
        **({"USER_ID": user_id} if user_id else {})})
    assert status == 200 and len(bitrix.rows(portal)) == len(row) + 1


def rest(portal, method, fields):
    import http.client
    import urllib.parse
    link = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=PATIENCE)
    link.request("POST", f"/rest/{method}", urllib.parse.urlencode(fields),
                 {"Content-Type": "application/x-www-form-urlencoded"})
    answer = link.getresponse()
    body = answer.read()
    link.close()
    return answer.status, body


@pytest.mark.parametrize("lines, user_id", [("", 0), ("B24bgUsers 2", 2), ("B24bgUsers 1", 0)])
def test_somebody_elses_handler_is_left_alone(bitrix, lines, user_id):
    server = bitrix.serve(bitrix.registering(lines))
    server.expect(BLOCKED)
    portal = bitrix.add_portal()
    bitrix.install(portal, bitrix.app)
    foreign(bitrix, portal, user_id)
    server.install(portal)
    line, = server.wait_log(BLOCKED)
    assert "reason=foreign-handler" in line and "https://elsewhere.example/worker" in line
    assert [row.handler for row in portal.rows] == ["https://elsewhere.example/worker"]
    assert not bitrix.asked(portal, "placement.unbind")
    quiet(bitrix, server, portal)
    server.ctl("rebind", "telephony", portal.member_id)
    assert "https://elsewhere.example/worker" not in [row.handler for row in portal.rows]
    server.check_agrees(portal, int(lines.split()[1]) if lines else 0)


# Commands


def test_commands(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    key = key_of(portal)
    for verb in "bind", "unbind", "rebind":
        text = server.ctl(verb, "telephony", portal.domain, "--dry-run")
        assert "registered" in text
        assert key_of(portal) == key
    server.ctl("bind", "telephony", portal.domain)
    assert key_of(portal) == key
    server.ctl("rebind", "telephony", portal.domain)
    assert key_of(portal) != key
    server.check_agrees(portal)
    server.ctl("unbind", "telephony", portal.domain)
    assert not portal.rows and server.state_of(portal) == "unbound"
    server.install(portal)
    server.wait_for(lambda: server.open_messages() == 0, "take the installation")
    assert not portal.rows
    server.ctl("bind", "telephony", portal.domain)
    server.check_agrees(portal)


def test_status_tells_where_it_stands(bitrix, server):
    portal = bitrix.add_portal()
    server.bound(portal)
    first, line = server.ctl("status").splitlines()
    assert first == "OK - 1 portal registered"
    assert line.startswith(f"telephony {portal.domain} {portal.member_id}: bound (registered) ")
    server.ctl("unbind", "telephony", portal.domain)
    first, line = server.ctl("status").splitlines()
    assert first == "OK - 0 portals registered, 1 taken away by command"


# Reloads


def test_a_reload_in_the_middle_of_a_refresh(bitrix, server):
    """The auth server has used the old token up, and its answer is on its way."""
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.expire(portal, bitrix.app)
    slow = bitrix.fault("slow", bitrix.oauth.name, "oauth/token", seconds=1)
    bitrix.lose(portal)
    server.wait_for(lambda: slow.hits, "ask for new tokens")
    server.graceful()
    server.wait_log("B24BG0321")
    server.wait_state(portal, "bound")
    server.check_agrees(portal)
    assert len(bitrix.requests(endpoint="oauth/token")) == 1


def test_an_old_child_holds_nobody_up(bitrix):
    """It goes on with a request for as long as that takes; the new generation has its lease."""
    server = bitrix.serve("StartServers 1\nMinSpareThreads 1\n" + bitrix.registering())
    server.bound(bitrix.add_portal())
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(b"POST /b24/worker?DOMAIN=a.example HTTP/1.1\r\nHost: h\r\n"
                     b"Content-Type: application/x-www-form-urlencoded\r\n"
                     b"Content-Length: 9\r\n\r\n1")
        time.sleep(0.2)
        old = server.pids()
        server.graceful()
        started = time.monotonic()
        server.bound(bitrix.add_portal())
        elapsed = time.monotonic() - started
        assert set(old) <= set(server.pids())
    print(f"first installation after a reload: {elapsed:.2f} s")
    assert elapsed < 5  # a lease is 10 s


def test_uninstalling_ends_it(bitrix, alerts):
    server = bitrix.serve(bitrix.registering(alerts.line))
    portal = bitrix.add_portal()
    server.bound(portal)
    server.send(bitrix.event(portal, "uninstall"))
    server.wait_state(portal, "blocked uninstalled")
    quiet(bitrix, server, portal)
    server.wait_for(alerts.calls, "alert")
    (_, event, *_, detail), = alerts.calls()
    assert event == "blocked" and detail.startswith("uninstalled; ")


# Alerts


def test_alerts(bitrix, alerts):
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal)
    server.wait_for(lambda: {"disabled", "rebound"} <= set(alerts.events()), "alert twice")
    for call in alerts.calls():
        assert call[0] == "own"
        assert call[2:5] == ["telephony", portal.member_id, portal.domain]
    server.wait_state(portal, "bound")
    bitrix.lose(portal)
    server.wait_for(lambda: len(server.tagged("B24BG0321")) == 2, "rebind again")
    assert sorted(alerts.events()) == ["disabled", "rebound"]  # one an hour


def alerts_settled(server):
    return not server.rows("SELECT * FROM b24bg_alerts WHERE due <> 0")


def test_the_limit_of_alerts_outlives_a_reload(bitrix, alerts):
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.bound(portal)
    for times in 1, 2:
        bitrix.lose(portal)
        server.wait_for(lambda: len(server.tagged("B24BG0321")) == times, "rebind")
        server.wait_for(lambda: alerts_settled(server), "alert")
        assert alerts.events() == ["disabled", "rebound"]
        server.graceful()
        server.bound(bitrix.add_portal())  # by the new generation


def test_an_alert_whose_server_was_killed_is_run_again(bitrix, alerts):
    """In the middle of its command; the one behind it waits in the store."""
    quick, begun = alerts.command.read_text(), alerts.log.with_name("begun")
    alerts.log.parent.chmod(0o777)
    alerts.command.write_text(f"#!/bin/sh\n>{begun}\nexec sleep 30\n")
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect(LOST)
    portal = bitrix.add_portal()
    server.bound(portal)
    bitrix.lose(portal)
    server.wait_for(lambda: server.tagged("B24BG0321") and begun.exists(), "rebind and alert")
    server.kill()
    alerts.command.write_text(quick)
    server.end_lease()
    server.rows("UPDATE b24bg_alerts SET due = 1 WHERE due <> 0")  # the end of 30 s
    server.start()
    server.wait_for(lambda: alerts_settled(server), "alert")
    assert alerts.events() == ["disabled", "rebound"]


def test_an_alert_command_that_hangs_delays_nothing(bitrix, alerts):
    """Three portals, a command for each: when they are rebound none has been killed yet."""
    alerts.command.write_text(f"#!/bin/sh\necho $2 >>{alerts.log}\nexec sleep 600\n")
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect(LOST + "|B24BG0332")
    portals = [bitrix.add_portal() for _ in range(3)]
    server.bound(*portals)
    for times, portal in enumerate(portals, 1):
        bitrix.lose(portal)
        server.wait_for(lambda: len(server.tagged("B24BG0321")) == times, "rebind")
        server.wait_for(lambda: alerts.log.read_text().count("disabled") == times, "alert")
    assert not server.tagged("B24BG0332")
    for line in server.wait_log("B24BG0332", 3, "event=disabled"):
        assert 'why="not done after 10 s, killed"' in line


def test_old_tokens_are_warned_of_and_renewed(bitrix, alerts):
    server = bitrix.serve(bitrix.registering(alerts.line))
    server.expect("B24BG0329")
    portal = bitrix.add_portal()
    server.bound(portal)
    days = 151 * 86400
    server.rows(f"UPDATE b24bg_portals SET refreshed = refreshed - {days} * 1000000")
    bitrix.expire(portal, bitrix.app)
    server.stop()
    server.start()
    line, = server.wait_log("B24BG0329")
    assert f"portal={portal.member_id}" in line and "days_left=28" in line
    server.wait_log("B24BG0323")
    assert len(bitrix.requests(endpoint="oauth/token")) == 1
    server.wait_for(lambda: alerts.events() == ["token-expiring"], "alert")
    server.stop()
    server.start()
    other = bitrix.add_portal()
    server.bound(other)
    assert len(server.tagged("B24BG0329")) == 1
