"""`make run`: it starts, its curl lines work as they are printed, and it ends without a trace."""

import errno
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pytest
import samples
from conftest import check_secrets
from httpd import PATIENCE, Httpd, free_port, running_as_root
from tree import MAKE, NOBODY, copy_tree, environment

READY = "Ctrl-C stops the server"
USERS = ["root", "nobody"] if running_as_root() else ["self"]


class Run:
    """`make run` in a tree, or tests/run alone; `terminal` gives it one of its own."""

    def __init__(self, tree, user, terminal=False, command=None):
        self.tree, self.port, self.output = tree, free_port(), ""
        self.command = [*(NOBODY if user == "nobody" else []),
                        *(command or [*MAKE, "run", f"PORT={self.port}"])]
        self.code = None
        self.start_in_terminal() if terminal else self.start()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def start(self):
        process = subprocess.Popen(self.command, cwd=self.tree, env=environment(),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        self.pid, self.source = process.pid, os.dup(process.stdout.fileno())
        process.stdout.close()
        self.wait = lambda: process.wait(PATIENCE)

    def start_in_terminal(self):
        self.pid, self.source = pty.fork()
        if self.pid == 0:
            os.chdir(self.tree)
            os.execvpe(self.command[0], self.command, environment())
        self.wait = lambda: os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def read(self):
        try:
            while data := os.read(self.source, 65536):
                self.output += data.decode().replace("\r\n", "\n")
        except OSError:  # a terminal whose processes have all ended
            pass
        os.close(self.source)

    def shows(self, text):
        Httpd.wait_for(lambda: text in self.output or not self.reader.is_alive(), f"show {text}")
        assert text in self.output, self.output

    def press_ctrl_c(self):
        os.write(self.source, b"\x03")

    def end(self):
        """Waits for the end; returns the exit code, negative for a signal."""
        self.code = self.wait()
        self.reader.join(PATIENCE)
        assert not self.reader.is_alive(), "something still holds its output"
        return self.code

    def processes(self):
        """Everything that was started in this tree, by its command line or its folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    traces = [(entry / "cmdline").read_text(), os.readlink(entry / "cwd")]
                except OSError:
                    continue
                if any(str(self.tree) in trace for trace in traces):
                    found.append(int(entry.name))
        return found

    def left_nothing(self):
        assert not self.processes()
        assert not (self.tree / "build" / "run" / "httpd.pid").exists()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))


@pytest.fixture(params=USERS)
def user(request):
    return request.param


@pytest.fixture
def tree(user):
    folder = tempfile.mkdtemp(prefix="b24bg-run-")
    os.chmod(folder, 0o755)
    yield copy_tree(folder, owner="nobody" if user == "nobody" else None)
    shutil.rmtree(folder)


@pytest.fixture
def start(tree, user):
    """Starts a run; whatever is left of it when the test ends is killed."""
    runs = []

    def starter(**more):
        runs.append(Run(tree, user, **more))
        return runs[-1]

    yield starter
    for run in runs:
        for pid in run.processes():
            os.kill(pid, signal.SIGKILL)


def curl_lines(output):
    return [line for line in output.splitlines() if line.startswith("curl ")]


def paste(line):
    """What a shell makes of the line: (headers, body)."""
    run = subprocess.run(["/bin/sh", "-c", line], text=True, capture_output=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    return run.stdout.replace("\r\n", "\n").split("\n\n", 1)


def test_the_printed_lines_work(start, tree, user):
    run = start()
    run.shows(READY)
    load, notice = curl_lines(run.output)
    assert len(re.search("-d '([^']*)'", load)[1]) == 533

    headers, page = paste(load)
    assert headers.startswith("HTTP/1.1 200 OK\n") and page.startswith("<!DOCTYPE html>")
    run.shows(f"kind=worker verdict=unknown portal={samples.MEMBER_ID}")
    headers, text = paste(notice)
    assert headers.startswith("HTTP/1.1 200 OK\n") and text == ""
    run.shows(f'error={samples.OVERTIME} description="{samples.DESCRIPTION}"')

    for url in re.findall(r"URL +(http://\S+)", run.output):
        assert paste(f"curl -si --noproxy '*' {url}")[0].startswith("HTTP/1.1 200 OK\n")
    os.killpg(run.pid, signal.SIGINT)
    run.end()
    run.left_nothing()
    for log in (tree / "build" / "run").glob("*.log"):
        check_secrets(log.read_text(), log.name)
    conf = (tree / "build" / "run" / "httpd.conf").read_text()
    assert bool(re.search("^User www-data$", conf, re.M)) == (user == "root")


def test_the_demo_is_there_while_it_runs(start):
    run = start()
    run.shows(READY)
    demo = re.search(r"demo page +(\S+)", run.output)[1]
    headers, page = paste(f"curl -si --noproxy '*' {demo}")
    assert headers.startswith("HTTP/1.1 200 OK\n") and "<title>Background worker demo" in page
    run.shows("installed: app=demo")
    os.killpg(run.pid, signal.SIGINT)
    run.end()
    run.left_nothing()
    port = int(re.search(r":(\d+)/", demo)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


# make ends itself by the signal that it gets; it gets none where the terminal's Ctrl-C is ours.
def to_the_group(run):
    os.killpg(run.pid, signal.SIGINT)
    return -signal.SIGINT


def to_make_alone(run):
    os.kill(run.pid, signal.SIGINT)
    return -signal.SIGINT


def by_the_terminal(run):
    run.press_ctrl_c()
    return 0


@pytest.mark.parametrize("interrupt", [to_the_group, to_make_alone, by_the_terminal])
def test_ctrl_c_stops_it(start, interrupt):
    run = start(terminal=interrupt is by_the_terminal)
    run.shows(READY)
    expected = interrupt(run)
    assert run.end() == expected
    assert run.output.rstrip().endswith("stopped") or "\nstopped\n" in run.output
    assert "Error" not in run.output and "Traceback" not in run.output
    run.left_nothing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_script_alone_ends_with_0(start, tree, number):
    run = start(command=["tests/run", str(free_port())])
    run.shows(READY)
    os.kill(run.pid, number)
    assert run.end() == 0
    run.left_nothing()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_make(start, number):
    run = start()
    run.shows(READY)
    os.kill(run.pid, number)
    run.end()
    Httpd.wait_for(lambda: not run.processes(), "end with make")
    run.left_nothing()


def test_a_taken_port_is_named_with_the_remedy(start, tree):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = start(command=[*MAKE, "run", f"PORT={port}"])
        assert run.end() == 2
        assert f"port {port} on 127.0.0.1: is taken" in run.output
        assert "make -f Makefile.apxs run PORT=" in run.output and "Traceback" not in run.output
        assert not run.processes()


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_bad_port_is_refused(start, port):
    run = start(command=["tests/run", port])
    assert run.end() == 3
    assert "a port from 1 to 65535 is needed" in run.output


def test_one_at_a_time(start):
    first = start()
    first.shows(READY)
    second = start()
    assert second.end() == 2
    assert "this tree is running already" in second.output
    first.shows("B24BG0002")  # the second has left its logs alone
    assert "B24BG0002" in (first.tree / "build/run/error.log").read_text()
    os.killpg(first.pid, signal.SIGINT)
    first.end()
    first.left_nothing()


def test_a_server_that_cannot_start_says_why(start, tree):
    (tree / "conf" / "b24bg.conf").write_text("B24bgMaxPortals none\n")
    run = start()
    assert run.end() == 2
    assert 'B24bgMaxPortals "none"' in run.output
    run.left_nothing()
