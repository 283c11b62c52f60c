"""b24bgctl: what it sends byte for byte, what it shows and wipes, and that no secret is shown."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from httpd import PATIENCE, ROOT, TWO_LOCATIONS, Httpd, free_port, running_as_root

sys.path.insert(0, str(ROOT / "tests"))
from portal import OPTION_VARIANTS, Render, Simulator, messages, worker_post  # noqa: E402

CTL = ROOT / "build" / "b24bgctl"
GOOD, WARNING, CRITICAL, USAGE = range(4)

MEMBER_ID = "da45a03b265edd8787f8a258d793cc5d"
OTHER = "0123456789abcdef0123456789abcdef"
ACCESS = "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
REFRESH = "31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
TOKEN = "ec1b2074a9d3f5c81b6e40d27a95cf38"
KEY = "k7QmVx0cN2sR9tLwYb4Hd"
HIDDEN = "correct-horse-battery"
SECRETS = [ACCESS, REFRESH, TOKEN, KEY, HIDDEN]

COMMANDS = ["status", "portals", "forget", "bind", "unbind", "rebind", "check", "simulate load", "simulate slow", "simulate notice",
            "simulate install"]
as_root = pytest.mark.skipif(not running_as_root(), reason="only root can become somebody else")


def check_secrets(text):
    found = [secret for secret in SECRETS if secret in text]
    assert not found, f"printed: {found}"


def ctl(*arguments, code=GOOD, user=None, program=CTL, environment=None):
    """Runs it; returns its stdout, or its stderr where it has to fail."""
    become = [] if user is None else ["setpriv", f"--reuid={user}", "--clear-groups",
                                      f"--regid={pwd.getpwnam(user).pw_gid}"]
    run = subprocess.run([*become, program, *map(str, arguments)], text=True, timeout=PATIENCE,
                         capture_output=True, env={**os.environ, **(environment or {})})
    check_secrets(run.stdout + run.stderr)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout if code in (GOOD, WARNING) else run.stderr + run.stdout


# help and usage


@pytest.mark.parametrize("command", ["", "simulate", *COMMANDS])
def test_help(command):
    text = ctl(*command.split(), "--help")
    assert text.startswith("usage: b24bgctl ")
    assert "Exit code: 0" in text and max(map(len, text.splitlines())) <= 80
    if command in ("", "simulate"):
        assert re.findall(r"^  ((?:simulate )?[a-z]+)\b.*  \w", text.partition("options:")[0],
                          re.M) == [name for name in COMMANDS if name.startswith(command)]


def test_help_is_enough():
    """Every option of every command is in its help, and no other one is taken."""
    texts = {command: ctl(*command.split(), "--help") for command in COMMANDS}
    shown = {command: set(re.findall(r"^  --([a-z-]+)(?: (\S+))?", text, re.M))
             for command, text in texts.items()}
    everything = set().union(*shown.values())
    assert {name for name, _ in everything} == {
        "url", "count", "seconds", "variant", "page", "portal", "member-id", "domain", "token",
        "access-token", "refresh-token", "auth-server", "uri", "old", "timeout", "ca-file", "json",
        "error-url", "dry-run", "webhook",
        "store", "state-dir", "help", "version"}
    for command in COMMANDS:
        for name, value in everything - shown[command]:
            error = ctl(*command.split(), f"--{name}", *(["x"] if value else []), code=USAGE)
            assert f"does not take --{name.replace('member-id', 'portal')};" in error


def test_version():
    assert re.fullmatch(r"b24bgctl \d+\.\d+\.\d+\n", ctl("--version"))


@pytest.mark.parametrize("words, complaint", [
    ("", "a command is missing"),
    ("frobnicate", "no command of that name"),
    ("simulate", "one of load, slow, notice, install"),
    ("simulate frobnicate", "one of load, slow, notice, install"),
    ("portals extra", "takes no words"),
    ("forget telephony", "forget APP PORTAL"),
    (f"portals --tokn={HIDDEN}", "unknown option --tokn"),
    (f"portals -x{HIDDEN}", "unknown option -x"),
    (f"portals --json={HIDDEN}", "--json"),
    ("portals --store", "--store"),
    ("portals --store /a --state-dir /b", "name two stores"),
    (f"portals --store mysql:password={HIDDEN}", "sqlite3:PATH or pgsql:PARAMETERS"),
    ("simulate load", "--url: it is missing"),
    (f"simulate load --url ftp://host/{KEY}", "--url: a URL that begins with https://"),
    (f"simulate load --url https://me:{HIDDEN}@host/", "--url: "),
    (f"simulate load --url https://host/#{KEY}", "--url: no #fragment"),
    ("simulate load --url http://h/ --portal 123", "--portal: "),
    ("simulate load --url http://h/ --domain *.example.com", "--domain: "),
    ("simulate load --url http://h/ --domain https://a.example.com", "--domain: "),
    ("simulate load --url http://h/ --count 0", "--count: "),
    ("simulate load --url http://h/ --count 1x", "--count: "),
    ("simulate load --url http://h/ --timeout 0", "--timeout: "),
    ("simulate slow --url http://h/ --seconds 601", "--seconds: "),
    ("simulate notice --url http://h/ --variant F", "--variant: "),
    ("simulate notice --url http://h/ --variant AB", "--variant: "),
    ("simulate install --url http://h/ --old", "--old: it needs --page"),
    ("simulate install --url http://h/ --auth-server oauth", "--auth-server: "),
    ("simulate install --url http://h/ --token env:B24BG_NOT_THERE", "--token: "),
    ("simulate install --url http://h/ --token file:/not/there", "--token: "),
    (f"simulate install --url http://h/ --token {HIDDEN * 30}", "--token: "),
])
def test_usage(words, complaint):
    error = ctl(*words.split(), code=USAGE)
    assert error.startswith("b24bgctl: ") and complaint in error and error.count("\n") == 1


def test_output_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        run = subprocess.run([CTL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert run.returncode == CRITICAL and "could not be written" in run.stderr


# simulate


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append(messages.Message(self.command, self.path, dict(self.headers),
                                                 self.rfile.read(length)))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.status, self.headers, self.page, self.delay = [], 200, {}, b"x" * 1234, 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def last(self):
        return self.seen[-1]


@pytest.fixture
def receiver():
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def query_of(message):
    return {name: values[-1] for name, values in
            parse_qs(urlsplit(message.url).query, keep_blank_values=True).items()}


def check_same(got, wanted, agent=None):
    """The request on the wire, User-Agent and order of headers apart."""
    assert got.method == wanted.method and got.url == wanted.target
    assert got.body == wanted.body
    headers = dict(wanted.headers)
    if agent:
        assert got.headers["User-Agent"] != headers["User-Agent"]
        assert got.headers["User-Agent"].startswith(agent)
        headers["User-Agent"] = got.headers["User-Agent"]
    assert got.headers == headers


NEW = Render("xxx.bitrix24.com", MEMBER_ID, ACCESS, REFRESH, application_token=TOKEN)
OLD = Render("portal.example.local:8080", MEMBER_ID, ACCESS, REFRESH, protocol="0", lang="ru",
             generation="old")


def rendered(render, message, **changes):
    """What the portal would have sent with the APP_SID of that message."""
    sid = query_of(message)["APP_SID"]
    assert re.fullmatch("[0-9a-f]{32}", sid)
    return Render(**{**vars(render), "app_sid": sid, **changes})


@pytest.mark.parametrize("words, render, length", [("", NEW, 533), ("--old", OLD, 396)])
@pytest.mark.parametrize("path", ["/b24/worker", "/b24/worker?type=1", "/b24/worker?"])
def test_load_is_the_documented_one(receiver, words, render, length, path):
    output = ctl("simulate", "load", *words.split(), "--url", receiver.url + path)
    check_same(receiver.last(), worker_post(receiver.url + path,
                                            rendered(render, receiver.last())), "Mozilla/5.0")
    assert len(receiver.last().body) == length
    assert re.fullmatch(r"OK: load, status 200, first byte \d+\.\d ms, total \d+\.\d ms, "
                        r"1234 bytes\n", output)


@pytest.mark.parametrize("uri, options", [
    ("/crm/deal/details/15/?IFRAME=Y&IFRAME_TYPE=SIDE_SLIDER", OPTION_VARIANTS["slider"]),
    ("/crm/deal/%D1%84/", OPTION_VARIANTS["percent"]),
    ("/crm/deal/ф/", OPTION_VARIANTS["raw-utf8"]),
])
def test_load_of_a_certain_portal(receiver, uri, options):
    ctl("simulate", "load", "--url", receiver.url + "/w", "--portal", OTHER.upper(), "--domain",
        "CRM.example.com:8443", "--token", HIDDEN, "--access-token", "a b*~", "--refresh-token", "",
        "--auth-server", "https://oauth.bitrix24.tech/", "--uri", uri)
    check_same(receiver.last(), worker_post(receiver.url + "/w", rendered(
        NEW, receiver.last(), member_id=OTHER, domain="crm.example.com:8443",
        application_token=HIDDEN, auth_id="a b*~", refresh_id="", options=options,
        server_endpoint="https://oauth.bitrix24.tech/rest/")), "Mozilla/5.0")


def test_loads_in_a_row_are_different_renders(receiver):
    output = ctl("simulate", "load", "--url", receiver.url + "/w", "--count", 5)
    sids = {query_of(message)["APP_SID"] for message in receiver.seen}
    assert len(receiver.seen) == len(sids) == 5
    assert not any(sid in output for sid in sids)
    assert output.count("OK: load ") == 5
    assert output.endswith("\n5 loads: 5 good, 0 redirected or slow, 0 failed\n")


def test_the_worst_load_decides(receiver):
    receiver.status = 403
    output = ctl("simulate", "load", "--url", receiver.url + "/w", "--count", 2, code=CRITICAL)
    assert "2 failed" in output


@pytest.mark.parametrize("variant", ["A", "B", "C", "D", "E", "c"])
def test_notice_is_the_documented_one(receiver, variant):
    url = f"{receiver.url}/b24/error/{KEY}"
    output = ctl("simulate", "notice", "--url", url, "--variant", variant)
    got, variant = receiver.last(), variant.upper()
    found = re.search(r'\bts"?[=:](\d{10})\b', got.url + got.body.decode())
    ts = int(found[1]) if found else 0
    assert (variant == "A") == (ts == 0) and (not ts or abs(ts - time.time()) < PATIENCE)
    auth = {"domain": "xxx.bitrix24.com", "client_endpoint": "https://xxx.bitrix24.com/rest/",
            "server_endpoint": "https://oauth.bitrix.info/rest/", "member_id": MEMBER_ID,
            "application_token": TOKEN}
    wanted = messages.notice(url, variant, ts, auth)
    if variant == "E":
        assert json.loads(got.body) == json.loads(wanted.body)
        wanted = messages.from_queue("POST", url, got.body, "application/json")
    check_same(got, wanted)
    assert len(got.body) == {"A": 127, "B": 363, "D": 0}.get(variant, len(got.body))
    assert output.startswith("OK: notice, status 200, ")


def test_installation_event_is_the_documented_one(receiver):
    output = ctl("simulate", "install", "--url", receiver.url + "/b24/install")
    got = receiver.last()
    ts = int(re.search(rb"&ts=(\d{10})&", got.body)[1])
    assert len(got.body) == 711
    check_same(got, messages.event(
        receiver.url + "/b24/install", "ONAPPINSTALL",
        {"VERSION": 1, "ACTIVE": "Y", "INSTALLED": "Y", "LANGUAGE_ID": "en"}, ts,
        {"access_token": ACCESS, "expires": ts + 3600, "expires_in": 3600,
         "scope": "placement,user_brief", "domain": "xxx.bitrix24.com",
         "server_endpoint": "https://oauth.bitrix.info/rest/", "status": "L",
         "client_endpoint": "https://xxx.bitrix24.com/rest/", "member_id": MEMBER_ID,
         "user_id": 1, "refresh_token": REFRESH, "application_token": TOKEN}))
    assert output.startswith("OK: ONAPPINSTALL, status 200, ")


@pytest.mark.parametrize("words, render", [("", NEW), ("--old", OLD)])
def test_installation_page_is_the_documented_one(receiver, words, render):
    ctl("simulate", "install", "--page", *words.split(), "--url", receiver.url + "/b24/install",
        "--member-id", OTHER)
    check_same(receiver.last(), worker_post(receiver.url + "/b24/install", rendered(
        render, receiver.last(), member_id=OTHER, placement="DEFAULT", options=None)),
        "Mozilla/5.0")


def test_secrets_from_elsewhere(receiver, tmp_path):
    (tmp_path / "token").write_text(HIDDEN + "\n")
    (tmp_path / "url").write_text(f"{receiver.url}/w?k={KEY}")
    ctl("simulate", "load", "--url", f"file:{tmp_path / 'url'}", "--token",
        f"file:{tmp_path / 'token'}", "--access-token", "env:B24BG_ACCESS",
        environment={"B24BG_ACCESS": "other-secret"})
    assert receiver.last().url.startswith(f"/w?k={KEY}&DOMAIN=")
    assert b"APPLICATION_TOKEN=correct-horse-battery&" in receiver.last().body
    assert b"AUTH_ID=other-secret&" in receiver.last().body


@pytest.mark.parametrize("status, code, words", [
    (200, GOOD, "OK: "), (204, GOOD, "OK: "), (301, WARNING, "a redirect"),
    (307, WARNING, "a redirect"), (400, CRITICAL, "LogLevel b24bg:info"),
    (403, CRITICAL, "--token"), (404, CRITICAL, "nothing is served"), (500, CRITICAL, "CRITICAL: "),
    (503, CRITICAL, "error log"),
])
def test_what_a_status_means(receiver, status, code, words):
    receiver.status, receiver.page = status, b""
    receiver.headers = {"Location": f"{receiver.url}/{KEY}"} if 300 <= status < 400 else {}
    output = ctl("simulate", "load", "--url", f"{receiver.url}/{KEY}", code=code)
    assert words in output and f"status {status}" in output
    assert len(receiver.seen) == 1, "a redirect is not followed"


def test_a_slow_answer_is_a_warning(receiver):
    receiver.delay = 1.1
    output = ctl("simulate", "load", "--url", receiver.url + "/w", code=WARNING)
    assert output.startswith("WARNING: ") and "slow: over 1 s" in output


def test_slow_leaves_the_page_unread_and_says_what_that_proves(receiver):
    start = time.monotonic()
    output = ctl("simulate", "slow", "--url", receiver.url + "/w", "--seconds", 2)
    assert time.monotonic() - start >= 2
    assert output.startswith("OK: load, status 200")
    assert float(re.search(r"total ([\d.]+) ms", output)[1]) < 1000
    assert "unread for 2.0 s" in output and "Nobody has counted" in output
    check_same(receiver.last(), worker_post(receiver.url + "/w", rendered(NEW, receiver.last())),
               "Mozilla/5.0")


def test_slow_does_not_claim_to_have_waited_without_a_page(receiver):
    receiver.status, receiver.page = 403, b""
    output = ctl("simulate", "slow", "--url", receiver.url + "/w", "--seconds", 5, code=CRITICAL)
    assert "unread" not in output


def test_no_answer():
    output = ctl("simulate", "load", "--url", f"http://127.0.0.1:{free_port()}/{KEY}",
                 code=CRITICAL)
    assert output.startswith("CRITICAL: load, no answer: ")


def test_an_answer_that_never_comes(receiver):
    receiver.delay = 2
    output = ctl("simulate", "notice", "--url", f"{receiver.url}/{KEY}", "--timeout", 1,
                 code=CRITICAL)
    assert "no answer: " in output


def test_an_answer_without_end_is_given_up(receiver):
    receiver.page = b"x" * (1024 * 1024 + 1)
    assert "too large" in ctl("simulate", "load", "--url", receiver.url + "/w", code=CRITICAL)


def test_no_proxy_of_the_environment(receiver):
    nowhere = f"http://127.0.0.1:{free_port()}"
    ctl("simulate", "load", "--url", receiver.url + "/w",
        environment={"http_proxy": nowhere, "all_proxy": nowhere, "ALL_PROXY": nowhere})
    assert len(receiver.seen) == 1


def test_certificates_are_checked(receiver, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = f"https://localhost:{receiver.server_port}/{KEY}"

    assert "certificate" in ctl("simulate", "load", "--url", url, code=CRITICAL)
    assert "certificate" in ctl("simulate", "load", "--url", url.replace("localhost", "127.0.0.1"),
                                "--ca-file", cert, code=CRITICAL)
    assert receiver.seen == []
    ctl("simulate", "load", "--url", url, "--ca-file", cert)


# portals and forget


@pytest.fixture
def place():
    """A folder that everybody can reach, with the tool in it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="b24bg-ctl-"))
    folder.chmod(0o755)
    shutil.copy(CTL, folder)
    yield folder
    shutil.rmtree(folder)


HOUR = 3600 * 1_000_000
PORTALS = [  # app, member_id, domain, tokens, age of the refresh token, installed, last_load, loads
    ("telephony", MEMBER_ID, "crm.example.com", True, 5 * HOUR, 1_769_850_000_000_000,
     1_769_853_661_000_000, 24000),
    ("telephony", OTHER, "a.bitrix24.ru:8080", False, 5 * HOUR, 0, 0, 7),
    ("chat", MEMBER_ID, "crm.example.com", True, 100 * HOUR, 1_769_850_000_000_000, 0, 0),
]


def rows():
    """PORTALS as the store keeps them."""
    now = time.time_ns() // 1000
    for app, member_id, domain, tokens, age, installed, last_load, loads in PORTALS:
        access, refresh, token = (ACCESS, REFRESH, TOKEN) if tokens else ("", "", "")
        yield {"app": app, "member_id": member_id, "domain": domain,
               "client_endpoint": f"https://{domain}/rest/",
               "auth_server": "https://oauth.bitrix.info", "access_token": access,
               "refresh_token": refresh, "application_token": token, "scope": "placement",
               "access_expires": now, "refreshed": now - age, "user_id": 1,
               "installed": installed, "last_load": last_load, "loads": loads}


def insertions():
    for change, row in enumerate(rows(), 1):
        values = ", ".join(f"'{v}'" if isinstance(v, str) else str(v) for v in row.values())
        yield (f"INSERT INTO b24bg_portals ({', '.join(row)}, change) VALUES ({values}, {change})")
    yield f"UPDATE b24bg_meta SET value = {len(PORTALS)} WHERE name = 'change'"


def make_store(folder, owner=None):
    """A state directory with PORTALS in its store, as the server leaves it when it stops."""
    folder.mkdir()
    path = folder / "b24bg.db"
    execute(path, ["CREATE TABLE seed (number INTEGER)"])  # an empty file is no store
    ctl("--store", path, "portals")  # makes the tables
    execute(path, insertions())
    path.chmod(0o600)
    folder.chmod(0o700)
    if owner:
        shutil.chown(path, owner, owner)
        shutil.chown(folder, owner, owner)
    return folder


def execute(path, statements):
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        return [store.execute(statement).fetchall() for statement in statements]


def portals(*store, **more):
    return {(portal["app"], portal["member_id"]): portal
            for portal in json.loads(ctl("portals", "--json", *store, **more))}


def everything_in(folder):
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.fixture
def store(place):
    return make_store(place / "state")


def test_portals(store):
    output = ctl("portals", "--state-dir", store)
    assert output.splitlines() == [
        "APP        MEMBER_ID                         DOMAIN              INSTALLED          "
        "LAST LOAD          LOADS  TOKEN AGE  STATE",
        f"chat       {MEMBER_ID}  crm.example.com     2026-01-31T09:00Z  "
        "-                      0  4d         installed",
        f"telephony  {OTHER}  a.bitrix24.ru:8080  -                  "
        "-                      7  -          uninstalled",
        f"telephony  {MEMBER_ID}  crm.example.com     2026-01-31T09:00Z  "
        "2026-01-31T10:01Z  24000  5h         installed"]


@pytest.mark.parametrize("where", ["--state-dir {0}", "--store {0}/b24bg.db",
                                   "--store sqlite3:{0}/b24bg.db", "--state-dir={0}"])
def test_portals_as_json(store, where):
    found = portals(*where.format(store).split())
    age = found["telephony", MEMBER_ID].pop("token_age_seconds")
    assert 18000 <= age < 18000 + PATIENCE
    assert found["telephony", MEMBER_ID] == {
        "app": "telephony", "member_id": MEMBER_ID, "domain": "crm.example.com",
        "state": "installed", "installed_at": "2026-01-31T09:00:00Z",
        "last_load_at": "2026-01-31T10:01:01Z", "loads": 24000}
    assert found["telephony", OTHER] == {
        "app": "telephony", "member_id": OTHER, "domain": "a.bitrix24.ru:8080",
        "state": "uninstalled", "installed_at": None, "last_load_at": None, "loads": 7,
        "token_age_seconds": None}
    assert found["chat", MEMBER_ID]["last_load_at"] is None


def test_json_help_names_every_member(store):
    documented = set(re.findall(r"^  ([a-z_]+) {2,}", ctl("portals", "--help"), re.M))
    assert documented == set(portals("--state-dir", store)["chat", MEMBER_ID])


@pytest.mark.parametrize("command", ["portals", "forget telephony crm.example.com"])
@pytest.mark.parametrize("name", ["b24bg.db", "no/where/b24bg.db", "file/b24bg.db"])
def test_a_store_that_is_not_there_is_not_made(place, command, name):
    (place / "file").touch()
    before = sorted(place.rglob("*"))
    error = ctl("--store", place / name, *command.split(), code=CRITICAL)
    assert f"no store at {place / name}" in error and "B24bgStateDir" in error
    assert sorted(place.rglob("*")) == before


def test_the_default_store():
    if pathlib.Path("/var/lib/b24bg").exists():
        pytest.skip("this machine has one")
    assert "no store at /var/lib/b24bg/b24bg.db" in ctl("portals", code=CRITICAL)


def test_what_is_no_store(place):
    (place / "empty").touch()
    (place / "text").write_text("no database\n" * 1000)
    for name in ("", "empty", "text"):
        assert str(place / name) in ctl("--store", place / name, "portals", code=CRITICAL)
    assert (place / "empty").stat().st_size == 0


def test_a_database_that_is_not_there(place):
    error = ctl("portals", "--store", "pgsql:host=127.0.0.1 port=1 user=b24bg dbname=b24bg "
                f"password={HIDDEN}", code=CRITICAL)
    assert error.startswith("b24bgctl: the PostgreSQL database cannot be opened: ")


@pytest.mark.parametrize("name", [MEMBER_ID, MEMBER_ID.upper(), "crm.example.com",
                                  "CRM.Example.Com"])
def test_forget(store, name):
    output = ctl("forget", "telephony", name, "--state-dir", store)
    assert output.startswith(f"forgotten: portal {MEMBER_ID} (crm.example.com) of app telephony;")
    found = portals("--state-dir", store)
    assert found["telephony", MEMBER_ID]["state"] == "uninstalled"
    assert found["telephony", MEMBER_ID]["loads"] == 24000
    assert found["chat", MEMBER_ID]["state"] == "installed", "another app's is left alone"
    [[row], [event], [change]] = execute(store / "b24bg.db", [
        "SELECT access_token, refresh_token, application_token, change FROM b24bg_portals "
        f"WHERE app = 'telephony' AND member_id = '{MEMBER_ID}'",
        "SELECT app, member_id, what, detail FROM b24bg_events",
        "SELECT value FROM b24bg_meta WHERE name = 'change'"])
    assert row == ("", "", "", change[0]) and change[0] > len(PORTALS)
    assert event == ("telephony", MEMBER_ID, "forgotten", "by b24bgctl")


def test_forgotten_tokens_are_in_no_file(store):
    assert TOKEN.encode() in everything_in(store)
    for app in ("telephony", "chat"):
        ctl("forget", app, MEMBER_ID, "--state-dir", store)
    left = everything_in(store)
    assert not any(secret.encode() in left for secret in SECRETS)


def test_forget_while_somebody_reads(store):
    """What was wiped stays in the log meanwhile; the same command later takes it away."""
    with contextlib.closing(sqlite3.connect(store / "b24bg.db", isolation_level=None)) as server:
        server.execute("PRAGMA secure_delete = ON")
        server.execute("DELETE FROM b24bg_portals WHERE app = 'chat'")  # it has the same tokens
        server.execute("UPDATE b24bg_portals SET loads = loads + 1")  # with its tokens in the log
        tokens = server.execute("SELECT access_token, refresh_token FROM b24bg_portals WHERE "
                                "app = 'telephony' AND installed > 0").fetchone()
        server.execute("BEGIN")
        server.execute("SELECT * FROM b24bg_portals").fetchone()
        run = subprocess.run([CTL, "forget", "telephony", MEMBER_ID, "--state-dir", store], text=True,
                             capture_output=True, timeout=PATIENCE)
        assert run.returncode == WARNING and "somebody reads the store" in run.stderr
        log = store / "b24bg.db-wal"
        assert all(token.encode() in log.read_bytes() for token in tokens)
        server.execute("ROLLBACK")
        assert "nothing to do" in ctl("forget", "telephony", MEMBER_ID, "--state-dir", store)
        files = b"".join(path.read_bytes() for path in store.iterdir())
        assert not [token for token in tokens if token.encode() in files]


def test_forget_twice(store):
    ctl("forget", "telephony", MEMBER_ID, "--state-dir", store)
    before = everything_in(store)
    assert "nothing to do" in ctl("forget", "telephony", MEMBER_ID, "--state-dir", store)
    assert everything_in(store) == before


@pytest.mark.parametrize("app, name", [("telephony", "other.example.com"), ("chat", OTHER),
                                       ("nothing", MEMBER_ID), ("telephony", "")])
def test_forget_an_unknown_portal(store, app, name):
    error = ctl("forget", app, name, "--state-dir", store, code=CRITICAL)
    assert f'app "{app}" has no portal "{name}"' in error
    assert portals("--state-dir", store)["telephony", MEMBER_ID]["state"] == "installed"


def test_a_domain_that_two_portals_have(store):
    execute(store / "b24bg.db", [
        f"UPDATE b24bg_portals SET domain = 'crm.example.com' WHERE member_id = '{OTHER}'"])
    execute(store / "b24bg.db", [
        f"UPDATE b24bg_portals SET installed = 1, access_token = 'x' WHERE member_id = '{OTHER}'"])
    error = ctl("forget", "telephony", "crm.example.com", "--state-dir", store, code=CRITICAL)
    assert "several portals" in error
    ctl("forget", "telephony", OTHER, "--state-dir", store)
    assert MEMBER_ID in ctl("forget", "telephony", "crm.example.com", "--state-dir", store)


def test_a_locked_store_changes_nothing(store):
    with contextlib.closing(sqlite3.connect(store / "b24bg.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = ctl("forget", "telephony", MEMBER_ID, "--state-dir", store, code=CRITICAL)
    assert "locked" in error
    assert portals("--state-dir", store)["telephony", MEMBER_ID]["state"] == "installed"


# whose files they are


def owners(folder):
    return {pwd.getpwuid(path.stat().st_uid).pw_name for path in [folder, *folder.iterdir()]}


def user_ids(pid):
    """Real, effective, saved and file system's; empty when the process has gone."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Uid:(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
        return {int(number) for number in found[1].split()}
    return set()


@as_root
def test_root_becomes_the_owner_before_it_opens_the_store(place):
    store = make_store(place / "state", "www-data")
    wanted = {pwd.getpwnam("www-data").pw_uid}
    with contextlib.closing(sqlite3.connect(store / "b24bg.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # holds it up while it has the store open
        forget = subprocess.Popen([CTL, "forget", "telephony", MEMBER_ID, "--state-dir", store],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        Httpd.wait_for(lambda: user_ids(forget.pid) == wanted, "become www-data")
        other.execute("ROLLBACK")
    output = forget.communicate(timeout=PATIENCE)[0]
    assert forget.returncode == GOOD, output
    assert owners(store) == {"www-data"}
    ctl("portals", "--state-dir", store, user="www-data", program=place / "b24bgctl")


@as_root
def test_files_beside_the_store_belong_to_its_owner(place):
    """A reader that stays keeps -wal and -shm there; both are looked at."""
    store = make_store(place / "state", "www-data")
    ctl("forget", "telephony", MEMBER_ID, "--state-dir", store)
    with contextlib.closing(sqlite3.connect(store / "b24bg.db")) as reader:
        reader.execute("SELECT * FROM b24bg_portals").fetchall()
        ctl("forget", "chat", MEMBER_ID, "--state-dir", store)
        assert {path.name for path in store.iterdir()} == {"b24bg.db", "b24bg.db-wal",
                                                           "b24bg.db-shm"}
        assert owners(store) == {"www-data"}


@as_root
def test_root_follows_nobody_elses_link(place):
    target = make_store(place / "roots")
    folder = place / "state"
    folder.mkdir()
    (folder / "b24bg.db").symlink_to(target / "b24bg.db")
    os.chown(folder / "b24bg.db", *pwd.getpwnam("www-data")[2:4], follow_symlinks=False)
    shutil.chown(folder, "www-data", "www-data")
    before = everything_in(target)
    assert "cannot be opened" in ctl("forget", "telephony", MEMBER_ID, "--state-dir", folder,
                                     code=CRITICAL)
    assert everything_in(target) == before

    os.chown(folder / "b24bg.db", 0, 0, follow_symlinks=False)  # root's own link is followed
    os.chown(folder, 0, 0)
    ctl("forget", "telephony", MEMBER_ID, "--state-dir", folder)


@as_root
def test_a_store_of_roots_in_somebody_elses_folder(place):
    store = make_store(place / "state")
    shutil.chown(store, "www-data", "www-data")
    error = ctl("portals", "--state-dir", store, code=CRITICAL)
    assert "should belong to the server's User" in error
    assert [path.name for path in store.iterdir()] == ["b24bg.db"]


@as_root
def test_others_are_told_whom_to_ask(place):
    store = make_store(place / "state", "www-data")
    error = ctl("portals", "--state-dir", store, code=CRITICAL, user="nobody",
                program=place / "b24bgctl")
    assert "cannot be opened" in error and "as root or as the server's User" in error


# PostgreSQL


@pytest.fixture(scope="session")
def postgres():
    """libpq's parameters of a PostgreSQL of our own, with PORTALS in it."""
    wait = ["bash", "-c", 'printf "%s\\n" "$B24BG_TEST_PGSQL"; cat']
    with subprocess.Popen([ROOT / "tests" / "unit" / "postgres", *wait], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        parameters = server.stdout.readline().strip()
        assert parameters, "tests/unit/postgres did not start"
        SECRETS.append(re.search(r"password=(\S+)", parameters)[1])
        ctl("portals", "--store", f"pgsql:{parameters}")  # makes the tables
        for statement in insertions():
            subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", parameters, "-c", statement],
                           check=True)
        yield parameters
        server.stdin.close()


def test_portals_and_forget_on_postgresql(postgres):
    place = ["--store", f"pgsql:{postgres}"]
    assert ctl("portals", *place).count("\n") == 1 + len(PORTALS)
    ctl("forget", "telephony", "crm.example.com", *place)
    found = portals(*place)
    assert found["telephony", MEMBER_ID]["state"] == "uninstalled"
    assert found["chat", MEMBER_ID]["state"] == "installed"
    assert "has no portal" in ctl("forget", "nothing", MEMBER_ID, *place, code=CRITICAL)


# with Apache

CONF = """
B24bgStateDir "{root}/state"
<B24bgApp telephony>
    B24bgClient     CLIENT file:{root}/client.secret
    B24bgAuthServer AUTH
    B24bgAllowHTTP  on
</B24bgApp>
""" + TWO_LOCATIONS + """
<Location "/b24/install">
    SetHandler b24bg-install
</Location>
"""


class Installed:
    """An Apache that a simulated portal has installed its application at."""

    def __init__(self, folder, bitrix):
        self.portal, self.app = bitrix.add_portal(), bitrix.add_app()
        self.token = bitrix.install(self.portal, self.app).application_token
        self.access, self.refresh = bitrix.tokens(self.portal, self.app)
        SECRETS.extend([self.token, self.access, self.refresh, self.app.client_secret])
        self.httpd = Httpd(folder, CONF.replace("CLIENT", self.app.client_id)
                           .replace("AUTH", self.portal.oauth.url))
        secret = folder / "client.secret"
        secret.write_text(self.app.client_secret)
        secret.chmod(0o600)
        self.state = folder / "state"
        self.url = f"http://127.0.0.1:{self.httpd.port}/b24"

    def install(self, *more):
        return ctl("simulate", "install", "--url", f"{self.url}/install", "--portal",
                   self.portal.member_id, "--domain", self.portal.domain, "--auth-server",
                   self.portal.oauth.url, "--token", self.token, "--access-token", self.access,
                   "--refresh-token", self.refresh, *more)

    def known(self):
        """The portal as b24bgctl shows it; the server makes the store when it gets to it."""
        store = self.state / "b24bg.db"
        if not store.exists() or store.stat().st_size == 0:
            return {}
        return portals("--state-dir", self.state).get(("telephony", self.portal.member_id), {})

    def load(self, *more, code=GOOD):
        return ctl("simulate", "load", "--url", f"{self.url}/worker", "--portal",
                   self.portal.member_id, "--domain", self.portal.domain, *more, code=code)

    def refuses_wrong_tokens(self):
        status, _, _ = self.httpd.post(
            f"/b24/worker?DOMAIN={self.portal.domain}",
            f"member_id={self.portal.member_id}&PLACEMENT=PAGE_BACKGROUND_WORKER"
            "&APPLICATION_TOKEN=wrong")
        return status == 403

    def check_logs(self):
        """No secret, and no trouble but the notices that were sent."""
        for name in ("error.log", "stderr.log", "access.log"):
            check_secrets(self.httpd.read(name))
        trouble = [line for line in self.httpd.error_log().splitlines()
                   if re.search(r":(warn|error|crit|alert|emerg)\]", line)
                   and "B24BG0203" not in line]
        assert not trouble, "\n".join(trouble)


@pytest.fixture
def installed(place):
    with Simulator() as bitrix:
        one = Installed(place, bitrix)
        with one.httpd:
            assert one.install().startswith("OK: ONAPPINSTALL, status 200, ")
            Httpd.wait_for(lambda: one.known().get("state") == "installed", "verify the portal")
            Httpd.wait_for(one.refuses_wrong_tokens, "know the portal")
            yield one
        one.check_logs()


def test_from_installation_to_oblivion_while_apache_runs(installed):
    assert "status 200" in installed.load("--token", installed.token)
    assert "refused" in installed.load(code=CRITICAL)
    user = "www-data" if running_as_root() else pwd.getpwuid(os.geteuid()).pw_name
    assert owners(installed.state) == {user}

    ctl("forget", "telephony", installed.portal.member_id, "--state-dir", installed.state)
    Httpd.wait_for(lambda: not installed.refuses_wrong_tokens(), "forget the portal")
    assert installed.known()["state"] == "uninstalled"
    assert owners(installed.state) == {user}
    assert "status 200" in installed.load()

    assert "installation page, status 200" in installed.install("--page")
    Httpd.wait_for(lambda: installed.known().get("state") == "installed", "take it back")
    Httpd.wait_for(installed.refuses_wrong_tokens, "know it again")


def test_forgotten_while_apache_is_stopped(installed):
    installed.httpd.stop()
    ctl("forget", "telephony", installed.portal.domain, "--state-dir", installed.state)
    left = everything_in(installed.state)
    assert not any(secret.encode() in left
                   for secret in (installed.token, installed.access, installed.refresh))
    installed.httpd.start()
    assert "status 200" in installed.load()
    assert installed.known()["state"] == "uninstalled"


@pytest.mark.parametrize("variant", "ABCDE")
def test_the_module_understands_every_notice(installed, variant):
    ctl("simulate", "notice", "--url", f"{installed.url}/error/{KEY}", "--variant", variant)
    Httpd.wait_for(lambda: "ERROR_PLACEMENT_LOADING_OVERTIME" in installed.httpd.error_log(),
                   "log the notice")


def test_the_module_takes_every_load(installed):
    for words in ([], ["--old"], ["--uri", "/crm/" + "deal/" * 2000]):
        output = ctl("simulate", "load", "--url", f"{installed.url}/worker", "--count", 3, *words)
        assert "3 good" in output
