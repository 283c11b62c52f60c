"""Portals: installed by an event or a page, verified, remembered through everything, guarded by
their application token, updated, uninstalled, forgotten."""

import contextlib
import html.parser
import os
import pwd
import re
import signal
import stat
import subprocess
import time
import urllib.parse

import pytest
import samples
from bitrix import ANYWHERE, NAME, URLS, Bitrix, has_ended
from conftest import MODES, check_secrets
from httpd import PATIENCE, running_as_root

BX24 = "https://api.bitrix24.com/api/v1/"
every_kind = pytest.mark.parametrize("kind", ["event", "page"])
as_root = pytest.mark.skipif(not running_as_root(), reason="only root can do that")


@pytest.fixture(scope="module", params=MODES)
def server(request):
    """The main server, once per mode."""
    with Bitrix() as world:
        yield world.serve(log_level="debug", **MODES[request.param])


def others(token):
    """What is not the application token: fields of a worker POST."""
    return {"another": {"application_token": "0" * 32}, "empty": {"application_token": ""},
            "missing": {"generation": "old"}, "longer": {"application_token": token + "0"},
            "shorter": {"application_token": token[:-1]},
            "upper case": {"application_token": token.upper()}}


def check_guarded(server, portal):
    """It has to present its token, and its page may be framed by itself alone."""
    for fields in others(portal.installs[server.bitrix.app.client_id].application_token).values():
        answer = server.worker(portal, **fields)
        assert (answer.status, answer.log["verdict"]) == (403, "badtoken")
        assert answer.text.startswith("APPLICATION_TOKEN: ")
        assert "Content-Security-Policy" not in answer.headers
    answer = server.worker(portal)
    assert (answer.status, answer.log["verdict"]) == (200, "ok")
    assert answer.log["portal"] == portal.member_id
    assert answer.headers["Content-Security-Policy"] == f"frame-ancestors {portal.url}"
    assert answer.text.startswith("<!DOCTYPE html>")


def check_unknown(server, portal):
    """It gets the page whatever it presents, without trust."""
    for fields in {}, {"application_token": "0" * 32}, {"generation": "old"}:
        answer = server.worker(portal, **fields)
        assert (answer.status, answer.log["verdict"]) == (200, "unknown")
        assert answer.headers["Content-Security-Policy"] == ANYWHERE


def tokens(server, portal):
    """(access, refresh, application token) in the store."""
    return server.rows("SELECT access_token, refresh_token, application_token FROM b24bg_portals "
                       f"WHERE member_id = '{portal.member_id}'")


def inbox(server):
    """How many installations have come in."""
    return int(server.rows("SELECT COUNT(*) FROM b24bg_inbox")[0][0])


# Installation


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.attributes, self.script, self.tag = {}, "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        self.attributes.update(attributes)

    def handle_data(self, data):
        self.script += data if self.tag == "script" else ""


# A browser's part of the page: load is fired first, then what was attached is looked at and run.
BROWSER = """
const attached = [], calls = [];
let loaded = () => calls.push('no load handler');
globalThis.window = globalThis;
globalThis.addEventListener = (name, run) => { if (name === 'load') loaded = run; };
globalThis.document = {
    currentScript: {dataset: {urls: process.argv[2]}},
    createElement: tag => ({tag}),
    body: {appendChild: element => attached.push(element)}};
eval(process.argv[1]);
const early = attached.length + calls.length;
loaded();
const urls = attached.map(element => element.tag + ' ' + element.src);
globalThis.BX24 = {init: run => { calls.push('init'); run(); },
                   installFinish: () => calls.push('installFinish')};
attached.forEach(element => element.onload());
console.log(JSON.stringify([early, urls, calls]));
"""


def check_install_page(text):
    """It fetches nothing by itself; after load it attaches BX24.js, and then says it is done."""
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and len(text) <= 2048
    assert set(page.attributes) <= {"lang", "charset", "data-urls"}
    assert re.findall(r"https?://[^&\"]*", text) == [BX24]
    run = subprocess.run(["node", "-e", BROWSER, page.script, page.attributes["data-urls"]],
                         text=True, capture_output=True, timeout=PATIENCE)
    assert run.stdout == f'[0,["script {BX24}"],["init","installFinish"]]\n', run.stderr


@every_kind
def test_install(server, kind):
    """What is stored is what the auth server says, not what the POST claims."""
    bitrix = server.bitrix
    portal, canary = bitrix.add_portal(), bitrix.add_canary()
    bitrix.install(portal, bitrix.app)
    check_unknown(server, portal)
    lies = {"domain": "evil.example.com", "user_id": "7", "scope": "crm", "status": "F",
            "expires": "1", "client_endpoint": f"http://127.0.0.1:{canary.port}/rest/"}
    answer = server.send(bitrix.installation(portal, kind, **lies))
    assert answer.status == 200
    assert [answer.log[name] for name in ("app", "portal", "kind", "verdict")] \
        == [NAME, portal.member_id, "install", "ok"]
    if kind == "page":
        check_install_page(answer.text)
        assert answer.headers["Content-Security-Policy"] == ANYWHERE
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    else:
        assert answer.body == b""
    server.wait_known(portal)
    check_guarded(server, portal)
    check_guarded(server, portal)

    shown = server.portals()[portal.member_id]
    assert (shown["app"], shown["domain"], shown["state"]) == (NAME, portal.domain, "installed")
    stored = server.rows("SELECT domain, client_endpoint, auth_server, user_id, scope FROM "
                         f"b24bg_portals WHERE member_id = '{portal.member_id}'")
    assert stored == [(portal.domain, portal.client_endpoint, portal.oauth.url, "1",
                       ",".join(bitrix.app.scope))]
    access, refresh, application = tokens(server, portal)[0]
    assert access in portal.oauth.access and refresh in portal.oauth.refresh
    assert application == portal.installs[bitrix.app.client_id].application_token
    assert server.events()[portal.member_id] == 1
    assert not bitrix.connections(canary.name) and not bitrix.connections(portal.name)


def test_page_before_it_says_that_it_is_done(server):
    """The auth server calls the application installed only after BX24.installFinish."""
    portal = server.bitrix.add_portal()
    server.bitrix.install(portal, server.bitrix.app, installed=False)
    server.installed(portal, kind="page")
    check_guarded(server, portal)


def test_portal_too_old_for_an_application_token(server):
    """It can be installed, and proves nothing afterwards."""
    portal = server.bitrix.add_portal()
    server.install(portal, "page", application_token=None)
    server.wait_for(lambda: server.has(portal), "store it")
    check_unknown(server, portal)


@every_kind
def test_a_portal_is_remembered(server, kind):
    """Through reloads without a gap; after kill -9 and a fresh start as soon as the store is
    read."""
    portal = server.bitrix.add_portal()
    server.installed(portal, kind=kind)
    for how in () if server.single else ("graceful", "restart"):
        getattr(server, how)()
        check_guarded(server, portal)
    for end in server.kill, server.stop:
        end()
        assert server.has(portal)
        server.start()
        server.wait_known(portal)
        check_guarded(server, portal)
    server.end_lease()
    assert server.events()[portal.member_id] == 1


def test_update_and_uninstall(server):
    bitrix, app = server.bitrix, server.bitrix.app
    portal, other = bitrix.add_portal(), bitrix.add_portal()
    server.installed(portal, other)
    before = tokens(server, portal)[0]

    bitrix.set_install(portal, app, application_token=samples.new_secret())
    assert server.send(bitrix.event(portal, "update")).body == b""
    server.wait_for(lambda: server.worker(portal).log["verdict"] == "ok", "take the new token")
    server.wait_log("B24BG0308", holding="updated: ")
    server.renders.clear()
    check_guarded(server, portal)
    assert server.worker(portal, application_token=before[2]).status == 403
    assert not set(before) & set(tokens(server, portal)[0])

    # Whoever does not know the token uninstalls nothing.
    strangers = [*others(portal.installs[app.client_id].application_token).values(),
                 {"application_token": before[2]},
                 {"application_token": other.installs[app.client_id].application_token}]
    seen = len(server.tagged("B24BG0305"))
    forged = [fields["application_token"] for fields in strangers
              if fields.get("application_token")]
    for token in forged:
        answer = server.send(bitrix.event(portal, "uninstall", application_token=token))
        assert (answer.status, answer.body) == (200, b"")
    refused = server.wait_log("B24BG0305", seen + len(forged))[seen:]
    assert all(portal.member_id in line and "event=uninstall" in line for line in refused)
    check_guarded(server, portal)

    goodbye = bitrix.event(portal, "uninstall")
    assert server.send(goodbye).body == b""
    server.wait_unknown(portal)
    check_unknown(server, portal)
    check_guarded(server, other)
    assert tokens(server, portal) == [("", "", "")]
    assert server.portals()[portal.member_id]["state"] == "uninstalled"
    assert server.send(goodbye).status == 200  # it may come twice

    server.renders.clear()
    server.installed(portal)
    check_guarded(server, portal)
    assert server.portals()[portal.member_id]["state"] == "installed"


@pytest.mark.parametrize("event", ["ONAPPPAYMENT", "ONAPPMETHODCONFIRM", "ONCRMDEALADD", "x", ""])
def test_other_events_are_none_of_our_business(server, event):
    bitrix = server.bitrix
    portal, last = bitrix.add_portal(), bitrix.add_portal()
    server.installed(portal)
    before = inbox(server)
    for message in bitrix.event(portal), bitrix.event(portal, "uninstall"):
        body = dict(urllib.parse.parse_qsl(message[1])) | {"event": event}
        answer = server.ask("POST", "/b24/install", urllib.parse.urlencode(body))
        assert (answer.status, answer.body, answer.log["verdict"]) == (200, b"", "ok")
    server.installed(last)
    assert inbox(server) == before + 1
    check_guarded(server, portal)


# what is changed in an event or a page, the field that the answer names
MALFORMED = {
    "no access token": ("event", {"access_token": None}, "auth[access_token]"),
    "empty access token": ("event", {"access_token": ""}, "auth[access_token]"),
    "access token of two words": ("event", {"access_token": "a b"}, "auth[access_token]"),
    "access token of two lines": ("event", {"access_token": "a\r\nHost: x"}, "auth[access_token]"),
    "access token too long": ("event", {"access_token": "a" * 513}, "auth[access_token]"),
    "refresh token with a control": ("event", {"refresh_token": "a\x01"}, "auth[refresh_token]"),
    "application token too long": ("event", {"application_token": "a" * 513},
                                   "auth[application_token]"),
    "server endpoint with a blank": ("event", {"server_endpoint": "http://a b/"},
                                     "auth[server_endpoint]"),
    "no member_id": ("event", {"member_id": None}, "auth[member_id]"),
    "member_id of 31 digits": ("event", {"member_id": "a" * 31}, "auth[member_id]"),
    "member_id of other letters": ("event", {"member_id": "g" * 32}, "auth[member_id]"),
    "member_id with SQL": ("event", {"member_id": "a" * 30 + "'--"}, "auth[member_id]"),
    "uninstall without a token": ("uninstall", {"application_token": None},
                                  "auth[application_token]"),
    "uninstall with an empty token": ("uninstall", {"application_token": ""},
                                      "auth[application_token]"),
    "page: empty access token": ("page", {"access_token": ""}, "AUTH_ID"),
    "page: no access token": ("page", {"access_token": None}, "event"),
    "page: refresh token too long": ("page", {"refresh_token": "a" * 513}, "REFRESH_ID"),
    "page: application token of two words": ("page", {"application_token": "a b"},
                                             "APPLICATION_TOKEN"),
    "page: no member_id": ("page", {"member_id": None}, "member_id"),
}
# whole bodies
BROKEN = {
    "empty": ("", "event"),
    "nothing of ours": ("a=1", "event"),
    "broken escape": ("event=ONAPPINSTALL&auth%5Bmember_id%5D=%z1", "auth[member_id]"),
    "NUL": ("event=ONAPPINSTALL&auth%5Bmember_id%5D=%00", "auth[member_id]"),
    "field twice": ("event=ONAPPINSTALL&event=ONAPPINSTALL", "event"),
    "nested": ("event[]=ONAPPINSTALL", "event"),
}


def test_malformed_installations(server):
    bitrix = server.bitrix
    portal, first, last = (bitrix.add_portal() for _ in range(3))
    bitrix.install(portal, bitrix.app)
    server.installed(first)
    before = inbox(server)
    cases = [(bitrix.installation(portal, kind, **fields) if kind != "uninstall"
              else bitrix.event(portal, kind, **fields), field)
             for kind, fields, field in MALFORMED.values()]
    cases += [(("/b24/install", body), field) for body, field in BROKEN.values()]
    for message, field in cases:
        answer = server.send(message)
        assert (answer.status, answer.log["verdict"]) == (400, "malformed"), message
        assert answer.text.startswith(f"{field}: ") and answer.text.count("\n") == 1
    target, body = bitrix.event(portal)
    for content_type in "application/json", "text/plain", "multipart/form-data; boundary=x", None:
        answer = server.ask("POST", target, body, content_type)
        assert (answer.status, answer.log["verdict"]) == (415, "malformed")
    answer = server.ask("POST", target, body + "&x=" + "a" * 65536)
    assert (answer.status, answer.log["verdict"]) == (413, "refused")
    for method in "GET", "HEAD", "PUT", "DELETE":
        answer = server.ask(method, target)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")
    answer = server.ask("OPTIONS", target)
    assert (answer.status, answer.headers["Allow"]) == (204, "POST, OPTIONS")

    server.installed(last)
    assert inbox(server) == before + 1
    check_unknown(server, portal)


def test_files_are_the_servers_own(server):
    """In the state directory and nowhere else; Server.finish looks for secrets in all others."""
    server.installed(server.bitrix.add_portal())
    user = pwd.getpwnam("www-data").pw_uid if running_as_root() else os.geteuid()
    files = {path.name: path.stat() for path in server.state.iterdir()}
    assert {"journal", "b24bg.db", "b24bg.db-wal"} <= set(files)
    assert set(files) <= {"journal", "b24bg.db", "b24bg.db-wal", "b24bg.db-shm"}
    for name, info in {**files, ".": server.state.stat()}.items():
        assert stat.S_IMODE(info.st_mode) == (0o700 if name == "." else 0o600), name
        assert info.st_uid == user, name
    assert {path.name for path in server.root.iterdir()} <= {
        "state", "htdocs", "httpd.conf", "httpd.pid", "error.log", "access.log", "stderr.log"}


def test_forget_while_it_runs(server):
    """`b24bgctl forget`: the portal is unknown soon, and comes back with the next installation."""
    portal, other = (server.bitrix.add_portal() for _ in range(2))
    server.installed(portal, other)
    assert "its tokens are wiped" in server.ctl("forget", NAME, portal.member_id)
    server.wait_unknown(portal)
    check_unknown(server, portal)
    check_guarded(server, other)
    assert tokens(server, portal) == [("", "", "")]
    assert "nothing to do" in server.ctl("forget", NAME, portal.member_id)
    server.installed(portal)
    check_guarded(server, portal)


def test_wiped_tokens_are_in_no_file(bitrix):
    """Neither in the journal, nor in free pages of the store, nor in its log: while the server runs,
    and after its end."""
    server = bitrix.serve()
    forgotten, removed, kept = (bitrix.add_portal() for _ in range(3))
    server.installed(forgotten, removed, kept)
    gone = [token for portal in (forgotten, removed) for token in tokens(server, portal)[0]]
    stay = list(tokens(server, kept)[0])

    def left(secrets):
        files = b"".join(path.read_bytes() for path in server.state.iterdir()).decode("latin-1")
        return [token for token in secrets if token in files]

    server.ctl("forget", NAME, forgotten.domain)
    assert not left(gone[:len(gone) // 2])
    server.send(bitrix.event(removed, "uninstall"))
    server.wait_unknown(forgotten, removed)
    server.wait_for(lambda: not left(gone), "have wiped all tokens")
    assert left(stay) == stay
    server.stop()
    assert left(stay) == stay and not left(gone)


def test_server_status_shows_no_secret(bitrix):
    """Its table of requests has the query of an installation page, and that has an APP_SID."""
    server = bitrix.serve(bitrix.conf() + "ExtendedStatus On\n<Location \"/server-status\">\n"
                          "SetHandler server-status\n</Location>\n", modules=["status"])
    portal = bitrix.add_portal()
    for _ in range(3):
        server.install(portal, "page")
    server.wait_known(portal)
    server.worker(portal)
    shown = server.ask("GET", "/server-status", ours=False).text
    assert "POST /b24/install?" in shown and "POST /b24/worker?" in shown
    check_secrets(shown, "server-status")


# Settings


def test_strict(bitrix):
    server = bitrix.serve(bitrix.conf("B24bgVerify strict"))
    portal, stranger = bitrix.add_portal(), bitrix.add_portal()
    for one in portal, stranger:
        bitrix.install(one, bitrix.app)
        answer = server.worker(one)
        assert (answer.status, answer.log["verdict"]) == (403, "refused")
        assert answer.text.startswith("member_id: ")
    server.install(portal)
    server.wait_for(lambda: server.worker(portal).status == 200, "serve it")
    check_guarded(server, portal)
    assert server.worker(stranger).status == 403
    assert server.ask("GET", "/b24/worker").status == 200  # people open it to look
    server.send(bitrix.event(portal, "uninstall"))
    server.wait_for(lambda: server.worker(portal).text.startswith("member_id: "), "forget it")


def test_off_compares_nothing(bitrix):
    server = bitrix.serve(bitrix.conf("B24bgVerify off"))
    portal = bitrix.add_portal()
    server.install(portal)
    server.wait_for(lambda: server.has(portal), "store it")
    check_unknown(server, portal)


def test_each_app_has_its_own_portals(bitrix):
    """Two applications on one portal: the token of one is a wrong one for the other."""
    second = bitrix.add_app()
    conf = bitrix.conf().replace(URLS, "") + bitrix.app_conf(app=second, name="second")
    for path, name in ("b24", NAME), ("two", "second"):
        conf += URLS.replace("/b24/", f"/{path}/").replace("SetHandler",
                                                           f"B24bgUse {name}\n    SetHandler")
    server = bitrix.serve(conf)
    portal = bitrix.add_portal()
    server.installed(portal)
    bitrix.install(portal, second)

    def to_second(app):
        target, body = server.render(portal, app=app)
        return server.ask("POST", target.replace("/b24/", "/two/"), body)
    assert to_second(second).log["verdict"] == to_second(bitrix.app).log["verdict"] == "unknown"
    message = bitrix.send_install(portal, second, "http://h/two/install", drop=True).message
    assert server.ask("POST", message.target, message.body).status == 200
    server.wait_for(lambda: to_second(second).log["verdict"] == "ok", "know it")
    assert to_second(bitrix.app).log["verdict"] == "badtoken"
    check_guarded(server, portal)
    apps = {app for app, in server.rows("SELECT app FROM b24bg_portals")}
    assert apps == {NAME, "second"}


def test_loads_are_kept(bitrix):
    """They are in the store when the server has stopped, and go on from there."""
    server = bitrix.serve()
    portal = bitrix.add_portal()
    server.installed(portal)
    for _ in range(2):
        before = server.portals()[portal.member_id]["loads"]
        for number in range(3):
            server.worker(portal, lang=f"x{number}", status=str(before))  # each a render of its own
        server.stop()
        after = server.portals()[portal.member_id]
        assert after["loads"] >= before + 3 and after["last_load_at"]
        server.start()
        server.wait_known(portal)


# Trouble with files


@as_root
def test_full_disk(bitrix):
    """503 and a line of level crit, nothing else breaks, and what was answered 200 is not lost."""
    server = bitrix.serve()
    known = bitrix.add_portal()
    server.installed(known)
    server.stop()
    moved = server.root / "before"
    server.state.rename(moved)
    server.state.mkdir()
    user = pwd.getpwnam("www-data")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=16m,mode=700,uid={user.pw_uid},"
                              f"gid={user.pw_gid}", "tmpfs", server.state], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a file system")
    try:
        subprocess.run(["cp", "-a", *moved.iterdir(), server.state], check=True)
        check_full_disk(bitrix, server, known)
    finally:
        server.stop()
        subprocess.run(["umount", server.state], check=True)


def check_full_disk(bitrix, server, known):
    server.expect("B24BG0104|B24BG030[1-4]")
    server.start()
    server.wait_known(known)
    filler = server.state / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    os.truncate(filler, filler.stat().st_size - 4096)  # a page is left, and filled in the end
    refused, accepted = [], []
    for _ in range(200):
        portal = bitrix.add_portal()
        kind = ("event", "page")[len(accepted) % 2]
        answer = server.send(bitrix.installation(portal, kind))
        (accepted if answer.status == 200 else refused).append(portal)
        if len(refused) >= 3:
            break
    assert accepted and len(refused) >= 3
    assert (answer.status, answer.log["verdict"]) == (503, "refused")
    assert "installation" in answer.text and answer.log["portal"] == portal.member_id
    lines = server.tagged("B24BG0104")
    assert lines and all("[b24bg:crit]" in line for line in lines)

    check_guarded(server, known)
    server.expect("B24BG0203")
    assert server.ask("POST", "/b24/error", samples.NOTICE_A).status == 200
    assert server.send(("/b24/install", "event=ONAPPPAYMENT")).status == 200
    filler.unlink()
    last = bitrix.add_portal()
    server.installed(last)
    server.wait_known(*accepted)
    for portal in refused:
        check_unknown(server, portal)
    assert set(server.events().values()) == {1}


@as_root
def test_state_directory_that_is_not_the_servers(bitrix):
    """Taken away from a running server, and from one that is reloaded or started: it says so and
    serves on, installations get 503, and all is well again when it is given back."""
    server = bitrix.serve()
    portal, lost = bitrix.add_portal(), bitrix.add_portal()
    server.installed(portal)
    os.chown(server.state, 0, 0)
    server.expect("B24BG010[4-9]|B24BG030[12]|B24BG0402")
    assert server.send(bitrix.event(lost)).status == 503
    assert "[b24bg:crit]" in server.tagged("B24BG0104")[0]
    check_guarded(server, portal)
    os.chown(server.state, pwd.getpwnam("www-data").pw_uid, -1)
    server.installed(lost)
    os.chown(server.state, 0, 0)
    server.graceful()
    line, = server.tagged("B24BG0402")
    assert "[b24bg:crit]" in line and f'B24bgStateDir "{server.state}"' in line
    check_guarded(server, portal)
    server.stop()
    server.start()
    assert len(server.tagged("B24BG0402")) == 2
    late = bitrix.add_portal()
    assert server.send(bitrix.event(late)).status == 503
    os.chown(server.state, pwd.getpwnam("www-data").pw_uid, -1)
    server.installed(late)


# Several machines


def test_two_servers_on_one_store(bitrix, postgres):
    """A portal that is installed at one is known at the other within 5 s, and gone as soon."""
    one, two = (bitrix.serve(store=postgres) for _ in range(2))
    for first, second in (one, two), (two, one):
        portal = bitrix.add_portal()
        first.installed(portal)
        within_5_s(second, lambda: second.knows(portal))
        check_guarded(second, portal)
        second.send(bitrix.event(portal, "uninstall"))
        second.wait_unknown(portal)
        within_5_s(first, lambda: not first.knows(portal))
        check_unknown(first, portal)
        assert first.events()[portal.member_id] == 1


def within_5_s(server, condition):
    end = time.monotonic() + 5
    server.wait_for(lambda: condition() or time.monotonic() > end, "learn of it")
    assert condition()


# Stopping


STOPS = {"stop": signal.SIGTERM, "graceful-stop": signal.SIGWINCH, "kill": signal.SIGKILL,
         "graceful": signal.SIGUSR1, "restart": signal.SIGHUP}


@pytest.mark.parametrize("mode, how", [(mode, how) for mode in MODES for how in STOPS
                                       if mode != "X" or how in ("stop", "kill")])
def test_stopping_while_a_call_hangs(bitrix, mode, how):
    """The server ends as ever, no child stays, and the next generation does the rest."""
    server = bitrix.serve(bitrix.conf("B24bgTimeout 5s 60s"), **MODES[mode])
    portal = bitrix.add_portal()
    hang = bitrix.fault("hang", bitrix.oauth.name, "app.info", seconds=600)
    server.install(portal)
    server.wait_for(lambda: hang.hits, "ask the auth server")
    old = server.pids()
    if how == "kill":
        server.kill()
    elif how in ("graceful", "restart"):
        server.reload(STOPS[how])
    else:
        os.kill(old[0], STOPS[how])
        assert server.process.wait(PATIENCE) == 0
    assert not hang.released.is_set()  # it still hangs
    server.wait_for(lambda: all(map(has_ended, old[1:])), "end all its old children")
    if how not in ("graceful", "restart"):
        server.start()
    if how == "kill":
        server.end_lease()
    server.wait_known(portal)
    check_guarded(server, portal)
    assert server.events() == {portal.member_id: 1}
