"""Servers for the tests; what they are is in apache.py, which other tests use too."""

import contextlib
import pathlib
import signal
import tempfile

import pytest
from apache import RUNNING, running
from apache import (MAIN, MODES, TAG, Answer, Server, check_answer,  # noqa: F401
                    check_secrets, read_answer, refusals, requests)
from bitrix import Bitrix, Postgres

# A run that is told to end stops its servers on its way out.
signal.signal(signal.SIGTERM, signal.default_int_handler)
# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", params=MODES)
def server(request):
    """The main server, once per mode: two Locations, everything logged."""
    with running(log_level="debug", **MODES[request.param]) as main:
        yield main


@pytest.fixture
def serve():
    """Starts servers of the test's own: serve(conf, mpm=..., ...)."""
    with contextlib.ExitStack() as stack:
        yield lambda *conf, **more: stack.enter_context(running(*conf, **more))


@pytest.fixture
def bitrix():
    """A simulated Bitrix24; bitrix.serve() starts servers that know an application of it."""
    with Bitrix() as world:
        yield world


@pytest.fixture
def alerts():
    from bitrix import Alerts
    with tempfile.TemporaryDirectory(prefix="b24bg-alert-") as folder:
        pathlib.Path(folder).chmod(0o755)
        yield Alerts(pathlib.Path(folder))


@pytest.fixture(scope="session")
def cluster():
    with Postgres() as postgres:
        yield postgres


@pytest.fixture
def postgres(cluster):
    """An empty database in a PostgreSQL of the tests' own."""
    return cluster.new_database()


@pytest.fixture(autouse=True)
def nothing_unexpected():
    yield
    for server in RUNNING:
        server.check()
