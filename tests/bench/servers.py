"""The servers of the benchmark: a private apache2 with all the cases, and a private php-fpm."""

import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "http"))
from httpd import MODULE, Httpd, running_as_root  # noqa: E402

EMPTY_MODULE = MODULE.parent / "bench" / "mod_b24bg_empty.so"
PATHS = {"empty": "/bench/empty", "worker": "/b24/worker", "php": "/worker.php"}
# A connection per request leaves a TIME_WAIT each: every run gets the next of these addresses,
# so that the 28,000 ephemeral ports per address are enough.
ADDRESSES = [f"127.0.0.{n}" for n in range(1, 17)]

# No process and no thread may come or go while one is measured: the time of a gone one is lost.
# The two Directory sections are those of a stock Debian server.
CONF = """
LoadModule b24bg_empty_module {folder}/mod_b24bg_empty.so
StartServers 2
ServerLimit 2
ThreadLimit {threads}
ThreadsPerChild {threads}
MaxRequestWorkers {all_threads}
MinSpareThreads 1
MaxSpareThreads {all_threads}
MaxConnectionsPerChild 0
MaxKeepAliveRequests 0
KeepAliveTimeout 60
<Directory "/">
    Options FollowSymLinks
    AllowOverride None
    Require all denied
</Directory>
<Directory "{folder}/htdocs">
    AllowOverride None
    Require all granted
</Directory>
B24bgMaxPortals {portals}
<Location "/b24/worker">
    SetHandler b24bg-worker
</Location>
BenchEmptyPage {page_size}
<Location "/bench/empty">
    SetHandler bench-empty
</Location>
<Location "/worker.php">
    SetHandler "proxy:unix:{php_socket}|fcgi://localhost"
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


class Server(Httpd):
    """The private apache2 without an access log: a line of it costs every case the same."""

    def __init__(self, folder, **more):
        super().__init__(folder, conf="", log_level="warn", **more)
        self.addresses = itertools.cycle(ADDRESSES)

    def write_conf(self, conf):
        super().write_conf(conf)
        lines = [line for line in self.conf_file.read_text().splitlines()
                 if not line.startswith("CustomLog")]
        lines += [f"Listen {address}:{self.port}" for address in ADDRESSES[1:]]
        self.conf_file.write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def new_folder():
    """As deep as a stock DocumentRoot, because httpd walks it, and open to the servers' user."""
    with tempfile.TemporaryDirectory(prefix="b24bg-bench-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@contextlib.contextmanager
def php_fpm(folder):
    """A private php-fpm with a static pool on folder/php.sock; yields its process."""
    program = max(pathlib.Path("/usr/sbin").glob("php-fpm*"), default=None)
    if program is None:
        raise Failed("php-fpm is missing (Debian package php-fpm)")
    keys = ("user", "group", "listen.owner", "listen.group") if running_as_root() else ()
    (folder / "fpm.conf").write_text(FPM.format(
        folder=folder, user="\n".join(f"{key} = www-data" for key in keys)))
    process = subprocess.Popen([program, "--nodaemonize", "--fpm-config", folder / "fpm.conf"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        Httpd.wait_for(lambda: process.poll() is not None or (folder / "php.sock").exists(),
                       "open the socket of php-fpm")
        if process.poll() is not None:
            raise Failed("php-fpm ended:\n" + (folder / "php-fpm.log").read_text())
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def apache(connections, portals, php_socket="/nowhere"):
    """A private apache2 with all the cases, the empty page as large as the worker's."""
    with new_folder() as folder:
        server = Server(folder, modules=("proxy", "proxy_fcgi"), module=folder / MODULE.name)
        shutil.copy(HERE / "worker.php", folder / "htdocs")
        for module in (MODULE, EMPTY_MODULE):  # a build meanwhile would overwrite what is mapped
            shutil.copy(module, folder)
        # Busy threads make event close idle connections: twice as many threads in each process.
        values = {"folder": folder, "portals": portals, "php_socket": php_socket,
                  "threads": 2 * connections, "all_threads": 4 * connections}
        server.write_conf(CONF.format(page_size=1, **values))
        with server:
            page = first_answer(server, "worker")[1]
            server.write_conf(CONF.format(page_size=len(page), **values))
            server.restart()
            compare_answers(server)
            yield server


def first_answer(server, case):
    """(header names, body) of one request, which must be answered with 200."""
    form = "member_id=da45a03b265edd8787f8a258d793cc5d&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER"
    status, headers, page = server.post(PATHS[case] + "?DOMAIN=xxx.bitrix24.com&PROTOCOL=1", form)
    if status != 200:
        raise Failed(f"{case} answered {status}: {page[:200]!r}\n{server.error_log()}")
    return sorted(headers.keys()), page


def compare_answers(server):
    """The yardstick must send as much as the worker."""
    worker, empty = (first_answer(server, case) for case in ("worker", "empty"))
    if len(worker[0]) != len(empty[0]) or len(worker[1]) != len(empty[1]):
        raise Failed(f"worker and empty differ: {worker[0]}, {len(worker[1])} bytes"
                     f" and {empty[0]}, {len(empty[1])} bytes")
