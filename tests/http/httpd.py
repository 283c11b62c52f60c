"""A private apache2 with its own ServerRoot and port, for tests, benchmarks and the demo.

It never touches the system's Apache: its own folder, its own port on 127.0.0.1, its own pid file,
and it is stopped by its own pid.
"""

import collections
import contextlib
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("B24BG_BUILD", ROOT / "build"))  # another for sanitizers
MODULE = BUILD / "mod_b24bg.so"
PROBE = BUILD / "tests" / "mod_b24bg_probe.so"
APACHE = "/usr/sbin/apache2"
MODULES = pathlib.Path("/usr/lib/apache2/modules")
PATIENCE = 60.0  # seconds until a server that does not answer is a failure; never a measurement

BASE = """
ServerRoot "{root}"
PidFile "{root}/httpd.pid"
DefaultRuntimeDir "{root}"
Listen 127.0.0.1:{port}
ServerName 127.0.0.1:{port}
User www-data
Group www-data
{load}
ErrorLog "{root}/error.log"
LogLevel {log_level}
DocumentRoot "{root}/htdocs"
LogFormat "%r %>s app=%{{b24bg-app}}n portal=%{{b24bg-portal}}n kind=%{{b24bg-kind}}n \
verdict=%{{b24bg-verdict}}n ms=%{{b24bg-load-ms}}n" b24bg
CustomLog "{root}/access.log" b24bg
{conf}
"""

TWO_LOCATIONS = """
<Location "/b24/worker">
    SetHandler b24bg-worker
</Location>
<Location "/b24/error">
    SetHandler b24bg-error
</Location>
"""

# Prints the shared table as text; see counters().
PROBE_LOCATION = f"""
LoadModule b24bg_probe_module "{PROBE}"
<Location "/probe">
    SetHandler b24bg-probe
    Require all granted
</Location>
"""

# An app whose registrations the module would look after, had it any: for rows that the probe shows.
REGISTERING = """
B24bgStateDir state
<B24bgApp {0}>
    B24bgClient    local.1
    B24bgWorkerURL https://worker.example.com/b24/worker
    B24bgErrorURL  https://worker.example.com/b24/error
</B24bgApp>
"""


def app(lines, name="one"):
    return f"<B24bgApp {name}>\n{lines}\n</B24bgApp>\n"


# Below the ports that the system gives to clients, which would take a stopped server's port away; a
# range for each process that runs tests at the same time.
FIRST_PORT, PORTS = 20000, 2000


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = FIRST_PORT + PORTS * (worker % 6) + random.randrange(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Httpd:
    """One apache2. `folder` must be new and, for www-data, reachable (not below a 0700 folder)."""

    def __init__(self, folder, conf=TWO_LOCATIONS, mpm="event", modules=(), single=False,
                 log_level="info", module=MODULE, environment=None):
        self.root = pathlib.Path(folder)
        (self.root / "htdocs").mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.mpm, self.single, self.log_level, self.module = mpm, single, log_level, module
        self.modules = [f"mpm_{mpm}", "authz_core", "authz_host", *modules]
        self.environment = environment
        self.process = None
        self.write_conf(conf)

    # configuration

    @property
    def conf_file(self):
        return self.root / "httpd.conf"

    def write_conf(self, conf):
        """Replaces the configuration; a running server sees it at its next reload."""
        load = [f"LoadModule {name}_module {MODULES / f'mod_{name}.so'}" for name in self.modules]
        if self.module:
            load.append(f"LoadModule b24bg_module {self.module}")
        self.conf_file.write_text(BASE.format(
            root=self.root, port=self.port, load="\n".join(load), log_level=self.log_level,
            conf=conf.replace("{root}", str(self.root)).replace("{port}", str(self.port))))

    def configtest(self):
        """(exit code, what it printed)"""
        run = subprocess.run([APACHE, "-t", "-f", str(self.conf_file)], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
                             env=self.environment)
        return run.returncode, run.stdout

    # life

    def start(self):
        """In a session of its own: prefork ends its whole process group, not its children alone."""
        mode = ["-X"] if self.single else ["-D", "FOREGROUND"]
        seen = self.starts()
        self.process = subprocess.Popen([APACHE, *mode, "-f", str(self.conf_file)],
                                        stdout=subprocess.DEVNULL,
                                        stderr=open(self.root / "stderr.log", "ab"),
                                        env=self.environment, start_new_session=True)
        self.wait_for(self.answers, "answer on its port")
        self.wait_for(lambda: self.single or self.starts() > seen, "start all its children")
        return self

    def starts(self):
        """How often it has come up, reloads included. A signal that comes before it says so may
        be lost."""
        return self.error_log().count("resuming normal operations")

    def lives(self):
        if self.process.poll() is not None:
            raise AssertionError(f"apache2 ended with {self.process.returncode}:\n"
                                 + self.read("stderr.log") + self.read("error.log"))
        return True

    def answers(self):
        """Whether it does: its port is open long before, while it reads its configuration for the
        second time."""
        try:
            return self.lives() and self.raw(b"OPTIONS * HTTP/1.0\r\n\r\n") != b""
        except ConnectionError:
            return False

    def stop(self):
        """SIGTERM to the parent alone; returns its exit code."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()

    def reload(self, how):
        """SIGUSR1 (graceful) or SIGHUP (hard); returns when the new generation has started."""
        seen = self.starts()
        self.process.send_signal(how)
        self.wait_for(lambda: self.lives() and self.starts() > seen, "resume after a reload")

    def graceful(self):
        self.reload(signal.SIGUSR1)

    def restart(self):
        self.reload(signal.SIGHUP)

    def pids(self):
        """The parent and its living children."""
        pid = self.process.pid
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        return [pid] + [int(child) for child in path.read_text().split()]

    @staticmethod
    def wait_for(condition, what):
        end = time.monotonic() + PATIENCE
        pause = 0.001
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"did not {what} within {PATIENCE:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # what it left behind

    def read(self, name):
        path = self.root / name
        return path.read_text(errors="replace") if path.exists() else ""

    def error_log(self):
        return self.read("error.log")

    def access_log(self):
        return self.read("access.log")

    def tagged(self, tag=r"B24BG\d{4}"):
        """The module's own lines of the error log."""
        return [line for line in self.error_log().splitlines() if re.search(tag, line)]

    # requests

    def request(self, method, target, body=None, headers=None, connection=None):
        """One request through http.client: (status, headers, body)."""
        own = connection is None
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port,
                                                              timeout=PATIENCE)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if own:
                connection.close()

    def post(self, target, body, content_type="application/x-www-form-urlencoded", **more):
        headers = {"Content-Type": content_type} if content_type else {}
        headers.update(more.pop("headers", {}))
        return self.request("POST", target, body=body, headers=headers, **more)

    def raw(self, data, until_close=True):
        """Sends bytes as they are and returns everything that comes back."""
        with self.connect() as link:
            link.sendall(data)
            parts = []
            while True:
                part = link.recv(65536)
                if not part:
                    break
                parts.append(part)
                if not until_close and b"\r\n\r\n" in b"".join(parts):
                    break
            return b"".join(parts)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    # what it counted

    def counters(self):
        """The shared table, from a server with PROBE_LOCATION: {"name label=value ...": number}.

        A portal's number is that of its loads."""
        counts = collections.Counter()
        for line in self.request("GET", "/probe")[2].decode().splitlines():
            portal = re.fullmatch(r"(portal .*) loads=(\d+).*", line)
            name, number = portal.groups() if portal else line.rsplit(" ", 1)
            if number.isdigit() and int(number):
                counts[name] = int(number)
        return counts


def running_as_root():
    return os.geteuid() == 0
