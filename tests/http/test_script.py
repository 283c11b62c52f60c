"""What the scripts do once they run: that of the worker page, and the sample in conf/. node runs
them in frame.js, against fakes and with a clock that jumps."""

import base64
import hashlib
import json
import re
import subprocess

import pytest
from conftest import MAIN, running
from httpd import PATIENCE, ROOT

FRAME = ROOT / "tests/http/frame.js"
SAMPLE = (ROOT / "conf/worker-sample.js").read_text()
TAG = "0123456789abcdef" * 3
HREF = "https://app.example/b24/worker?APP_SID=secret&DOMAIN=portal"
TO = "https://app.example/b24/worker?b24bg=load"
BX24, A, B, C = "https://api.bitrix24.com/api/v1/", "/a.js", "https://h/b.js", "/c.js"
GOOD = {url: [5, "load"] for url in (BX24, A, B, C)}


def run(kind, **given):
    """[[milliseconds, what, ...], ...]"""
    done = subprocess.run(["node", FRAME, kind], input=json.dumps(given), text=True,
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


# The worker page

@pytest.fixture(scope="module")
def script():
    """The text between the tags, as it is served."""
    with running(f"<B24bgApp one>\nB24bgScript /a.js\n</B24bgApp>\n{MAIN}") as server:
        return re.search(r"<script[^>]*>(.*?)</script>", server.load().text, re.S)[1]


@pytest.fixture
def page(script):
    """Runs it; load is over after 300 ms unless it is said otherwise."""
    def act(urls=(), over=2500, tag=TAG, load=300, **more):
        given = {"href": HREF, "others": [], "beacon": True, "fetch": None, "random": 0.5,
                 "scripts": GOOD, "timing": None,
                 "entries": {"navigation": [{"loadEventStart": load}]}, **more}
        data = {"urls": json.dumps(urls), "over": str(over), "tag": tag}
        log = run("page", script=script, data=data, load=load, **given)
        # Nothing happens before the load event is over, and nothing is ever thrown.
        assert [what for _, what, *_ in log[:3]] == ["script ran", "load", "load done"]
        assert not [entry for entry in log if entry[1] in ("threw", "unhandled")], log
        return log[3:]
    return act


def sent(log, how="beacon"):
    """What the beacons say, without their tag."""
    found = [entry[3] for entry in log if entry[1] == how]
    assert all(body.startswith(f"tag={TAG}&") for body in found)
    return [body.removeprefix(f"tag={TAG}&") for body in found]


def attached(log):
    return [(at, url) for at, what, *more in log if what == "attach" for url in more[1:]]


def test_order(page):
    """The beacon first, then BX24.js, then the scripts, each when the one before has come."""
    scripts = {BX24: [6000, "load"], A: [40, "load"], B: [900, "load"], C: [1, "load"]}
    log = page([BX24, A, B, C], load=4000, scripts=scripts)
    assert log == [[4000, "beacon", TO, f"tag={TAG}&ms=4000"],
                   [4000, "attach", "script", BX24],
                   [10000, "attach", "script", A],
                   [10040, "attach", "script", B],
                   [10940, "attach", "script", C]]


@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("way", ["error", "never", "late"])
def test_a_script_fails(page, bad, way):
    """Whichever it is, the others are attached; one line on the console and one beacon more."""
    urls = [BX24, A, B, C]
    fate = {"error": [70, "error"], "never": [], "late": [20000, "load"]}[way]
    log = page(urls, load=100, over=-1, scripts=GOOD | {urls[bad]: fate})
    lost = 70 if way == "error" else 10000  # a browser's own patience would be minutes
    starts = [100 + 5 * i + (lost - 5 if i > bad else 0) for i in range(4)]
    assert attached(log) == list(zip(starts, urls, strict=True))
    assert [entry[2:] for entry in log if entry[1] == "warn"] \
        == [[f"b24bg: no script from {urls[bad]}"]]
    assert sent(log) == ["ms=100", "failed=1"]
    end = 100 + 15 + lost
    assert [at for at, what, *_ in log if what == "beacon"] == [100, end]


def test_all_scripts_fail(page):
    log = page([BX24, A, B, C], scripts={url: [1, "error"] for url in (BX24, A, B, C)})
    assert sent(log) == ["failed=4"]  # the load itself was fast, and not drawn
    assert len([entry for entry in log if entry[1] == "warn"]) == 4


def test_the_same_script_twice(page):
    assert [url for _, url in attached(page([A, A], scripts={A: [5, "error"]}))] == [A, A]


# over, load, random -> what the beacon says
MODES = {
    "slow, fast load": (2500, 300, 0.5, []),
    "slow, drawn": (2500, 300, 0.0099, ["ms=300&sampled=1"]),
    "slow, just not drawn": (2500, 300, 0.01, []),
    "slow, at half the limit": (2500, 2500, 0.5, []),
    "slow, above": (2500, 2501, 0.5, ["ms=2501"]),
    "slow, above and drawn": (2500, 2501, 0, ["ms=2501"]),
    "slow, part of a millisecond": (2500, 2500.4, 0.5, []),
    "slow, rounded up": (2500, 2500.6, 0.5, ["ms=2501"]),
    "all": (-1, 12, 0.5, ["ms=12"]),
    "all, at once": (-1, 0, 0, ["ms=0"]),
    "all, very slow": (-1, 900000, 0.5, ["ms=900000"]),
}


@pytest.mark.parametrize("name", MODES)
def test_beacon_modes(page, name):
    over, load, random, expected = MODES[name]
    log = page(over=over, load=load, random=random)
    assert sent(log) == expected
    assert all(entry[2] == TO for entry in log)  # nothing of the query


@pytest.mark.parametrize("href, to", [
    ("https://app.example//b24/worker?APP_SID=secret", "https://app.example//b24/worker?b24bg=load"),
    ("https://app.example:8443/b24/worker#a?b", "https://app.example:8443/b24/worker?b24bg=load"),
    ("http://app.example/?x#y", "http://app.example/?b24bg=load"),
])
def test_beacon_goes_where_the_page_is_from(page, href, to):
    """In full: a path would go to the host of a <base href>, or to one named by two slashes."""
    assert [entry[2] for entry in page(over=-1, href=href)] == [to]


@pytest.mark.parametrize("other", [
    {"urls": "mine"},
    {"urls": "[]", "over": "2500", "tag": " " * 48},  # the page is a copy of the built-in one
])
def test_other_scripts_with_our_attribute(page, other):
    assert sent(page(over=-1, others=[other])) == ["ms=300"]


def test_no_tag_no_beacon(page):
    """A page that was only looked at, or whose app has the beacon off; scripts all the same."""
    log = page([A, B], over=-1, tag=" " * 48, scripts={A: [1, "error"], B: [1, "load"]}, fetch="works")
    assert [entry[1] for entry in log] == ["attach", "warn", "attach"]


# sendBeacon, fetch -> how the beacon goes
WAYS = {
    "sendBeacon": (True, "works", ["beacon"]),
    "queue full": (False, "works", ["beacon", "fetch"]),
    "no sendBeacon": (None, "works", ["fetch"]),
    "fetch fails": (None, "fails", ["fetch"]),
    "both fail": (False, "fails", ["beacon", "fetch"]),
    "old engine": (None, None, []),
    "queue full, no fetch": (False, None, ["beacon"]),
    "sendBeacon throws": ("throws", "works", ["beacon"]),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_send(page, name):
    beacon, fetch, expected = WAYS[name]
    log = page([A], over=-1, load=30, beacon=beacon, fetch=fetch)
    assert [entry[1] for entry in log] == [*expected, "attach"]
    for _, what, to, body in log[:-1]:
        if what == "fetch":
            body, rest = body["body"], {key: body[key] for key in body if key != "body"}
            assert rest == {"method": "POST", "keepalive": True}
        assert (to, body) == (TO, f"tag={TAG}&ms=30")


# What `performance` knows -> what the beacon says
OLD = {"navigationStart": 1761998400000, "loadEventStart": 1761998404321}
CLOCKS = {
    "no entry": ({"navigation": []}, OLD, ["ms=4321"]),
    "entry and old timing": ({"navigation": [{"loadEventStart": 77}]}, OLD, ["ms=77"]),
    "no entries at all": (None, OLD, []),
    "nothing": ({"navigation": []}, None, []),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_clocks_of_old_engines(page, name):
    entries, timing, expected = CLOCKS[name]
    log = page([A], over=-1, entries=entries, timing=timing)
    assert sent(log) == expected and attached(log) == [(300, A)]


def test_script_is_es5(script):
    """Embedded views are old: nothing that they could not even read."""
    assert not re.search(r"=>|`|\b(let|const|class|async|await|of)\b|\?\.|\?\?|\.\.\.", script)


def test_script_hash_is_documented(script):
    """For sites whose CSP allows inline scripts by hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall(r"'sha256-([^']+)'", (ROOT / "conf/b24bg.conf").read_text()) == [digest]


# The sample

READY = {"hidden": False, "listed": 0}


def sample(*pages, query="", nothing=None, signals=(), events=(), http=()):
    """(log, how many events each page is bound to)"""
    log = run("sample", script=SAMPLE, pages=pages or [READY], query=query, nothing=nothing,
              signals=[[at, json.dumps(signal)] for at, signal in signals], events=list(events),
              http=list(http))
    assert not [entry for entry in log if entry[1] in ("threw", "unhandled")], log
    assert log[-1][1] == "bound"
    return log[:-1], log[-1][2:]


def only(log, *kinds):
    return [entry for entry in log if entry[1] in kinds]


def test_sample_is_short():
    lines = SAMPLE.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 100


@pytest.mark.parametrize("lacking", ["bx24", "locks"])
def test_sample_lacks(lacking):
    """Opened by hand, BX24.js blocked, an old browser: one line on the console and no error."""
    log, _ = sample({**READY, lacking: False})
    assert [entry[1:3] for entry in log] == [["warn", "page 0"]]


@pytest.mark.parametrize("listed, asked", [(0, 1), (1500, 3), (9000, 5), (29000, 6), (40000, 6),
                                           (-1, 6)])
@pytest.mark.parametrize("nothing", [None, {"command": [], "event": []}, {}])
def test_sample_waits_for_telephony(listed, asked, nothing):
    """getInterface at once and after 1, 2, 5, 10 and 30 s, until the event is listed; bound once."""
    log, bound = sample({"hidden": False, "listed": listed}, nothing=nothing)
    asking = [at for at, *_ in only(log, "getInterface")]
    assert asking == [second * 1000 + 2 for second in (0, 1, 2, 5, 10, 30)][:asked]
    assert bound == [8 if 0 <= listed < 30000 else 0]


CALL = {"CALL_ID": "ext.1", "PHONE_NUMBER": "+123456", "CALL_DIRECTION": "incoming"}
CARD = "BackgroundCallCard::"


def test_sample_card_and_buttons():
    """The card of a call is set, what is pressed on it goes to the backend."""
    log, _ = sample(query="?clicks=/my/clicks", events=[
        [3000, 0, f"{CARD}initialized", CALL], [4000, 0, f"{CARD}muteButtonClick", True],
        [5000, 0, f"{CARD}dialpadButtonClick", "#"], [6000, 0, f"{CARD}hangupButtonClick", None]])
    assert only(log, "card") == [
        [3000, "card", "page 0", "CallCardSetCardTitle", {"title": "+123456"}],
        [3000, "card", "page 0", "CallCardSetUiState", {"uiState": "incoming"}]]
    clicks = [(at, url, json.loads(options["body"]))
              for at, _, _, url, options in only(log, "fetch")]
    assert clicks == [
        (4000, "/my/clicks", {"call": "ext.1", "button": "mute", "value": True}),
        (5000, "/my/clicks", {"call": "ext.1", "button": "dialpad", "value": "#"}),
        (6000, "/my/clicks", {"call": "ext.1", "button": "hangup", "value": None})]


def test_sample_backend_is_down():
    log, _ = sample(query="?clicks=/broken", events=[
        [3000, 0, f"{CARD}initialized", {"CALL_ID": "ext.1", "CALL_DIRECTION": "callback"}],
        [4000, 0, f"{CARD}answerButtonClick", None]])
    assert [entry[3:] for entry in only(log, "card")] == [
        ["CallCardSetCardTitle", {"title": "Unknown number"}],
        ["CallCardSetUiState", {"uiState": "outgoing"}]]
    assert only(log, "warn") == [[4000, "warn", "page 0", "phone: answer: failed"]]


def test_sample_signals_for_a_card():
    """They reach the page that has the card, whichever listens; others leave it alone."""
    state = {"command": "CallCardSetUiState", "params": {"uiState": "connected"}}
    refused = {"command": "CallCardSetUiState", "params": {"uiState": "x", "refused": True}}
    log, _ = sample(READY, READY, events=[[3000, 1, f"{CARD}initialized", CALL]],
                    signals=[[4000, {"call": "ext.1", **state}], [5000, {"call": "ext.2", **state}],
                             [6000, state], [7000, {"call": "ext.1", **refused}]])
    assert [entry[2] for entry in only(log, "listens")] == ["page 0"]
    assert [entry for entry in only(log, "card") if entry[0] > 3000] == [
        [4001, "card", "page 1", state["command"], state["params"]],
        [7001, "card", "page 1", refused["command"], refused["params"]]]
    assert only(log, "warn") \
        == [[7001, "warn", "page 1", "phone: CallCardSetUiState: Invalid ui state"]]


@pytest.mark.parametrize("hidden, opens", [
    ([False], [(4000, "page 0")]),
    ([False, False, False], [(4000, "page 0")]),
    ([True, False, True], [(4001, "page 1")]),
    ([True, True], [(5000, "page 0")]),
])
def test_sample_opens_one_slider(hidden, opens):
    """However many pages are open: in the one in front, and in a hidden one if none is."""
    log, _ = sample(*[{"hidden": is_hidden, "listed": 0} for is_hidden in hidden],
                    query="?events=/my/events",
                    signals=[[4000, {"id": 17, "open": {"order": 4711}}]])
    assert only(log, "listens") == [[1, "listens", "page 0", "/my/events"]]
    assert only(log, "opens") == [[at, "opens", where, {"order": 4711}] for at, where in opens]


def test_sample_opens_another_slider():
    log, _ = sample(signals=[[4000, {"id": 1, "open": {"order": 1}}],
                             [4001, {"id": 2, "open": {"order": 2}}]])
    assert [(at, what["order"]) for at, _, _, what in only(log, "opens")] == [(4000, 1), (4001, 2)]


def test_sample_listens_again():
    """An EventSource ends for good when it is answered with an error of HTTP."""
    log, _ = sample(http=[5000, 36000], signals=[[40000, {"id": 1, "open": {}}],
                                                 [70000, {"id": 2, "open": {}}]])
    assert [at for at, *_ in only(log, "listens")] == [1, 35000, 66000]
    assert [at for at, *_ in only(log, "opens")] == [70000]
