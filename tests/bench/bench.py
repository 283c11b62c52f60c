#!/usr/bin/env python3
"""The cost of a worker POST, measured side by side in one private apache2 (event MPM) with

  worker   the module's b24bg-worker
  empty    a handler that reads and drops the same body and answers a page of the same size
  php      the usual PHP handler under php-fpm behind the same apache2

and the worker with 10 portals against the worker with 100,000. The rounds alternate, ratios are
taken within a round, and every figure shown is the median over the rounds. CPU is that of all
server processes (apache2, and php-fpm for php), not the load generator's. An answer other than
200 or a socket error fails the run. All traffic stays on loopback addresses.

Exit code: 0 every bar held, 1 a bar missed (not with --quick: its rounds are too short to judge),
2 the run itself failed, 3 usage.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "http"))
from httpd import MODULE, Httpd, running_as_root  # noqa: E402

EMPTY_MODULE = MODULE.parent / "bench" / "mod_b24bg_empty.so"
PATHS = {"empty": "/bench/empty", "worker": "/b24/worker", "php": "/worker.php"}
MODES = {"keep": "keep-alive", "close": "per-connection"}
# A connection per request leaves a TIME_WAIT each: every run gets the next of these addresses,
# so that the 28,000 ephemeral ports per address are enough.
ADDRESSES = [f"127.0.0.{n}" for n in range(1, 17)]
MEMBERS = 50  # portals in the comparison of the handlers
FEW = 10
SETTLE = 0.2  # seconds for the server to close its connections: part of the run's CPU

# No process and no thread may come or go while one is measured: the time of a gone one is lost.
FIXED = """
StartServers 2
ServerLimit 2
ThreadLimit 128
ThreadsPerChild 128
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 256
MaxConnectionsPerChild 0
MaxKeepAliveRequests 0
KeepAliveTimeout 60
"""

LOCATIONS = """
LoadModule b24bg_empty_module {empty}
BenchEmptyPage {size}
<Location "/bench/empty">
    SetHandler bench-empty
</Location>
<Location "/worker.php">
    SetHandler "proxy:unix:{folder}/php.sock|fcgi://localhost"
</Location>
"""

WORKER = """
B24bgMaxPortals {portals}
<Location "/b24/worker">
    SetHandler b24bg-worker
</Location>
"""

FPM = """
[global]
error_log = {folder}/php-fpm.log
daemonize = no
[bench]
{user}
listen = {folder}/php.sock
pm = static
pm.max_children = 8
pm.max_requests = 0
"""


class Failed(Exception):
    """The run itself failed; nothing can be said about the bars."""


class Usage(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(3, f"bench: {message}\n")


@dataclass
class Sample:
    """One case in one round."""
    cpu: float   # us per request of all server processes
    rate: float  # requests per second
    p50: float   # ms
    p99: float   # ms


class Server(Httpd):
    """The private apache2 without an access log (spec: a line of it costs 3 %, in every case)."""

    def __init__(self, folder, **more):
        super().__init__(folder, conf="", log_level="warn", **more)
        self.addresses = itertools.cycle(ADDRESSES)

    def write_conf(self, conf):
        super().write_conf(conf)
        lines = self.conf_file.read_text().splitlines()
        lines = [line for line in lines if not line.startswith("CustomLog")]
        lines += [f"Listen {address}:{self.port}" for address in ADDRESSES[1:]]
        self.conf_file.write_text("\n".join(lines) + "\n")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


# processes

def children(pid):
    return [int(n) for n in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def thread_times(pids):
    """{thread: ns on a CPU} from the scheduler, far finer than the clock ticks of stat."""
    times = {}
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            times[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return times


@contextlib.contextmanager
def php_fpm(folder):
    """A private php-fpm with a static pool on folder/php.sock; yields its pids."""
    program = max(pathlib.Path("/usr/sbin").glob("php-fpm*"), default=None)
    if program is None:
        raise Failed("php-fpm is missing (Debian package php-fpm)")
    user = ""
    if running_as_root():
        user = "\n".join(f"{key} = www-data" for key in
                         ("user", "group", "listen.owner", "listen.group"))
    (folder / "fpm.conf").write_text(FPM.format(folder=folder, user=user))
    process = subprocess.Popen([program, "--nodaemonize", "--fpm-config", folder / "fpm.conf"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        Httpd.wait_for(lambda: process.poll() is not None or (folder / "php.sock").exists(),
                       "open the socket of php-fpm")
        if process.poll() is not None:
            raise Failed("php-fpm ended:\n" + (folder / "php-fpm.log").read_text())
        yield lambda: [process.pid] + children(process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def apache(folder, portals, with_worker=True):
    """A private apache2 with all the cases, the empty page as large as the worker's."""
    server = Server(folder, modules=("proxy", "proxy_fcgi"),
                    module=MODULE if with_worker else None)
    shutil.copy(HERE / "worker.php", server.root / "htdocs")

    def configure(size):
        server.write_conf(FIXED + LOCATIONS.format(empty=EMPTY_MODULE, size=size,
                                                   folder=server.root.parent)
                          + (WORKER.format(portals=portals) if with_worker else ""))

    configure(512)
    with server:
        if with_worker:
            configure(len(first_answer(server, "worker")[1]))
            server.restart()
            compare_answers(server)
        yield server


# requests

def first_answer(server, case):
    """(header names, body) of one request, which must be answered with 200."""
    body = ("member_id=da45a03b265edd8787f8a258d793cc5d&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER")
    status, headers, page = server.post(PATHS[case] + "?DOMAIN=xxx.bitrix24.com&PROTOCOL=1", body)
    if status != 200:
        raise Failed(f"{case} answered {status}: {page[:200]!r}\n{server.error_log()}")
    return sorted(headers.keys()), page


def compare_answers(server):
    """The yardstick must send as much as the worker."""
    worker, empty = (first_answer(server, case) for case in ("worker", "empty"))
    if len(worker[0]) != len(empty[0]) or len(worker[1]) != len(empty[1]):
        raise Failed(f"worker and empty differ: {worker[0]}, {len(worker[1])} bytes"
                     f" and {empty[0]}, {len(empty[1])} bytes")


def load(server, case, mode, options, members, first=0, seconds=None):
    """Runs wrk once and returns what post.lua printed."""
    seconds = seconds or options.seconds
    url = f"http://{next(server.addresses)}:{server.port}{PATHS[case]}"
    run = subprocess.run(["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s",
                          "--timeout", "10s", "-s", str(HERE / "post.lua"), url, "--",
                          mode, str(members), str(first)],
                         text=True, capture_output=True, timeout=seconds + 60)
    if run.returncode != 0 or "{" not in run.stdout:
        raise Failed(f"wrk ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    result = json.loads(run.stdout[run.stdout.rindex('\n{"requests"'):])
    # A redirect is no error for wrk, but it is shorter than the page.
    if any(result["errors"].values()) or result["bytes"] < result["requests"] * 300:
        raise Failed(f"{case} {mode}: {result}\n{server.error_log()[-2000:]}")
    return result


def measure(server, case, mode, options, pids, members=MEMBERS):
    before = thread_times(pids)
    result = load(server, case, mode, options, members)
    time.sleep(SETTLE)
    after = thread_times(pids)
    if before.keys() != after.keys():
        raise Failed(f"{case} {mode}: a server thread came or went during the measurement")
    cpu = sum(after.values()) - sum(before.values())
    return Sample(cpu=cpu / 1000 / result["requests"],
                  rate=result["requests"] * 1e6 / result["us"],
                  p50=result["p50_us"] / 1000, p99=result["p99_us"] / 1000)


def alternate(title, jobs, rounds):
    """Runs every job once per round, every other round backwards: {name: [sample, ...]}."""
    samples = {name: [] for name in jobs}
    for n in range(rounds):
        for name in list(jobs) if n % 2 == 0 else reversed(list(jobs)):
            sample = jobs[name]()
            samples[name].append(sample)
            say(f"{title} round {n + 1}/{rounds}: {name:<6} {sample.cpu:7.1f} us/request"
                f" {sample.rate:8.0f}/s  p99 {sample.p99:.2f} ms")
    return samples


def measure_cases(folder, options):
    """{mode: {case: [sample, ...]}}"""
    cases = [case for case in PATHS if case in options.only]
    results = {}
    with php_fpm(folder) as php, apache(folder / "a", 1024, "worker" in cases) as server:
        for mode in MODES:
            jobs = {}
            for case in cases:
                load(server, case, mode, options, MEMBERS, seconds=1)  # warm-up
                pids = server.pids() + (php() if case == "php" else [])
                jobs[case] = lambda case=case, mode=mode, pids=pids: measure(
                    server, case, mode, options, pids)
            results[mode] = alternate(MODES[mode], jobs, options.rounds)
    return results


def fill(server, options, portals):
    """Loads every portal once."""
    done = 0
    while done < portals:
        done += load(server, "worker", "keep", options, portals, first=done, seconds=1)["requests"]


def measure_portals(folder, options):
    """Two servers, one that knows few portals and one that knows many; only one is busy at a time."""
    sizes = {"few": FEW, "many": options.portals}
    jobs = {}
    with contextlib.ExitStack() as stack:
        for name, portals in sizes.items():
            server = stack.enter_context(apache(folder / name, 131072))
            fill(server, options, portals)
            jobs[name] = lambda server=server, portals=portals: measure(
                server, "worker", "keep", options, server.pids(), members=portals)
        return alternate("portals", jobs, options.rounds)


# results

def ratios(samples, case, base, what="cpu"):
    """One ratio per round."""
    return [getattr(a, what) / getattr(b, what) for a, b in zip(samples[case], samples[base])]


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def print_table(results):
    line = "{:<8} {:<14} {:>12} {:>9} {:>8} {:>8}  {:<18} {:<18}"
    print(line.format("case", "mode", "CPU us/req", "req/s", "p50 ms", "p99 ms",
                      "CPU x empty", "CPU x php"))
    for mode, samples in results.items():
        for case, rounds in samples.items():
            middle = {key: statistics.median(getattr(s, key) for s in rounds)
                      for key in ("cpu", "rate", "p50", "p99")}
            base = [spread(ratios(samples, case, other)) if other in samples else "-"
                    for other in ("empty", "php")]
            print(line.format(case, MODES.get(mode, mode), f"{middle['cpu']:.1f}",
                              f"{middle['rate']:.0f}", f"{middle['p50']:.2f}",
                              f"{middle['p99']:.2f}", *base).rstrip())


def bars(results, options):
    """(text, ratios, limit) of spec section 8."""
    for mode, fraction in (("keep", 5), ("close", 4)):
        samples = results.get(mode, {})
        if "worker" in samples and "empty" in samples:
            yield f"{MODES[mode]}: CPU, worker / empty", ratios(samples, "worker", "empty"), 1.0
        if "worker" in samples and "php" in samples:
            yield (f"{MODES[mode]}: CPU, worker / php", ratios(samples, "worker", "php"),
                   1 / fraction)
            yield (f"{MODES[mode]}: p99 at {options.connections} connections, worker / php",
                   ratios(samples, "worker", "php", "p99"), 1 / 3)
    if "portals" in results:
        yield (f"portals: CPU, {options.portals} / {FEW}",
               ratios(results["portals"], "many", "few"), 1.1)


def print_bars(results, options):
    """Returns whether all held."""
    all_held = True
    for text, values, limit in bars(results, options):
        held = statistics.median(values) <= limit
        all_held = all_held and held
        print(f"{'held  ' if held else 'missed'} {text:<52} {spread(values):<19} bar {limit:.2f}")
    return all_held


# command line

def whole(low, high):
    def convert(text):
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"'{text}' must be {low}..{high}")
        return int(text)
    return convert


def parse_options(arguments):
    parser = Usage(prog="bench.py", description=__doc__,
                   formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=whole(1, 300), default=4, metavar="N",
                        help="of one case in one round (%(default)s)")
    parser.add_argument("--rounds", type=whole(1, 100), default=7, metavar="N",
                        help="(%(default)s)")
    parser.add_argument("--connections", type=whole(1, 1000), default=64, metavar="N",
                        help="at the same time (%(default)s)")
    parser.add_argument("--portals", type=whole(FEW, 131072), default=100000, metavar="N",
                        help="known to the full server (%(default)s)")
    parser.add_argument("--only", default="worker,empty,php,portals", metavar="LIST",
                        help="what to measure (%(default)s)")
    parser.add_argument("--quick", action="store_true",
                        help="smoke test: one round of a second, 5000 portals")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - {*PATHS, "portals"}:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}")
    if options.quick:
        options.seconds, options.rounds, options.portals = 1, 1, 5000
    return options


def check_needs(options):
    needs = [EMPTY_MODULE] + ([MODULE] if {"worker", "portals"} & set(options.only) else [])
    for path in needs:
        if not path.exists():
            raise Failed(f"{path} is not built")
    if shutil.which("wrk") is None:
        raise Failed("wrk is missing (Debian package wrk)")


def run(options):
    check_needs(options)
    results = {}
    with tempfile.TemporaryDirectory(prefix="b24bg-bench-") as name:
        os.chmod(name, 0o755)  # the servers' user must reach it
        if set(PATHS) & set(options.only):
            results.update(measure_cases(pathlib.Path(name), options))
        if "portals" in options.only:
            results["portals"] = measure_portals(pathlib.Path(name), options)
    print_table(results)
    print()
    return print_bars(results, options) or options.quick


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # unwinds, so that the servers stop
    options = parse_options(sys.argv[1:])
    try:
        return 0 if run(options) else 1
    except (Failed, AssertionError, subprocess.SubprocessError) as error:
        say(f"failed: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
