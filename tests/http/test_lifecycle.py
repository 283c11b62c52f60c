"""Reloads, restarts and stops: no request is lost through graceful ones, the counts survive all,
nothing stays behind."""

import concurrent.futures
import os
import pathlib
import signal
import socket
import threading

import pytest
from conftest import MAIN, MODES, read_answer, requests
from samples import FORM, NEW_BODY, body, http, new_id, number

UNKNOWN = requests("worker", "unknown")
CLIENTS = 6
FORM_TYPE = f"Content-Type: {FORM}"

# Under event, httpd lets no child end while a body is waited for; a second is enough here.
IMPATIENT = "Timeout 1\n" + MAIN

every_mpm = pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
every_mode = pytest.mark.parametrize("mode", MODES)


class Clients:
    """Threads that post loads of one portal, each on a connection of its own, until told to
    stop."""

    def __init__(self, server):
        self.server, self.member_id = server, new_id()
        self.body = body(member_id=self.member_id)
        self.done, self.stop = 0, threading.Event()
        self.lock = threading.Lock()

    def client(self):
        while not self.stop.is_set():
            status, _, page = self.server.post("/b24/worker?DOMAIN=a.example", self.body,
                                               headers={"Connection": "close"})
            assert status == 200 and page.startswith(b"<!DOCTYPE")
            with self.lock:
                self.done += 1

    def __enter__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        self.futures = [self.pool.submit(self.client) for _ in range(CLIENTS)]
        return self

    def wait_for(self, more):
        """Until so many more have been answered."""
        target = self.done + more

        def reached():
            broken = [future for future in self.futures if future.done()]
            return self.done >= target or [future.result() for future in broken]
        self.server.wait_for(reached, f"answer {more} requests")

    def __exit__(self, *_):
        self.stop.set()
        self.pool.shutdown()

    def check(self):
        """None failed, and each was counted once."""
        for future in self.futures:
            future.result()
        portal = f"portal app=default member_id={self.member_id} domain=a.example"
        self.server.wait_for(lambda: self.server.counters()[portal] >= self.done, "count all")
        counts = self.server.counters()
        assert counts[portal] == counts[UNKNOWN] == self.done
        assert counts["server_seconds_count app=default"] == self.done
        assert {name for name in counts if name.startswith("requests")} == {UNKNOWN}


@every_mpm
def test_graceful_reloads_lose_nothing(serve, mpm):
    server = serve(MAIN, mpm=mpm)
    server.expect("AH00546: no record of generation")  # of a child met early
    with Clients(server) as clients:
        for _ in range(6):
            clients.wait_for(150)
            server.graceful()
        clients.wait_for(150)
    assert clients.done >= 1000
    clients.check()


@every_mpm
def test_request_in_flight_through_a_graceful_reload(serve, mpm):
    """Half a body before, the rest after: an old child answers, and counts into the same table."""
    server = serve(MAIN, mpm=mpm)
    with server.connect() as link:
        mark = number()
        link.sendall(http("POST", f"/b24/worker?DOMAIN=a.example&n={mark}", None,
                          f"{FORM_TYPE}\nContent-Length: 533\nExpect: 100-continue"))
        assert b" 100 " in link.recv(1000)  # the handler is at it
        link.sendall(NEW_BODY[:200])
        server.graceful()
        assert server.load().status == 200
        link.sendall(NEW_BODY[200:])
        assert read_answer(link)[0] == 200
        server.logged(mark)
    counts = server.counters()
    assert (counts[UNKNOWN], counts["portals"]) == (2, 1)


def everything(server):
    """One request of each kind."""
    server.expect("B24BG0201")
    server.load()
    server.load()
    server.load(body="x=%")
    server.load(query="DOMAIN=a.example", body=body(PLACEMENT_OPTIONS="{"))
    for method, target, payload in (("GET", "/b24/worker", None), ("PUT", "/b24/worker", None),
                                    ("POST", "/b24/worker?b24bg=load", ""),
                                    ("POST", "/b24/error", "error=X"), ("GET", "/b24/error", None)):
        server.ask(method, target, payload)


@every_mpm
@pytest.mark.parametrize("how", ["graceful", "restart"])
def test_counts_survive(serve, mpm, how):
    server = serve(MAIN, mpm=mpm)
    everything(server)
    before = server.counters()
    assert before["portals"] == 1 and before["repeats app=default"] == 1
    for _ in range(3):
        getattr(server, how)()
        assert server.counters() == before
    everything(server)
    after = server.counters()
    assert after["repeats app=default"] == 3  # (member_id, APP_SID) is remembered as well
    for name in after:
        if name.startswith(("requests", "refusals", "broken", "server_seconds_count")):
            assert after[name] == 2 * before[name], name


@every_mpm
def test_hard_restarts_under_load(serve, mpm):
    """Requests in flight may die; the others are answered, and the counts are of those."""
    server = serve(IMPATIENT, mpm=mpm)
    answered = 0
    for _ in range(3):
        for _ in range(50):
            assert server.load().status == 200
            answered += 1
        with server.connect() as link:
            link.sendall(http("POST", "/b24/worker", None, f"{FORM_TYPE}\nContent-Length: 533")
                         + b"a")
            server.restart()
    counts = server.counters()
    assert counts[UNKNOWN] == answered
    assert counts["portals"] == 1


@every_mpm
def test_killed_children(serve, mpm):
    """kill -9 in the middle of it: the server goes on, and so do the counts."""
    server = serve(MAIN, mpm=mpm)
    for _ in range(20):
        server.load()
    server.expect("AH1039[23]: children are killed successively!")
    killed = server.pids()[1:]
    for child in killed:
        os.kill(child, signal.SIGKILL)
    server.wait_for(lambda: not set(killed) & set(server.pids()), "miss its children")
    for _ in range(20):
        assert server.load().status == 200
    counts = server.counters()
    assert (counts[UNKNOWN], counts["portals"]) == (40, 1)


def reconfigure(server, conf):
    """A graceful reload with a new configuration, until no child has the old one."""
    old = server.pids()[1:]
    server.write_conf(conf)
    server.graceful()
    server.wait_for(lambda: not set(old) & set(server.pids()), "end its old children")


def test_new_configuration(serve):
    """Counts are kept while apps come and go and change."""
    server = serve(MAIN)
    server.load()
    reconfigure(server, "<B24bgApp one>\nB24bgScript /a.js\n</B24bgApp>\n" + MAIN)
    answer = server.load()
    assert "/a.js" in answer.text and answer.log["app"] == "one"
    reconfigure(server, "B24bgMaxPortals 7\n" + MAIN)
    assert "/a.js" not in server.load().text
    counts = server.counters()
    assert counts[UNKNOWN] == 2 and counts[requests("worker", "unknown", "one")] == 1
    assert counts["portals"] == 2
    assert any("B24bgMaxPortals" in line for line in server.tagged())


def test_module_that_comes_and_goes(serve):
    """Switched off and on again in a running server."""
    server = serve(MAIN)
    server.load()
    reconfigure(server, "")
    assert server.request("GET", "/b24/worker")[0] == 404
    reconfigure(server, MAIN)
    server.load()
    assert server.counters()[UNKNOWN] == 2


@every_mode
def test_stop(serve, mode):
    """SIGTERM while requests run: a good end, and soon; nothing of it stays."""
    server = serve(IMPATIENT, **MODES[mode])
    links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    for link in links:
        link.sendall(http("POST", "/b24/worker", None, f"{FORM_TYPE}\nContent-Length: 533") + b"a")
    server.load()
    server.finish()
    for link in links:
        link.close()


@every_mpm
def test_graceful_stop(serve, mpm):
    """SIGWINCH: what runs is answered."""
    server = serve(MAIN, mpm=mpm)
    pids = server.pids()
    with server.connect() as link:
        link.sendall(http("POST", "/b24/worker?DOMAIN=a.example", None,
                          f"{FORM_TYPE}\nContent-Length: 533\nExpect: 100-continue"))
        assert b" 100 " in link.recv(1000)
        os.kill(pids[0], signal.SIGWINCH)
        server.wait_for(lambda: "shutting down" in server.error_log(), "begin to stop")
        link.sendall(NEW_BODY)
        assert read_answer(link)[0] == 200
    assert server.process.wait(60) == 0
    server.wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids),
                    "end all its processes")


# What a loaded module costs that is not used

def footprint(server):
    """Shared mappings, and the threads of each child, once they all have started."""
    pids = server.pids()
    shared = [line for line in pathlib.Path(f"/proc/{pids[0]}/maps").read_text().splitlines()
              if line.split()[1].endswith("s")]
    files = sorted(path.name for path in server.root.iterdir())
    threads = sorted(len(os.listdir(f"/proc/{pid}/task")) for pid in pids[1:])
    return len(shared), files, threads


def settled(server):
    """footprint(), when it has stood still for ten looks."""
    seen = []

    def still():
        seen.append(footprint(server))
        return len(seen) > 10 and all(look == seen[-1] for look in seen[-10:])
    server.wait_for(still, "start all its threads")
    return seen[-1]


@every_mpm
def test_unused_module_costs_nothing(serve, mpm):
    few = "StartServers 2\n"
    if mpm != "prefork":
        few += "ThreadsPerChild 4\nMaxRequestWorkers 8\nServerLimit 2\nMinSpareThreads 1\n"
    without = settled(serve(few, mpm=mpm, module=None))
    unused = serve(few, mpm=mpm)
    assert settled(unused) == without
    assert unused.tagged() == []
    used = settled(serve(few + MAIN, mpm=mpm))
    assert used == (without[0] + 1, *without[1:])  # the table, and no thread
