#!/usr/bin/env python3
"""The cost of a worker POST, measured side by side in one private apache2 (event MPM) with

  worker   the module's b24bg-worker
  empty    a handler that reads and drops the same body and answers a page of the same size
  php      the usual PHP handler under php-fpm behind the same apache2

and the worker with 10 portals against the worker with 100,000 in two servers. Rounds alternate,
ratios are taken within a round, figures are medians over the rounds. CPU is that of all server
processes (apache2; for php also php-fpm), not the load generator's. An answer other than the page
or a socket error fails the run. All traffic stays on loopback addresses.

Exit code: 0 every bar held, 1 a bar missed (not with --quick: its rounds are too short to judge),
2 the run itself failed, 3 usage.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from servers import EMPTY_MODULE, HERE, MODULE, PATHS, Failed, apache, new_folder, php_fpm

MODES = {"keep": "keep-alive", "close": "per-connection"}
MEMBERS = 50  # portals in the comparison of the handlers
FEW, MANY, MANY_QUICK = 10, 100000, 5000
SETTLE = 0.2  # seconds for the server to close its connections: part of the run's CPU
SHORTEST = 300  # bytes of a whole answer; a redirect, no error for wrk, is shorter
NOISE = 0.05  # other programs' share of the processors from which on we warn


class Usage(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(3, f"bench: {message}\n")


@dataclass
class Sample:
    """One case in one round."""
    cpu: float     # us per request of all server processes
    rate: float    # requests per second
    p50: float     # ms
    p99: float     # ms
    others: float  # share of the processors that other programs took meanwhile


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


# measuring

def thread_times(pids):
    """{thread: ns on a CPU} from the scheduler, far finer than the clock ticks of stat."""
    return {int(task.name): int((task / "schedstat").read_text().split()[0])
            for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


def everyones_time():
    """Seconds on a CPU of all programs, and of our finished children (wrk)."""
    busy = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4]
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(map(int, busy)) / os.sysconf("SC_CLK_TCK"), ours.ru_utime + ours.ru_stime


def load(server, case, mode, options, members, first=0, seconds=1):
    """Runs wrk once and returns what post.lua printed."""
    url = f"http://{next(server.addresses)}:{server.port}{PATHS[case]}"
    run = subprocess.run(["taskset", "-c", options.generator, "wrk", "-t1",
                          f"-c{options.connections}", f"-d{seconds}s", "--timeout", "10s",
                          "-s", str(HERE / "post.lua"), url, "--", mode, str(members), str(first)],
                         text=True, capture_output=True, timeout=seconds + 60)
    if run.returncode != 0 or '\n{"requests"' not in run.stdout:
        raise Failed(f"wrk ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    result = json.loads(run.stdout[run.stdout.rindex('\n{"requests"'):])
    if (any(result["errors"].values()) or result["requests"] == 0
            or result["bytes"] < result["requests"] * SHORTEST):
        raise Failed(f"{case} {mode}: {result}\n{server.error_log()[-2000:]}")
    return result


def measure(server, case, mode, options, pids, members=MEMBERS):
    start, all_before, wrk_before, before = time.monotonic(), *everyones_time(), thread_times(pids)
    result = load(server, case, mode, options, members, seconds=options.seconds)
    time.sleep(SETTLE)
    after, (all_after, wrk_after) = thread_times(pids), everyones_time()
    if before.keys() != after.keys():
        raise Failed(f"{case} {mode}: a server thread came or went during the measurement")
    cpu = (sum(after.values()) - sum(before.values())) / 1e9
    others = (all_after - all_before) - (wrk_after - wrk_before) - cpu
    return Sample(cpu=cpu * 1e6 / result["requests"],
                  rate=result["requests"] * 1e6 / result["us"],
                  p50=result["p50_us"] / 1000, p99=result["p99_us"] / 1000,
                  others=others / (time.monotonic() - start) / os.cpu_count())


def alternate(title, jobs, rounds):
    """Runs every job once per round, every other round backwards: {name: [sample, ...]}."""
    samples = {name: [] for name in jobs}
    for n in range(rounds):
        for name in list(jobs)[::1 if n % 2 == 0 else -1]:
            sample = jobs[name]()
            samples[name].append(sample)
            say(f"{title} round {n + 1}/{rounds}: {name:<6} {sample.cpu:7.1f} us/request"
                f" {sample.rate:8.0f}/s  p99 {sample.p99:6.2f} ms")
    return samples


def measure_cases(options):
    """{mode: {case: [sample, ...]}}"""
    results = {}
    with new_folder() as folder, php_fpm(folder) as php, \
            apache(options.connections, 1024, folder / "php.sock") as server:
        php_pids = [php.pid, *map(int, pathlib.Path(
            f"/proc/{php.pid}/task/{php.pid}/children").read_text().split())]
        for mode in MODES:
            jobs = {}
            for case in PATHS:
                load(server, case, mode, options, MEMBERS)  # warm-up
                pids = server.pids() + (php_pids if case == "php" else [])
                jobs[case] = lambda c=case, m=mode, p=pids: measure(server, c, m, options, p)
            results[mode] = alternate(MODES[mode], jobs, options.rounds)
    return results


def measure_portals(options):
    """Two servers, one that knows few portals and one that knows many; one is busy at a time."""
    jobs = {}
    with contextlib.ExitStack() as stack:
        for name, portals in (("few", FEW), ("many", options.many)):
            server = stack.enter_context(apache(options.connections, 131072))
            done = 0
            while done < portals:  # every portal once
                done += load(server, "worker", "keep", options, portals, first=done)["requests"]
            jobs[name] = lambda s=server, n=portals: measure(s, "worker", "keep", options,
                                                             s.pids(), members=n)
        return alternate("portals", jobs, options.rounds)


# results

def ratios(samples, case, base, what="cpu"):
    """One ratio per round."""
    return [getattr(a, what) / getattr(b, what) for a, b in zip(samples[case], samples[base])]


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def print_table(results):
    line = "{:<7} {:<14} {:>10} {:>7} {:>7} {:>7}  {:<17} {}"
    print(line.format("case", "mode", "CPU us/req", "req/s", "p50 ms", "p99 ms",
                      "CPU x empty", "CPU x php"))
    for mode, samples in results.items():
        for case, rounds in samples.items():
            cpu, rate, p50, p99 = (statistics.median(getattr(s, key) for s in rounds)
                                   for key in ("cpu", "rate", "p50", "p99"))
            print(line.format(case, MODES.get(mode, mode), f"{cpu:.1f}", f"{rate:.0f}",
                              f"{p50:.2f}", f"{p99:.2f}",
                              *(spread(ratios(samples, case, base)) if base in samples else "-"
                                for base in ("empty", "php"))))


def bars(results, options):
    """(text, ratios, limit) of the figures to hold."""
    for mode, share in (("keep", 1 / 5), ("close", 1 / 4)):
        samples, name = results[mode], MODES[mode]
        yield f"{name}: CPU, worker / empty", ratios(samples, "worker", "empty"), 1.0
        yield f"{name}: CPU, worker / php", ratios(samples, "worker", "php"), share
        yield (f"{name}: p99 at {options.connections} connections, worker / php",
               ratios(samples, "worker", "php", "p99"), 1 / 3)
    yield (f"portals: CPU, {options.many} / {FEW}",
           ratios(results["portals"], "many", "few"), 1.1)


def print_bars(results, options):
    """Returns whether all held."""
    all_held = True
    for text, values, limit in bars(results, options):
        held = statistics.median(values) <= limit
        all_held = all_held and held
        print(f"{'held  ' if held else 'missed'} {text:<54} {spread(values):<17} bar {limit:.2f}")
    others = statistics.mean(s.others for samples in results.values()
                             for rounds in samples.values() for s in rounds)
    if others > NOISE:
        say(f"warning: other programs took {others:.0%} of the processors; repeat it when quiet")
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
    parser.add_argument("--seconds", type=whole(1, 300), default=2, metavar="N",
                        help="of one case in one round (%(default)s)")
    parser.add_argument("--rounds", type=whole(1, 100), default=11, metavar="N",
                        help="(%(default)s)")
    parser.add_argument("--connections", type=whole(1, 500), default=64, metavar="N",
                        help="at the same time (%(default)s)")
    parser.add_argument("--quick", action="store_true",
                        help=f"smoke test: one round of a second, {MANY_QUICK} portals")
    options = parser.parse_args(arguments)
    options.many = MANY_QUICK if options.quick else MANY
    if options.quick:
        options.seconds = options.rounds = 1
    return options


def split_processors():
    """Keeps us and the servers to one half; returns the other one for wrk's taskset. Apart, they
    do not wait for each other, and the latency is the server's."""
    processors = sorted(os.sched_getaffinity(0))
    half = (len(processors) + 1) // 2
    os.sched_setaffinity(0, processors[:half])
    return ",".join(map(str, processors[half:] or processors))


def check_needs():
    for path in (MODULE, EMPTY_MODULE):
        if not path.exists():
            raise Failed(f"{path} is not built")
    if shutil.which("wrk") is None:
        raise Failed("wrk is missing (Debian package wrk)")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # unwinds, so that the servers stop
    options = parse_options(sys.argv[1:])
    try:
        check_needs()
        options.generator = split_processors()
        results = measure_cases(options)
        results["portals"] = measure_portals(options)
    except (Failed, AssertionError, OSError, subprocess.SubprocessError) as error:
        say(f"failed: {error}")
        return 2
    print_table(results)
    print()
    return 0 if print_bars(results, options) or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
