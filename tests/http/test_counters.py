"""The shared table: what all processes counted together, and which portals it keeps."""

import concurrent.futures
import time

import pytest
from conftest import MAIN, read_answer, refusals, requests
from httpd import PROBE_LOCATION
from samples import FORM, NEW_BODY, NEW_QUERY, body, http, new_id, new_secret, number

UNKNOWN = requests("worker", "unknown")
REPEATS = "repeats app=default"


def portal(member_id, domain="a.example", app="default"):
    return f"portal app={app} member_id={member_id} domain={domain}"


def load(server, member_id, sid=None, domain="a.example"):
    query = f"DOMAIN={domain}" + (f"&APP_SID={sid}" if sid is not None else "")
    answer = server.load(query, body(member_id=member_id))
    assert answer.status == 200
    return answer


def kept(server, app="default"):
    """The member_ids that have a place."""
    return {name.split("member_id=")[1].split()[0] for name in server.counters()
            if name.startswith(f"portal app={app} ")}


# Counting

def test_all_processes_count_into_one_table(server):
    """Connections of several clients land in several children; the sum is exact."""
    ids = [new_id() for _ in range(5)]
    expected = {UNKNOWN: 200, "portals": 5, requests("worker", "malformed"): 100,
                refusals("member_id_missing"): 100,
                requests("beacon", "refused"): 100, refusals("beacon"): 100,
                **{portal(one): 40 for one in ids}}
    before = server.counters()["server_seconds_count app=default"]

    def some(i):
        load(server, ids[i % 5])
        load(server, ids[i % 5])
        server.load(body="")
        server.ask("GET", "/b24/worker")
        server.ask("POST", "/b24/worker?b24bg=load", "")

    with server.counting(expected), concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(100)))
    assert server.counters()["server_seconds_count app=default"] - before == 400


def test_answers_are_counted_when_they_are_sent(server):
    """Not when they begin: a load whose body is on its way is not there yet."""
    mark = number()
    before = server.counters()
    with server.connect() as link:
        link.sendall(http("POST", f"/b24/worker?DOMAIN=a.example&n={mark}", None,
                          f"Content-Type: {FORM}\nContent-Length: 533\nExpect: 100-continue"))
        assert b" 100 " in link.recv(1000)
        assert server.counters() == before
        with server.counting({UNKNOWN: 1}):
            link.sendall(NEW_BODY)
            assert read_answer(link)[0] == 200
            server.logged(mark)


def test_server_time(server):
    """From the request line to the last byte: what a slow client costs is in it."""
    mark = number()
    before = server.counters()
    with server.connect() as link:
        link.sendall(http("POST", f"/b24/worker?DOMAIN=a.example&n={mark}", None,
                          f"Content-Type: {FORM}\nContent-Length: 533"))
        time.sleep(0.3)
        link.sendall(NEW_BODY)
        assert read_answer(link)[0] == 200
        server.logged(mark)
    grown = server.counters() - before
    buckets = {float(name.split("le=")[1]): n for name, n in server.counters().items()
               if name.startswith("server_seconds_bucket")}
    counts = [buckets[bound] for bound in sorted(buckets)]
    assert counts == sorted(counts) and {0.005, 0.25, 0.5, 5.0} <= set(buckets)
    assert counts[-1] <= server.counters()["server_seconds_count app=default"]
    assert grown["server_seconds_count app=default"] == 1
    assert grown["server_seconds_bucket app=default le=0.2500"] == 0


def test_other_requests_are_not_counted(server):
    with server.counting({}):
        for target in "/", "/nope", "/probe", "/b24", "/b24/workers", "/b24/errors":
            server.ask("GET", target, ours=False)


# Repeats

def test_repeats(server):
    """(member_id, APP_SID) names one render."""
    one, two, sid, other = new_id(), new_id(), new_secret(), new_secret()
    steps = [(one, sid, 0), (one, sid, 1), (one, sid, 1), (one.upper(), sid, 1), (two, sid, 0),
             (one, other, 0), (two, sid, 1), (one, None, 0), (one, None, 0), (one, "", 0),
             (one, "", 0), (one, other, 1)]
    for member_id, app_sid, repeated in steps:
        loads = {portal(member_id.lower()): 1 - repeated}
        with server.counting({UNKNOWN: 1, REPEATS: repeated, **loads}):
            load(server, member_id, app_sid)


def test_a_refused_load_is_no_render(server):
    sid, member_id = new_secret(), new_id()
    query = f"DOMAIN=a.example&APP_SID={sid}"
    assert server.load(query, body(member_id=member_id, PLACEMENT="DEFAULT")).status == 400
    with server.counting({UNKNOWN: 1, REPEATS: 0, portal(member_id): 1}):
        load(server, member_id, sid)


def test_parallel_loads_of_one_render(server):
    """Of twenty at once one is the load, whichever child it met."""
    sid, member_id = new_secret(), new_id()
    with server.counting({UNKNOWN: 20, REPEATS: 19, "portals": 1, portal(member_id): 1}), \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: load(server, member_id, sid), range(20)))


# Portals

def test_portal_is_renamed(server):
    """Its member_id is the portal, in either case; its DOMAIN may change."""
    member_id = new_id()
    with server.counting({UNKNOWN: 2, "portals": 1}):
        load(server, member_id, domain="old.example")
        load(server, member_id.upper(), domain="new.example:8443")
    counts = server.counters()
    assert [counts[name] for name in counts if member_id in name] == [2]


@pytest.mark.parametrize("query, payload", [
    ("DOMAIN=", "{}"), ("DOMAIN=a.example", "{}&x=%"), ("DOMAIN=a.example", "{}&x&x"),
    ("DOMAIN=a.example", "{}&member_id=1"), ("DOMAIN=a.example&b24bg=%", "{}")])
def test_refused_takes_no_place(server, query, payload):
    member_id = new_id()
    server.load(query, payload.format(body(member_id=member_id)))
    assert member_id not in kept(server)


def test_beacon_and_get_take_no_place(server):
    member_id = new_id()
    server.ask("POST", "/b24/worker?b24bg=load&DOMAIN=a.example", body(member_id=member_id))
    server.ask("GET", f"/b24/worker?DOMAIN=a.example&member_id={member_id}")
    assert member_id not in kept(server)


def test_full_table(serve):
    """Three places, ten portals: all are served and counted, the latest three are kept."""
    server = serve("B24bgMaxPortals 3\n" + MAIN)
    ids = [new_id() for _ in range(10)]
    with server.counting({UNKNOWN: 10}):
        for member_id in ids:
            load(server, member_id)
    assert kept(server) == set(ids[-3:])
    assert server.counters()["portals"] == 3
    load(server, ids[-3])  # now the latest
    load(server, ids[0])
    assert kept(server) == {ids[-3], ids[-1], ids[0]}
    assert server.counters()[portal(ids[-3])] == 2
    assert server.counters()[portal(ids[0])] == 1


def test_one_place(serve):
    server = serve("B24bgMaxPortals 1\n" + MAIN)
    for member_id in [new_id() for _ in range(5)]:
        load(server, member_id)
        assert kept(server) == {member_id}


def test_crowded_table(serve):
    """Made-up portals from all sides at once: everybody is served, nothing is counted twice."""
    server = serve("B24bgMaxPortals 16\n" + MAIN)
    ids = [new_id() for _ in range(300)]
    with server.counting({UNKNOWN: 600}), concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda member_id: load(server, member_id), ids * 2))
    counts = server.counters()
    assert counts["portals"] <= 16
    assert sum(name.startswith("portal ") for name in counts) == counts["portals"]
    assert len(kept(server)) == counts["portals"]


# Apps

TWO_APPS = """
<B24bgApp one>
</B24bgApp>
<B24bgApp two-2_x>
    B24bgPortals *.example
</B24bgApp>
<Location "/1">
    SetHandler b24bg-worker
    B24bgUse one
</Location>
<Location "/2">
    SetHandler b24bg-worker
    B24bgUse two-2_x
</Location>
<Location "/e">
    SetHandler b24bg-error
    B24bgUse two-2_x
</Location>
"""


def test_apps_are_apart(serve):
    server = serve(PROBE_LOCATION + TWO_APPS)
    server.expect("B24BG0201: .*app=two-2_x ")
    expected = {requests("worker", "unknown", "one"): 2,
                requests("worker", "unknown", "two-2_x"): 1,
                requests("worker", "refused", "two-2_x"): 1, refusals("outside", "two-2_x"): 1,
                requests("error", "unknown", "two-2_x"): 1, "portals": 2, "repeats app=one": 1,
                "notices app=two-2_x result=unattributed": 1}
    with server.counting(expected):
        for target, domain, app in (("/1", "a.example", "one"), ("/1", "a.example", "one"),
                                    ("/2", "a.example", "two-2_x"), ("/2", "b.other", "two-2_x")):
            query = NEW_QUERY.replace("xxx.bitrix24.com", domain)
            assert server.ask("POST", f"{target}?{query}", NEW_BODY).log["app"] == app
        assert server.ask("POST", "/e/key", "error=X").log["app"] == "two-2_x"


def test_hosts_have_apps_of_their_own(serve):
    hosts = "".join(f"""
        <VirtualHost *>
            ServerName {name}.test
            <B24bgApp {name}>
            </B24bgApp>
            <Location "/w">
                SetHandler b24bg-worker
            </Location>
        </VirtualHost>""" for name in ("first", "second"))
    server = serve(PROBE_LOCATION + hosts)
    for name in "first", "second":
        with server.counting({requests("worker", "unknown", name): 1}):
            answer = server.ask("POST", "/w?DOMAIN=a.example", NEW_BODY,
                                headers={"Host": f"{name}.test"})
        assert answer.log["app"] == name
