"""Command line: makes a world, says where it listens, runs until it is interrupted."""

from __future__ import annotations

import argparse
import json
import signal

from . import control
from .simulator import Simulator


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="portal", description="Simulates Bitrix24 portals and OAuth servers on 127.0.0.1. "
        "Prints one JSON line with all addresses, then serves until SIGINT or SIGTERM.",
        epilog=control.__doc__)
    parser.add_argument("--portals", type=int, default=1, help="portals to start with (1)")
    parser.add_argument("--host", default="127.0.0.1", help="host name the portals go by")
    parser.add_argument("--client-id", default="", help="application installed on all of them")
    parser.add_argument("--client-secret", default="", help="its secret; both random by default")
    parser.add_argument("--error-status", choices=("code", "docs"), default="code",
                        help="HTTP statuses of REST errors: as the code or the documentation says")
    parser.add_argument("--control-port", type=int, default=0, help="of the control API (free)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # inherited by the threads; sigwait gets them
    with Simulator(control_port=options.control_port) as simulator:
        app = simulator.add_app(options.client_id, options.client_secret)
        for _ in range(options.portals):
            portal = simulator.add_portal(host=options.host, error_status=options.error_status)
            simulator.install(portal, app)
        print(json.dumps(simulator.describe()), flush=True)
        signal.sigwait(ends)
    return 0
