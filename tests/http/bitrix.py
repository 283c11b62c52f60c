"""A simulated Bitrix24 with servers that know an application of it, and a PostgreSQL of our own:
what the tests of portals share."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import urllib.parse

import samples
from apache import Answer, Server, running
from httpd import BUILD, PATIENCE, ROOT, TWO_LOCATIONS

sys.path.insert(0, str(ROOT / "tests"))
from portal import Simulator  # noqa: E402

CTL = BUILD / "b24bgctl"
URLS = TWO_LOCATIONS + """
<Location "/b24/install">
    SetHandler b24bg-install
</Location>
"""
NAME = "telephony"
JOURNAL_HEADER = 40  # bytes between what begins a record and its fields
ANYWHERE = "frame-ancestors https://127.0.0.1:* http://127.0.0.1:*"  # B24bgPortals 127.0.0.1


class Bitrix(Simulator):
    """With one application, `app`, and all servers that serve it."""

    def __init__(self):
        super().__init__()
        self.oauth, self.app = self.add_oauth(), self.add_app()
        self.servers = contextlib.ExitStack()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="b24bg-secret-"))
        samples.SOURCES.append(self.secrets)

    def stop(self):
        with contextlib.ExitStack() as stack:
            stack.callback(samples.SOURCES.remove, self.secrets)
            stack.callback(shutil.rmtree, self.folder)
            stack.callback(super().stop)
            self.servers.close()

    def secrets(self):
        """All that it has given out so far."""
        tokens = [token for oauth in list(self.oauths.values())
                  for token in (*list(oauth.access), *list(oauth.refresh))]
        installs = [install.application_token for portal in list(self.portals.values())
                    for install in list(portal.installs.values())]
        binds = self.requests(endpoint="placement.bind")
        keys = [bind.params["OPTIONS"]["errorHandlerUrl"].rpartition("/")[2] for bind in binds]
        keys = [key for key in keys if re.fullmatch("[0-9a-f]{32}", key)]
        return tokens + installs + keys + [app.client_secret for app in list(self.apps.values())]

    def secret_file(self, app=None):
        path = self.folder / (app or self.app).client_id
        path.write_text((app or self.app).client_secret + "\n")
        path.chmod(0o600)
        return path

    def app_conf(self, lines="", app=None, name=NAME, secret="file"):
        """<B24bgApp> for an application, on all OAuth servers that there are so far, unless `lines`
        says otherwise."""
        app = app or self.app
        if "B24bgAuthServer" not in lines:
            lines += "\n    B24bgAuthServer " + " ".join(o.url for o in self.oauths.values())
        if "B24bgPortals" not in lines:
            lines += "\n    B24bgPortals 127.0.0.1"
        secret = f"file:{self.secret_file(app)}" if secret == "file" else secret
        return (f"<B24bgApp {name}>\n    B24bgClient {app.client_id} {secret}\n"
                f"    B24bgAllowHTTP on\n    {lines}\n</B24bgApp>\n")

    def conf(self, lines="", store=None, **app):
        return (f'B24bgStateDir state\n{store.conf if store else ""}\n'
                + self.app_conf(lines, **app) + URLS)

    def serve(self, conf=None, store=None, **more):
        return self.servers.enter_context(
            running(conf or self.conf(store=store), make=PortalServer, bitrix=self, store=store,
                    **more))

    def registering(self, lines="", store=None, **app):
        """A configuration whose portals get registrations; a lost one comes back at once."""
        urls = ("\n    B24bgWorkerURL http://127.0.0.1:{port}/b24/worker"
                "\n    B24bgErrorURL http://127.0.0.1:{port}/b24/error")
        if "B24bgRebindBackoff" not in lines:
            urls += "\n    B24bgRebindBackoff 0s 6h 4"
        return self.conf(lines + urls, store=store, **app)

    def lose(self, portal, user_id=0, **policy):
        """Eleven slow loads delete the registration, and the notice goes out as `policy` says."""
        if policy:
            self.set_portal(portal, notice=policy)
        assert self.slow(portal, self.app, 11, user_id)["deleted"]

    def asked(self, portal, method="placement.get"):
        """How often the portal was asked."""
        return len(self.requests(portal.name, method))

    def event(self, portal, name="install", **fields):
        """A message of the event queue, not sent: install, update or uninstall. `fields`: changes
        to auth[...], None takes one away."""
        send = {"install": self.send_install, "update": self.send_update,
                "uninstall": self.uninstall}[name]
        message = send(portal, self.app, "http://127.0.0.1/b24/install", drop=True).message
        return altered(message, {f"auth[{field}]": value for field, value in fields.items()})

    def page(self, portal, domain=None, **fields):
        """The POST of an installation page. `fields`: changes, by the names of an event's."""
        if self.app.client_id not in portal.installs:
            self.install(portal, self.app)
        names = {"access_token": "AUTH_ID", "refresh_token": "REFRESH_ID",
                 "server_endpoint": "SERVER_ENDPOINT", "application_token": "APPLICATION_TOKEN",
                 "member_id": "member_id"}
        message = self.worker(portal, self.app, "http://127.0.0.1/b24/install",
                              app_sid=samples.new_secret(), placement="DEFAULT", options=None,
                              domain=domain or portal.domain)
        return altered(message, {names[field]: value for field, value in fields.items()
                                 if field in names})

    def installation(self, portal, kind, **fields):
        return (self.page if kind == "page" else self.event)(portal, **fields)


def key_hash(key):
    return hashlib.sha1(key.lower().encode()).hexdigest()


def has_ended(pid):
    """Also when nobody has asked for its exit code yet. Its other threads hold its sockets for a moment
    longer than the first one."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def altered(message, changes):
    """(target, body) of a message with other fields."""
    form = dict(urllib.parse.parse_qsl(message.body.decode(), keep_blank_values=True)) | changes
    return message.target, urllib.parse.urlencode({k: v for k, v in form.items() if v is not None})


class PortalServer(Server):
    """Knows how a portal talks to it, and looks into its store."""

    def __init__(self, *positional, bitrix, store=None, **named):
        super().__init__(*positional, **named)
        self.bitrix, self.store, self.renders = bitrix, store, {}
        self.judged = 0  # so much of the error log has been looked at for crashes
        # event says so when it is told to end while it ends a connection
        self.expect("AH03092: process_lingering_close: apr_pollset_add failure")
        if self.single:
            self.expect("AH00098")  # -X leaves its pid file behind

    @property
    def state(self):
        return self.root / "state"

    def check(self):
        """httpd tells of a crash at level notice. One in some hundred ends of event is one, with
        the module or without (in mod_mpm_event itself); any other is ours."""
        log = self.error_log()
        alive, self.judged = log[self.judged:], len(log)
        crashes = [line for line in alive.splitlines()
                   if re.search("exit signal (?!Killed)", line)]
        assert not crashes, crashes
        super().check()

    # life

    def stop(self):
        """What httpd says while it ends is not judged."""
        self.check()
        code = super().stop()
        self.judged = len(self.error_log())
        return code

    def kill(self):
        """kill -9 of all its processes at once."""
        self.expect("AH00098")  # the next start finds the pid file of this one
        pids = self.pids()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.wait_for(lambda: all(map(has_ended, pids)), "die")

    # what portals send

    def send(self, message) -> Answer:
        return self.ask("POST", *message)

    def install(self, portal, kind="event", **fields):
        """Sends an installation; it must be answered 200."""
        answer = self.send(self.bitrix.installation(portal, kind, **fields))
        assert answer.status == 200, answer
        return answer

    def installed(self, *portals, kind="event"):
        """Sends installations and waits until the portals are known."""
        for portal in portals:
            self.install(portal, kind)
        self.wait_known(*portals)

    def render(self, portal, app=None, **fields):
        """(target, body) of a worker POST; always the same one for the same fields."""
        key = (portal.name, str(app), str(fields))
        if key not in self.renders:
            message = self.bitrix.worker(portal, app or self.bitrix.app, "http://h/b24/worker",
                                         app_sid=samples.new_secret(), **fields)
            self.renders[key] = message.target, message.body
        return self.renders[key]

    def worker(self, portal, **fields) -> Answer:
        return self.send(self.render(portal, **fields))

    def knows(self, portal):
        """Whether a wrong token is refused."""
        if self.bitrix.app.client_id not in portal.installs:
            return False
        return self.post(*self.render(portal, application_token="0" * 32))[0] == 403

    def wait_known(self, *portals):
        for portal in portals:
            self.wait_for(lambda: self.knows(portal), f"know {portal.name}")

    def wait_unknown(self, *portals):
        for portal in portals:
            self.wait_for(lambda: not self.knows(portal), f"forget {portal.name}")

    def wait_keys(self):
        """After a start: until then no key is dead; needs PROBE_LOCATION."""
        self.wait_for(lambda: b"keys are read" in self.request("GET", "/probe")[2], "read the keys")

    def wait_key(self, key):
        """Until it is live here; another machine made it. Needs PROBE_LOCATION."""
        self.wait_for(lambda: self.request("GET", f"/probe?find={key_hash(key)}")[2] == b"live 1\n",
                      "know the key")

    def make_key(self, portal, app=NAME):
        """A live key for the error URL, as a registration has one; needs PROBE_LOCATION."""
        key = samples.new_secret()
        change = urllib.parse.urlencode({"put": key_hash(key), "app": app, "domain": portal.domain,
                                         "member_id": portal.member_id})
        assert self.request("GET", f"/probe?{change}")[2] == b"done 1\n"
        return key

    def end_key(self, key):
        assert self.request("GET", f"/probe?drop={key_hash(key)}")[2] == b"done 1\n"

    def wait_log(self, tag, count=1, holding=""):
        """Lines of the error log with this tag, once there are as many."""
        def lines():
            return [line for line in self.tagged(tag) if holding in line]
        self.wait_for(lambda: len(lines()) >= count, f"log {count} {tag} {holding}")
        return lines()

    def registrations(self, portal):
        """{user: what the store has}"""
        names = "user_id, state, reason, key_hash, next_key_hash, detail"
        return {row[0]: dict(zip(names.split(", "), row)) for row in self.rows(
            f"SELECT {names} FROM b24bg_registrations WHERE member_id = '{portal.member_id}'")}

    def state_of(self, portal, user_id=0):
        row = self.registrations(portal).get(str(user_id))
        return row and f"{row['state']} {row['reason']}".strip()

    def wait_state(self, portal, state, user_id=0):
        self.wait_for(lambda: self.state_of(portal, user_id) == state,
                      f"get {portal.name} {state}, it is {self.state_of(portal, user_id)}")

    def bound(self, *portals):
        """Installs the application and waits until it is registered."""
        self.installed(*portals)
        for portal in portals:
            self.wait_state(portal, "bound")

    def check_agrees(self, portal, user_id=0):
        """One row at the portal, ours, with the key of the store."""
        row, = (row for row in portal.rows if row.user_id == user_id)
        query = f"?u={user_id}" if user_id else ""
        assert row.handler == f"http://127.0.0.1:{self.port}/b24/worker{query}"
        url, _, key = row.options["errorHandlerUrl"].rpartition("/")
        assert url == f"http://127.0.0.1:{self.port}/b24/error"
        stored = self.registrations(portal)[str(user_id)]
        assert stored["key_hash"] == hashlib.sha1(key.encode()).hexdigest()
        assert stored["next_key_hash"] == ""

    # the store

    def ctl(self, *arguments):
        """b24bgctl on the server's store; returns what it printed."""
        place = (["--store", f"pgsql:{self.store.params}"] if self.store
                 else ["--state-dir", self.state])
        run = subprocess.run([CTL, *arguments, *place], text=True, capture_output=True,
                             timeout=PATIENCE)
        assert run.returncode == 0, run.stdout + run.stderr
        assert not [secret for secret in samples.secrets() if secret in run.stdout + run.stderr]
        return run.stdout

    def portals(self):
        """{member_id: what `b24bgctl portals` shows}"""
        if not self.store and not (self.state / "b24bg.db").exists():
            return {}
        return {row["member_id"]: row for row in json.loads(self.ctl("portals", "--json"))}

    def has(self, *portals):
        """Whether they are installed, according to the store."""
        rows = self.portals()
        return all(rows.get(p.member_id, {}).get("state") == "installed" for p in portals)

    def sqlite(self):
        """The store itself; SQLite gives files that root makes to the owner of the store."""
        return sqlite3.connect(self.state / "b24bg.db", timeout=PATIENCE, isolation_level=None)

    def rows(self, sql):
        if self.store:
            return self.store.rows(sql)
        with contextlib.closing(self.sqlite()) as link:
            return [tuple(map(str, row)) for row in link.execute(sql).fetchall()]

    def events(self, what="installed"):
        """{member_id: how often}"""
        return {member_id: int(count) for member_id, count in self.rows(
            f"SELECT member_id, COUNT(*) FROM b24bg_events WHERE what = '{what}' GROUP BY 1")}

    @contextlib.contextmanager
    def held_store(self):
        """Meanwhile nothing can be written to the store (SQLite), so what comes in stays in the
        journal."""
        self.expect("B24BG030[124]")
        with contextlib.closing(self.sqlite()) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            yield
            lock.execute("ROLLBACK")

    def journal(self):
        """Its records, without what a killed server has left half-written: {field: value}."""
        path = self.state / "journal"
        records = path.read_bytes().split(b"\xb24bgj1\r\n")[1:] if path.exists() else []
        return [dict(urllib.parse.parse_qsl(record[JOURNAL_HEADER:].decode()))
                for record in records
                if len(record) - JOURNAL_HEADER == int.from_bytes(record[8:16], sys.byteorder)]

    def notices(self):
        """How many are in the inbox, done or not, once the journal is empty."""
        self.wait_for(lambda: not self.journal(), "empty the journal")
        (count,), = self.rows("SELECT COUNT(*) FROM b24bg_inbox WHERE event = 'notice'")
        return int(count)

    def open_messages(self):
        return int(self.rows("SELECT COUNT(*) FROM b24bg_inbox WHERE done IS NULL")[0][0])

    def end_lease(self):
        """A killed server has the lease for 10 more seconds; this is the end of them."""
        self.rows("DELETE FROM b24bg_leases")


class Alerts:
    """An alert command that writes down what it is given."""

    def __init__(self, folder):
        self.log, self.command = folder / "alerts", folder / "alert"
        self.log.touch(0o666)
        self.log.chmod(0o666)
        self.command.write_text(f'#!/bin/sh\nIFS="|"\necho "$*" >>{self.log}\n')
        self.command.chmod(0o755)
        self.line = f"B24bgAlertCmd {self.command} own"

    def calls(self):
        return [line.split("|") for line in self.log.read_text().splitlines()]

    def events(self):
        return [call[1] for call in self.calls()]


class Postgres:
    """One of the tests' own, with a database for each test."""

    def __init__(self):
        names = ("B24BG_TEST_PGSQL", "B24BG_TEST_PGSQL_STOP", "B24BG_TEST_PGSQL_START")
        tell = " ".join(f'"${name}"' for name in names)
        self.process = subprocess.Popen(
            [ROOT / "tests/unit/postgres", "sh", "-c", f"printf '%s\\n' {tell}; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.params, self._stop, self._start = (self.process.stdout.readline().strip()
                                                for _ in names)
        assert self._start, "PostgreSQL does not start"
        samples.SECRETS.append(self.params.rpartition("password=")[2])
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()  # the end of its input is the end of it

    def new_database(self):
        self.count += 1
        self.rows(f"CREATE DATABASE test{self.count}", "postgres")
        self.params = self.params.replace(f"dbname={self.database}", f"dbname=test{self.count}")
        return self

    @property
    def database(self):
        return self.params.partition("dbname=")[2].split()[0]

    @property
    def conf(self):
        return f'B24bgStore pgsql "{self.params}"'

    def rows(self, sql, database=""):
        run = subprocess.run(["psql", "-XAtqF", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d",
                              f"{self.params} dbname={database or self.database}"],
                             text=True, capture_output=True, timeout=PATIENCE)
        assert run.returncode == 0, run.stderr
        return [tuple(line.split("\t")) for line in run.stdout.splitlines()]

    def stop(self):
        subprocess.run([self._stop], check=True, timeout=PATIENCE)

    def start(self):
        subprocess.run([self._start], check=True, timeout=PATIENCE)

    def kill(self):
        """kill -9 of all its processes."""
        folder = pathlib.Path(self._stop).parent
        pid_file = folder / "data/postmaster.pid"
        pid = int(pid_file.read_text().split()[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        Server.wait_for(lambda: all(map(has_ended, (pid, *children))), "end PostgreSQL")
        for file in pid_file, *folder.glob(".s.PGSQL.*.lock"):
            file.unlink()  # it would be taken for alive until somebody asks for its exit code
