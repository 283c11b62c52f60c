"""What the script of the worker page does once it runs. node runs it in frame.js, against fakes and
with a clock that jumps."""

import base64
import hashlib
import json
import re
import subprocess

import pytest
from conftest import MAIN, running
from httpd import PATIENCE, ROOT

FRAME = ROOT / "tests/http/frame.js"
TAG = "0123456789abcdef" * 3
TO = "/b24/worker?b24bg=load"
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
        given = {"beacon": True, "fetch": None, "random": 0.5, "scripts": GOOD, "timing": None,
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
