"""The beacon: what the page tells of its own load is counted once, and nothing else is."""

import re

import pytest
from conftest import MAIN, MODES, refusals, requests
from httpd import PROBE_LOCATION, app
from samples import FORM, NEW_BODY, body, chunked, http, new_id, number

BEACON = "/b24/worker?b24bg=load"
TEXT = "text/plain;charset=UTF-8"  # what sendBeacon says of a string
OK = requests("beacon", "ok")
REFUSED = {requests("beacon", "refused"): 1, refusals("beacon"): 1}
# What a beacon can change: given as expected, none of it may go unnoticed.
UNTOUCHED = {"beacons": 0, "load_seconds_count": 0, "load_milliseconds": 0, "failed_scripts": 0,
             "slow_loads": 0, "ran": 0, "budget": 0}


def load(server, member_id=None, target="/b24/worker"):
    """A load's page."""
    answer = server.ask("POST", f"{target}?DOMAIN=a.example", body(member_id=member_id or new_id()))
    assert answer.status == 200
    return answer


def tell(server, tag, fields="ms=1234", target=BEACON, content_type=TEXT):
    """Sends a beacon; it is answered 204 with nothing in it, whatever it says."""
    answer = server.ask("POST", target, f"tag={tag}&{fields}", content_type)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.log["kind"] == "beacon" and answer.log["portal"] == "-"
    return answer


def make_tag(server, age, member_id, name="default"):
    """As the page of a load of this portal had it `age` seconds ago."""
    return server.request("GET", f"/probe?tag={age}&app={name}&member_id={member_id}")[2].decode()


def refused(server, tag, fields="ms=9000", **more):
    with server.counting(REFUSED | UNTOUCHED):
        assert tell(server, tag, fields, **more).log["verdict"] == "refused"


def ran(member_id, name="default"):
    return f"ran app={name} member_id={member_id} user=0"


def budget(member_id, name="default"):
    return f"budget app={name} member_id={member_id} user=0 source=browser"


def slow_loads(name="default"):
    return f"slow_loads app={name} source=browser"


# What counts

# fields; milliseconds, weight, slow
LOADS = {"fast": ("ms=1234", 1234, 1, 0), "at once": ("ms=0", 0, 1, 0),
         "at the limit": ("ms=5000", 5000, 1, 0), "over the limit": ("ms=5001", 5001, 1, 1),
         "sampled": ("ms=20&sampled=1", 20, 100, 0),
         "sampled at half the limit": ("ms=2500&sampled=1", 2500, 100, 0),
         "told of in any case, and sampled": ("ms=2501&sampled=1", 2501, 1, 0),
         "slow and sampled": ("ms=7000&sampled=1", 7000, 1, 1),
         "not sampled": ("ms=20&sampled=0", 20, 1, 0),
         "as long as counts": ("ms=600000", 600000, 1, 1),
         "for ever": ("ms=99999999999999999999", 600000, 1, 1),
         "with a field of a later version": ("ms=1234&paint=17", 1234, 1, 0)}


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_counted(server, name):
    fields, milliseconds, weight, slow = LOADS[name]
    member_id = new_id()
    page = load(server, member_id)
    assert page.log["ms"] == "-"
    expected = {OK: 1, "beacons app=default": 1, "load_seconds_count app=default": weight,
                "load_milliseconds app=default": weight * milliseconds, ran(member_id): weight,
                slow_loads(): slow, budget(member_id): slow}
    with server.counting(UNTOUCHED | expected):
        log = tell(server, page.tag, fields).log
    assert (log["verdict"], log["ms"], log["app"]) == ("ok", str(milliseconds), "default")


def test_the_histogram(server):
    """Each load is in the first bucket that holds it, and in all behind that."""
    bounds = [float(bound) for bound in re.findall(
        r"^load_seconds_bucket app=default le=(\S+)",
        server.request("GET", "/probe")[2].decode(), re.M)]
    assert bounds == sorted(bounds) and 5 in bounds and bounds[0] <= 0.1
    for milliseconds in 0, 100, 101, 2500, 5000, 5001, 60000, 60001:
        grown = {f"load_seconds_bucket app=default le={bound:.4f}":
                 int(milliseconds <= 1000 * bound) for bound in bounds}
        tag = load(server).tag
        with server.counting({OK: 1, **grown}):
            tell(server, tag, f"ms={milliseconds}")


def test_scripts_that_failed_are_counted(server):
    """In a beacon of their own, with the same tag; it says nothing of the load."""
    page = load(server)
    for fields, failed in ("failed=2", 2), ("failed=1000", 100):
        with server.counting({**UNTOUCHED, OK: 1, "failed_scripts app=default": failed}):
            assert tell(server, page.tag, fields).log["ms"] == "-"
        page = load(server)


def test_every_content_type(server):
    """fetch sends what sendBeacon does; a Blob has none."""
    for content_type in TEXT, FORM, "application/json", None:
        tag = load(server).tag
        with server.counting({OK: 1}):
            tell(server, tag, content_type=content_type)


# What does not

def test_a_tag_counts_once_for_each_kind(server):
    member_id = new_id()
    tag = load(server, member_id).tag
    with server.counting({OK: 2, ran(member_id): 1, "failed_scripts app=default": 1}):
        tell(server, tag)
        tell(server, tag, "failed=1")
    for fields in "ms=1234", "ms=9000", "sampled=1&ms=20", "failed=1", "failed=7":
        refused(server, tag, fields)


def test_renders_have_tags_of_their_own(server):
    member_id = new_id()
    tags = {load(server, member_id).tag for _ in range(20)}
    assert len(tags) == 20
    with server.counting({OK: 20, ran(member_id): 20}):
        for tag in tags:
            tell(server, tag)


DAMAGES = {
    "none": lambda tag: "", "text": lambda tag: "x" * 48, "zeros": lambda tag: "0" * 48,
    "short": lambda tag: tag[:-1], "long": lambda tag: tag + "0", "upper case": lambda tag:
    tag[:-16] + tag[-16:].upper() if re.search("[a-f]", tag[-16:]) else tag.replace("0", "A"),
    "twice": lambda tag: f"{tag}&tag={tag}", "escaped": lambda tag: f"%{ord(tag[0]):x}{tag[1:]}",
    **{f"digit {at}": lambda tag, at=at: tag[:at] + "0123456789abcdef"[int(tag[at], 16) ^ 1]
       + tag[at + 1:] for at in (0, 7, 8, 15, 23, 31, 32, 47)}}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_tag_is_refused(server, name):
    tag = load(server).tag
    damaged = DAMAGES[name](tag)
    assert damaged != tag
    refused(server, damaged)
    with server.counting({OK: 1}):
        tell(server, tag)


@pytest.mark.parametrize("fields", [
    "", "ms=", "ms=-1", "ms=1.5", "ms=+1", "ms= 1", "ms=1e3", "ms=0x10", "ms=NaN", "ms=1&ms=2",
    "ms=1&sampled=x", "failed=", "failed=-1", "failed=1&failed=1", "sampled=1", "MS=1"])
def test_a_beacon_that_makes_no_sense_is_refused(server, fields):
    tag = load(server).tag
    refused(server, tag, fields)
    with server.counting({OK: 1}):
        tell(server, tag)  # nothing was used up


@pytest.mark.parametrize("age, good", [(0, 1), (590, 1), (620, 0), (3600, 0), (-45, 1), (-75, 0)])
def test_the_age_of_a_tag(server, age, good):
    """Ten minutes, with room for the seconds that this takes; a clock may be set back a little."""
    member_id = new_id()
    load(server, member_id)
    tag = make_tag(server, age, member_id)
    if not good:
        refused(server, tag)
        return
    with server.counting({OK: 1, ran(member_id): 1}):
        tell(server, tag)


BODIES = {"empty": b"", "not text": bytes(range(256)), "NUL": b"tag=\0&ms=1", "signs": b"&&==&=&",
          "JSON": b'{"tag":"x","ms":1}', "too long": b"ms=1&x=" + 250 * b"x",
          "very long": b"x" * 100000}


@pytest.mark.parametrize("name", BODIES)
def test_no_beacon_at_all(server, name):
    with server.counting(REFUSED | UNTOUCHED):
        answer = server.ask("POST", BEACON, BODIES[name], TEXT)
    assert (answer.status, answer.body) == (204, b"")
    assert (answer.headers["Connection"] == "close") == (len(BODIES[name]) > 256)


@pytest.mark.parametrize("length, good", [(256, 1), (257, 0)])
@pytest.mark.parametrize("way", ["announced", "chunked"])
def test_the_length_of_a_beacon(server, way, length, good):
    text = f"tag={load(server).tag}&ms=1&x="
    payload = (text + "x" * (length - len(text))).encode()
    target = f"{BEACON}&n={(mark := number())}"
    request = (http("POST", target, payload, "Connection: close") if way == "announced" else
               http("POST", target, None, "Transfer-Encoding: chunked\nConnection: close")
               + chunked(payload))
    with server.counting({OK: 1} if good else REFUSED):
        assert server.raw(request).startswith(b"HTTP/1.1 204 ")
        server.logged(mark)


def test_nothing_that_is_too_long_is_waited_for(server):
    """The answer comes while the body is still to be sent."""
    with server.counting(REFUSED):
        data = server.raw(http("POST", BEACON, None, "Content-Length: 100000"))
    assert data.startswith(b"HTTP/1.1 204 ") and b"\r\nConnection: close\r\n" in data


def test_other_methods(server):
    tag = load(server).tag
    target = f"{BEACON}&tag={tag}&ms=9000"
    with server.counting({**UNTOUCHED, requests("worker", "refused"): 1, refusals("method"): 1,
                          requests("worker", "ok"): 1}):  # OPTIONS; who looks is not counted
        for method, status in ("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("PUT", 405):
            assert server.ask(method, target, f"tag={tag}&ms=9000" if method == "PUT" else None
                              ).status == status
    with server.counting({OK: 1}):
        tell(server, tag)


@pytest.mark.parametrize("query", ["b24bg=loads", "B24BG=load", "x=1&b24bg=load", "b24bg",
                                   "b24bg="])
def test_what_is_no_beacons_url(server, query):
    """A load like any other, that lacks its DOMAIN."""
    answer = server.ask("POST", f"/b24/worker?{query}", NEW_BODY)
    assert answer.status == 400 and answer.log["kind"] == "worker"


def test_people_who_look_get_no_tag(server):
    for target in "/b24/worker", "/b24/worker?DOMAIN=a.example&APP_SID=1", BEACON:
        answer = server.ask("GET", target)
        assert answer.tag is None and re.search('data-tag=" *"', answer.text)


# B24bgBeacon

# the app's lines; what the page tells of, in milliseconds; -1: of every load
MODES_OF_BEACONS = {"slow": ("B24bgBeacon slow", 2500), "by itself": ("", 2500),
                    "all": ("B24bgBeacon all", -1),
                    "another limit": ("B24bgSlowLimit 600ms 3", 300),
                    "all, another limit": ("B24bgBeacon all\nB24bgSlowLimit 600ms 3", -1)}


@pytest.mark.parametrize("name", MODES_OF_BEACONS)
def test_the_page_knows_what_to_tell(serve, name):
    lines, over = MODES_OF_BEACONS[name]
    page = serve(app(lines) + MAIN).ask("POST", "/b24/worker?DOMAIN=a.example", NEW_BODY)
    assert re.search(r'data-over="(-?\d+)"', page.text)[1] == str(over)


def test_the_limit_is_that_of_the_app(serve):
    server = serve(app("B24bgSlowLimit 600ms 3") + MAIN)
    server.expect("B24BG0108")
    member_id = new_id()
    tags = [load(server, member_id).tag for _ in range(2)]
    with server.counting({requests("beacon", "ok", "one"): 2, slow_loads("one"): 1,
                          budget(member_id, "one"): 1, ran(member_id, "one"): 2}):
        for tag, milliseconds in zip(tags, (600, 601)):
            tell(server, tag, f"ms={milliseconds}")


def test_none_is_a_sample_where_all_are_told_of(serve):
    """A page never says so there: who does wants to count a hundred times."""
    server = serve(app("B24bgBeacon all") + MAIN)
    member_id = new_id()
    tags = [load(server, member_id).tag for _ in range(2)]
    with server.counting({requests("beacon", "ok", "one"): 2, ran(member_id, "one"): 2,
                          "load_seconds_count app=one": 2, "load_milliseconds app=one": 600020}):
        for tag, milliseconds in zip(tags, (20, 600000)):
            tell(server, tag, f"ms={milliseconds}&sampled=1")


def test_beacons_are_off(serve):
    """No tag, no script where there is nothing to attach, and nobody's word is believed."""
    server = serve(app("B24bgBeacon off") + MAIN)
    member_id = new_id()
    page = load(server, member_id)
    assert page.tag is None and "<script" not in page.text
    with server.counting({name.replace("default", "one"): n
                          for name, n in (REFUSED | UNTOUCHED).items()}):
        tell(server, make_tag(server, 0, member_id, "one"))
    scripts = serve(app("B24bgBeacon off\nB24bgScript /a.js") + MAIN)
    assert "<script" in load(scripts).text and load(scripts).tag is None


def test_another_apps_tag_is_refused(serve):
    server = serve(PROBE_LOCATION + "".join(app("", name) + f"""
        <Location "/{name}">
            SetHandler b24bg-worker
            B24bgUse {name}
        </Location>
        """ for name in ("one", "two")))
    tag = load(server, target="/one").tag
    expected = {requests("beacon", "refused", "two"): 1, refusals("beacon", "two"): 1}
    with server.counting(UNTOUCHED | expected):
        tell(server, tag, target="/two?b24bg=load")
    with server.counting({requests("beacon", "ok", "one"): 1}):
        tell(server, tag, target="/one?b24bg=load")


def test_an_own_page_tells_of_its_loads(serve):
    server = serve(app('B24bgPage "{root}/own.html"') + MAIN,
                   files={"own.html": "<body><p>own</body>"})
    page = load(server)
    assert page.text.index("<p>own") < page.text.index("<script") < page.text.index("</body>")
    with server.counting({requests("beacon", "ok", "one"): 1}):
        tell(server, page.tag)


# Life

@pytest.mark.parametrize("mode", MODES)
def test_a_reload_keeps_the_tags(serve, mode):
    """Pages that are open tell the next generation of their load, and of what was counted already
    that knows, too."""
    server = serve(MAIN, **MODES[mode])
    member_id = new_id()
    first, second, third = (load(server, member_id).tag for _ in range(3))
    tell(server, first)
    for how in (server.graceful, server.restart) if mode != "X" else ():
        how()
    with server.counting({OK: 1, ran(member_id): 1}):
        tell(server, second)
    refused(server, first)
    server.expect("AH00098")  # -X leaves its pid file behind
    server.stop()
    server.start()
    refused(server, third)  # another key: nothing is left of that portal's place


def test_a_full_table_gives_no_tag(bitrix):
    """All places are those of known portals: served, and not counted."""
    server = bitrix.serve("B24bgMaxPortals 1\n" + PROBE_LOCATION + bitrix.conf())
    server.expect("B24BG0311")
    known, other = bitrix.add_portal(), bitrix.add_portal()
    server.installed(known)
    assert server.worker(known).tag
    bitrix.install(other, bitrix.app)
    page = server.worker(other)
    assert page.status == 200 and page.tag is None and '<script data-urls="' in page.text


def test_a_portal_that_proved_itself(bitrix):
    server = bitrix.serve(PROBE_LOCATION + bitrix.conf())
    portal = bitrix.add_portal()
    server.installed(portal)
    page = server.worker(portal)
    assert page.log["verdict"] == "ok"
    with server.counting({requests("beacon", "ok", "telephony"): 1,
                          ran(portal.member_id, "telephony"): 1}):
        tell(server, page.tag)
