"""Who is asked, and who is believed: forged installations reach nobody outside B24bgAuthServer and
store nothing; an auth server in trouble delays its own portals, and nobody else."""

import os

import pytest
import samples
from bitrix import NAME


class World:
    """A server, an honest portal that it knows, another application, and canaries: ports that
    nobody may connect to."""

    def __init__(self, bitrix):
        self.bitrix = bitrix
        self.canary = f"127.0.0.1:{bitrix.add_canary().port}"
        self.proxy = f"127.0.0.1:{bitrix.add_canary('proxy').port}"
        # No proxy of the environment's is used.
        environment = {**os.environ, **{name: f"http://{self.proxy}" for name in (
            "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}}
        self.server = bitrix.serve(log_level="debug", environment=environment)
        self.unlisted = bitrix.add_oauth("unlisted")  # a real one, but not in B24bgAuthServer
        self.victim = bitrix.add_portal("victim", oauth=bitrix.oauth)
        self.own = bitrix.add_portal("own", oauth=bitrix.oauth)  # the forger's
        self.far = bitrix.add_portal("far", oauth=self.unlisted)
        self.outside = bitrix.add_portal("outside", oauth=bitrix.oauth, host="localhost")
        self.foreign = bitrix.add_app()
        bitrix.install(self.own, self.foreign)
        bitrix.install(self.own, bitrix.app)
        self.server.installed(self.victim)

    def token(self, portal, app=None):
        """An access token that works, of any application."""
        app = app or self.bitrix.app
        if app.client_id not in portal.installs:
            self.bitrix.install(portal, app)
        return self.bitrix.tokens(portal, app)[0]


# what the forger writes into the form of which portal, and what is made of it
FORGERIES = {
    "invented token": ("own", lambda w: {"access_token": samples.new_secret()}, "invalid_client"),
    "token of another application":
        ("own", lambda w: {"access_token": w.token(w.own, w.foreign)}, "foreign"),
    "token of another portal": ("own", lambda w: {"access_token": w.token(w.victim)}, "member_id"),
    "member_id of a portal that is known": (
        "own", lambda w: {"member_id": w.victim.member_id,
                          "application_token": samples.new_secret()}, "member_id"),
    "token of another portal and server, by ours":
        ("far", lambda w: {"server_endpoint": w.bitrix.oauth.server_endpoint}, "invalid_client"),
    "portal outside B24bgPortals": ("outside", lambda w: {}, "outside"),
    "auth server that is not listed": ("far", lambda w: {}, "auth_server"),
    **{f"auth server {url}": (
        "own", lambda w, url=url: {"server_endpoint": url.format(
            ours=f"127.0.0.1:{w.bitrix.oauth.port}", port=w.bitrix.oauth.port, canary=w.canary,
            unlisted=f"127.0.0.1:{w.unlisted.port}")}, "auth_server")
       for url in ("http://{canary}/rest/", "https://{canary}/rest/", "http://{unlisted}/rest/",
                   "https://{ours}/rest/", "http://localhost:{port}/rest/", "{canary}",
                   "//{canary}/rest/", "ftp://{canary}/", "file:///etc/passwd", "http://",
                   "http://{ours}@{canary}/rest/", "http://{canary}#@{ours}/rest/",
                   "http://{canary}\\@{ours}/rest/", "http://u:p@{ours}/rest/",
                   "http://{ours}.example.com/rest/", "http://{ours}0/rest/",
                   "http://127.0.0.1/rest/", "http://127.1:{port}/rest/",
                   "http://0x7f000001:{port}/rest/", "http://[::1]:{port}/rest/",
                   "http://169.254.169.254/latest/", "javascript:alert(1)")},
}


# What an installation writes. The loads in the same row are written when their time has come.
INSTALLED = ("SELECT app, member_id, domain, client_endpoint, auth_server, access_token, "
             "refresh_token, application_token, scope, access_expires, refreshed, user_id, "
             "installed FROM b24bg_portals")


@pytest.mark.parametrize("kind", ["event", "page"])
def test_forged_installations(bitrix, kind):
    w = World(bitrix)
    stored = w.server.rows(INSTALLED)
    bitrix.clear_records()
    for name, (portal, lies, code) in FORGERIES.items():
        portal = getattr(w, portal)
        bitrix.install(portal, bitrix.app)
        seen = len(w.server.tagged("B24BG0305"))
        answer = w.server.install(portal, kind, **lies(w))
        if kind == "event":
            assert answer.body == b"", name
        line = w.server.wait_log("B24BG0305", seen + 1)[-1]
        assert f"app={NAME}" in line and f" error={code} " in line, f"{name}: {line}"
    bitrix.install(w.victim, bitrix.app)
    w.server.send(bitrix.event(w.own, "update", member_id=w.victim.member_id))
    w.server.send(bitrix.event(w.own, "uninstall", member_id=w.victim.member_id))
    w.server.wait_log("B24BG0305", len(FORGERIES) + 2)

    # Nobody was contacted but the one auth server, and he was asked about tokens only.
    assert {one.listener for one in bitrix.connections()} == {bitrix.oauth.name}
    for request in bitrix.requests():
        assert (request.method, request.endpoint, request.query) == ("POST", "app.info", "")
        assert set(request.params) == {"auth"}
        assert bitrix.app.client_secret not in str(request)
    assert w.server.rows(INSTALLED) == stored
    w.server.renders.clear()
    for portal, verdict in (w.own, "unknown"), (w.far, "unknown"), (w.outside, "refused"):
        assert w.server.worker(portal).log["verdict"] == verdict


@pytest.mark.parametrize("path", ["app.info", "oauth/token"])
def test_redirects_are_not_followed(bitrix, path):
    """Not with the token, not with the client secret."""
    w = World(bitrix)
    bitrix.clear_records()
    fault = bitrix.fault("redirect", bitrix.oauth.name, path, count=-1,
                         location=f"http://{w.canary}/rest/app.info")
    message = bitrix.event(w.own)
    bitrix.expire(w.own, bitrix.app)
    w.server.send(message)
    w.server.wait_log("B24BG0305", holding=w.own.member_id)
    assert fault.hits >= 1
    assert {one.listener for one in bitrix.connections()} == {bitrix.oauth.name}
    assert not w.server.has(w.own)


def test_secret_goes_to_the_token_endpoint_of_the_portals_own_server(bitrix):
    """There are several in B24bgAuthServer: only the one that the installation names is asked."""
    second = bitrix.add_oauth("second")
    server = bitrix.serve()
    portals = [bitrix.add_portal(oauth=oauth) for oauth in (bitrix.oauth, second)]
    for portal in portals:
        message = bitrix.event(portal)
        bitrix.expire(portal, bitrix.app)
        bitrix.clear_records()
        server.send(message)
        server.wait_known(portal)
        requests = bitrix.requests()
        assert {one.listener for one in bitrix.connections()} == {portal.oauth.name}
        assert [one.endpoint for one in requests] == ["app.info", "oauth/token", "app.info"]
        assert [bitrix.app.client_secret in one.body.decode() for one in requests] \
            == [False, True, False]
        assert all(one.method == "POST" and not one.query for one in requests)


def test_without_client_secret_nothing_is_refreshed(bitrix):
    server = bitrix.serve(bitrix.conf(secret=""))
    fresh, old = bitrix.add_portal(), bitrix.add_portal()
    message = bitrix.event(old)
    bitrix.expire(old, bitrix.app)
    server.send(message)
    assert "no client secret" in server.wait_log("B24BG0305")[0]
    server.installed(fresh)
    assert not server.has(old) and not bitrix.requests(endpoint="oauth/token")


# Trouble

# kind of fault: its options. Each hits the first call to an auth server of its own.
TROUBLE = {"down": None, "error": {}, "html": {}, "query_limit": {}, "hang": {"seconds": 60},
           "garbage": {}, "reset": {}, "drip": {"seconds": 0.5}, "slow": {"seconds": 60},
           "lost": {}, "cut": {}, "empty": {}, "truncated": {}, "huge": {"bytes": 3 << 20},
           "operation_time": {}}


def test_auth_server_in_trouble(bitrix):
    """All kinds of trouble at once, each with an auth server of its own: it is asked again, and
    the installation is verified."""
    oauths = {kind: bitrix.add_oauth(kind) for kind in TROUBLE}
    portals = {kind: bitrix.add_portal(f"portal-{kind}", oauth=oauths[kind]) for kind in TROUBLE}
    server = bitrix.serve(bitrix.conf("B24bgTimeout 1s 3s"))
    server.expect("B24BG0307")
    for kind, options in TROUBLE.items():
        if options is None:
            bitrix.down(kind)
        else:
            bitrix.fault(kind, kind, **options)
        server.install(portals[kind])
    line = server.wait_log("B24BG0307")[0]  # once a minute, for whichever came first
    assert any(f"portal={portals[kind].member_id} server={oauths[kind].url} " in line
               for kind in TROUBLE)
    bitrix.wait(lambda: all(len(bitrix.requests(kind, "app.info")) for kind in TROUBLE
                            if kind != "down"), timeout=60)
    bitrix.up("down")
    server.wait_known(*portals.values())
    assert set(server.events().values()) == {1} and len(server.events()) == len(TROUBLE)
    asked = {kind: len(bitrix.requests(kind, "app.info")) for kind in TROUBLE if kind != "down"}
    assert all(2 <= count <= 4 for count in asked.values()), asked


@pytest.mark.parametrize("stuck", [1, 100])
def test_an_auth_server_that_hangs_holds_up_nobody_else(bitrix, stuck):
    """While installations hang at one auth server, ten at another are verified."""
    second = bitrix.add_oauth("second")
    server = bitrix.serve(bitrix.conf("B24bgTimeout 5s 60s"))
    hang = bitrix.fault("hang", bitrix.oauth.name, count=-1, seconds=600)
    hanging = [bitrix.add_portal(oauth=bitrix.oauth) for _ in range(stuck)]
    for portal in hanging:
        server.install(portal)
    server.wait_for(lambda: hang.hits, "ask the server that hangs")
    server.installed(*(bitrix.add_portal(oauth=second) for _ in range(10)))
    assert hang.hits <= stuck  # none of them was given up meanwhile
    assert not server.tagged("B24BG030[57]")
    server.expect("B24BG0307")
    bitrix.clear_faults()
    server.wait_known(*hanging)


# Refreshing


def refreshed(bitrix, portal):
    """How often a token pair of the portal's was refreshed, successful or not."""
    mine = {token for token, one in portal.oauth.refresh.items() if one.portal is portal}
    asked = bitrix.requests(endpoint="oauth/token")
    return sum(one.params["refresh_token"] in mine for one in asked)


def check_fresh(bitrix, server, portal):
    """It was refreshed once, and the new pair is what is stored."""
    assert refreshed(bitrix, portal) == 1
    (access, refresh), = server.rows("SELECT access_token, refresh_token FROM b24bg_portals "
                                     f"WHERE member_id = '{portal.member_id}'")
    now = bitrix.clock.now()
    assert portal.oauth.access[access].expires > now and not portal.oauth.refresh[refresh].dead


def test_expired_tokens_are_refreshed_once(bitrix, postgres):
    """By one of two servers on one store, while one of them reloads."""
    servers = [bitrix.serve(store=postgres) for _ in range(2)]
    portals = [bitrix.add_portal() for _ in range(12)]
    messages = [bitrix.event(portal) for portal in portals]
    for portal in portals:
        bitrix.expire(portal, bitrix.app)
    bitrix.fault("slow", bitrix.oauth.name, "app.info", count=3, seconds=0.5)
    for number, message in enumerate(messages):
        servers[number % 2].send(message)
        if number == 6:
            servers[0].graceful()
    for server in servers:
        server.wait_known(*portals)
    for portal in portals:
        check_fresh(bitrix, servers[0], portal)
    assert servers[0].events() == {portal.member_id: 1 for portal in portals}


@pytest.mark.parametrize("how", ["kill", "graceful", "reset"])
def test_a_refreshed_pair_is_kept_before_it_is_used(bitrix, how):
    """The call after the refresh hangs, and the server is killed or reloaded: the next one goes on
    with the new pair, because the old one is used up."""
    server = bitrix.serve()
    portal = bitrix.add_portal()
    message = bitrix.event(portal)
    bitrix.expire(portal, bitrix.app)
    fault = bitrix.fault("reset" if how == "reset" else "hang", bitrix.oauth.name, "app.info",
                         skip=1, seconds=600)
    server.send(message)
    server.wait_for(lambda: fault.hits, "use the new token")
    if how == "kill":
        server.kill()
        server.start()
        server.end_lease()
    elif how == "graceful":
        server.graceful()
    else:
        server.expect("B24BG0307")
    server.wait_known(portal)
    check_fresh(bitrix, server, portal)
    assert len({one.params["auth"] for one in bitrix.requests(endpoint="app.info")}) == 2
