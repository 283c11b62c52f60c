"""The directives of apps that have a client: what configtest refuses and what it takes, that it
leaves no file behind, and that an app without a client costs nothing."""

import os
import re
import stat

import pytest
from bitrix import URLS
from httpd import TWO_LOCATIONS, Httpd, app
from samples import MEMBER_ID
from test_lifecycle import settled

SECRET = "s3cret-of-the-application"
MODES = {"good": 0o600, "group": 0o640, "readable": 0o644, "writable": 0o602, "empty": 0o600}


@pytest.fixture
def configtest(tmp_path):
    """configtest(conf) -> (exit code, text); it shows no secret, and no file is new afterwards."""
    def run(conf, **environment):
        server = Httpd(tmp_path / "root", conf, environment={**os.environ, **environment})
        for name, mode in MODES.items():
            path = server.root / name
            path.write_text("\n" if name == "empty" else SECRET + "\n")
            path.chmod(mode)
        before = sorted(tmp_path.rglob("*"))
        code, text = server.configtest()
        assert sorted(tmp_path.rglob("*")) == before
        assert SECRET not in text
        return code, text
    return run


INSTALL = '<Location "/b24/install">\nSetHandler b24bg-install\n</Location>\n'
CLIENT = "B24bgClient local.5f0c1d2e3a4b56.12345678"

GOOD = {
    "file": app(f"{CLIENT} file:{{root}}/good") + URLS,
    "file of the group": app(f"{CLIENT} file:{{root}}/group"),
    "file below ServerRoot": app(f"{CLIENT} file:good"),
    "environment": app(f"{CLIENT} env:B24BG_TEST_SECRET"),
    "no secret": app(CLIENT) + URLS,
    "everything": "B24bgStateDir {root}/state\n" + app(f"""
        {CLIENT} file:good
        B24bgVerify strict
        B24bgAuthServer https://oauth.bitrix.info https://oauth.bitrix24.tech/
        B24bgAuthServer https://oauth.example.com:8443
        B24bgTimeout 5s 20s
        B24bgProxy http://proxy.example.com:3128
        B24bgCAFile good""") + URLS,
    **{f"verify {word}": app(f"B24bgVerify {word}") for word in ("off", "known", "strict", "OFF")},
    **{f"timeout {words}": app(f"B24bgTimeout {words}")
       for words in ("100ms 100ms", "60s 60s", "1 1m", "5s 20s")},
    "state directory below ServerRoot": "B24bgStateDir state\n" + app(CLIENT),
    "SQLite": "B24bgStore sqlite3\n" + app(CLIENT),
    "SQLite elsewhere": "B24bgStore sqlite3 {root}/other.db\n" + app(CLIENT),
    "PostgreSQL": 'B24bgStore pgsql "host=127.0.0.1 port=1 dbname=x password=y"\n' + app(CLIENT),
    "http auth server": app("B24bgAuthServer http://10.0.0.1:8080\nB24bgAllowHTTP on"),
    "plain http auth server": app("B24bgAuthServer http://127.0.0.1:8080\nB24bgAllowHTTP on"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(configtest, name):
    assert configtest(GOOD[name], B24BG_TEST_SECRET=SECRET) == (0, "Syntax OK\n")


# lines, and what the message must hold
BAD = {
    **{f"{line.split()[0]} outside": (line, [line.split()[0], "<B24bgApp"]) for line in (
        CLIENT, "B24bgVerify off", "B24bgAuthServer https://oauth.bitrix.info",
        "B24bgTimeout 5s 20s", "B24bgProxy http://p.example.com:3128", "B24bgCAFile good")},
    **{f"{line.split()[0]} in an app": (app(line), [line.split()[0], "<B24bgApp"])
       for line in ("B24bgStateDir state", "B24bgStore sqlite3")},
    **{f"{line.split()[0]} in a host": (f"<VirtualHost *>\n{line}\n</VirtualHost>",
                                        [line.split()[0], "<VirtualHost>"])
       for line in ("B24bgStateDir state", "B24bgStore sqlite3")},
    # the client
    "file for all to read": (app(f"{CLIENT} file:readable"),
                             ["B24bgClient", "file:readable", "others cannot read"]),
    "file for all to write": (app(f"{CLIENT} file:writable"), ["file:writable", "others cannot"]),
    "no such file": (app(f"{CLIENT} file:nowhere"), ["B24bgClient", "file:nowhere", "No such"]),
    "file is a folder": (app(f"{CLIENT} file:htdocs"), ["B24bgClient", "file:htdocs"]),
    "no path": (app(f"{CLIENT} file:"), ["B24bgClient", "file: with the path of a file"]),
    "empty secret": (app(f'{CLIENT} ""'), ["B24bgClient", "not empty", "leave it out"]),
    "empty file": (app(f"{CLIENT} file:empty"), ["B24bgClient", "file:empty", "not empty"]),
    "no such variable": (app(f"{CLIENT} env:B24BG_NOWHERE"), ["B24bgClient", "env:B24BG_NOWHERE"]),
    "empty variable": (app(f"{CLIENT} env:B24BG_EMPTY"), ["B24bgClient", "env:B24BG_EMPTY"]),
    "no client": (app("B24bgClient"), ["B24bgClient"]),
    **{f"client {name!r}": (app(f'B24bgClient "{name}" {SECRET}'), ["B24bgClient", "letters"])
       for name in ("a b", "a/b", "a&b", "ы")},
    "three words": (app(f"{CLIENT} {SECRET} more"), ["B24bgClient"]),
    "nobody could be verified": (app("") + INSTALL, ["b24bg-install", "httpd.conf:", "app=one",
                                                     "B24bgClient"]),
    "no app at all": (INSTALL, ["b24bg-install", "B24bgClient"]),
    "in a host": (app(CLIENT) + "<VirtualHost *>\n" + app("", "two") + '<Location "/i">\n'
                  "SetHandler b24bg-install\nB24bgUse two\n</Location>\n</VirtualHost>",
                  ["b24bg-install", "app=two", "B24bgClient"]),
    "the other app has one": (app("") + app(CLIENT, "two") + '<Location "/i">\n'
                              "SetHandler b24bg-install\nB24bgUse one\n</Location>",
                              ["b24bg-install", "app=one", "B24bgClient"]),
    # the store
    **{f"driver {name}": (f"B24bgStore {name}\n" + app(CLIENT),
                          ["B24bgStore", f'"{name}"', "sqlite3", "pgsql"])
       for name in ("mysql", "sqlite", "SQLITE3")},
    "PostgreSQL where?": ("B24bgStore pgsql\n" + app(CLIENT), ["B24bgStore", "pgsql", "host="]),
    "no driver": ("B24bgStore\n" + app(CLIENT), ["B24bgStore"]),
    # calls
    **{f"auth server {url}": (app(f"B24bgAuthServer '{url}'"), ["B24bgAuthServer", url, "https"])
       for url in ("https://oauth.bitrix.info/rest", "https://oauth.bitrix.info/oauth",
                   "http://oauth.bitrix.info", "oauth.bitrix.info", "ftp://oauth.bitrix.info",
                   "https://user:word@oauth.bitrix.info", "https://", "https://*.bitrix.info",
                   "https://oauth.bitrix.info:99999", "https://a b", "/oauth")},
    "auth server with a query": (app("B24bgAuthServer https://oauth.bitrix.info?x=1"),
                                 ["B24bgAuthServer", "no query (?) is allowed\n"]),
    "auth server with a fragment": (app('B24bgAuthServer "https://oauth.bitrix.info#x"'),
                                    ["B24bgAuthServer"]),
    "second auth server": (app("B24bgAuthServer https://oauth.bitrix.info http://x.example"),
                           ["B24bgAuthServer", "http://x.example"]),
    **{f"timeout {words}": (app(f"B24bgTimeout {words}"), ["B24bgTimeout", f'"{words}"', "ms"])
       for words in ("0 20s", "99ms 20s", "61s 61s", "5s 0", "5s 99ms", "5s 61s", "5s 2m",
                     "-5s 20s", "5s x", "x 20s")},
    "longer to connect than in all": (app("B24bgTimeout 20s 5s"),
                                      ["B24bgTimeout", '"20s 5s"', "not below", "20000ms",
                                       "a number alone is seconds"]),
    "half a timeout": (app("B24bgTimeout 5s"), ["B24bgTimeout"]),
    "verify": (app("B24bgVerify maybe"), ["B24bgVerify", '"maybe"', "off", "known", "strict"]),
    "proxy of another scheme": (app("B24bgProxy socks5://p.example:1080"),
                                ["B24bgProxy", "socks5://", "https and http are allowed\n"]),
    "proxy": (app("B24bgProxy proxy:3128"), ["B24bgProxy", '"proxy:3128"']),
    "CA file": (app("B24bgCAFile nowhere.pem"), ["B24bgCAFile", '"nowhere.pem"', "PEM"]),
    "CA folder": (app("B24bgCAFile htdocs"), ["B24bgCAFile", '"htdocs"', "PEM"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(configtest, name):
    conf, fragments = BAD[name]
    code, text = configtest(conf, B24BG_EMPTY="")
    assert code == 1, text
    assert all(fragment in text for fragment in fragments), text
    assert "Syntax OK" not in text


def test_secret_in_the_configuration_warns(configtest, bitrix):
    """At every start, and without showing it."""
    code, text = configtest(app(f"{CLIENT} {SECRET}"))
    assert code == 0 and text.endswith("Syntax OK\n")
    for expected in "B24BG0013", "httpd.conf:", "file:":
        assert expected in text
    server = bitrix.serve(bitrix.conf(secret=bitrix.app.client_secret))
    server.expect("B24BG0013")
    before = len(server.tagged("B24BG0013")) + server.read("stderr.log").count("B24BG0013")
    server.graceful()
    after = len(server.tagged("B24BG0013")) + server.read("stderr.log").count("B24BG0013")
    assert 0 < before < after


@pytest.mark.parametrize("reference", ["file:secret", "env:B24BG_TEST_SECRET"])
def test_secret_from_elsewhere_is_used(bitrix, reference):
    """It refreshes an expired token; relative paths begin at ServerRoot."""
    environment = {**os.environ, "B24BG_TEST_SECRET": bitrix.app.client_secret}
    source = bitrix.secret_file()
    server = bitrix.serve(bitrix.conf(secret=f"file:{source}"), environment=environment)
    if reference.startswith("file:"):
        (bitrix.folder / "secret").write_text(bitrix.app.client_secret)
        (bitrix.folder / "secret").chmod(0o600)
        reference = "file:" + os.path.relpath(bitrix.folder / "secret", server.root)
    server.write_conf(bitrix.conf(secret=reference))
    server.restart()
    portal = bitrix.add_portal()
    message = bitrix.event(portal)
    bitrix.expire(portal, bitrix.app)
    server.send(message)
    server.wait_known(portal)
    assert len(bitrix.requests(endpoint="oauth/token")) == 1


@pytest.mark.parametrize("store", ["", "sqlite3", "sqlite3 {root}/state/other.db",
                                   "sqlite3 state/other.db"])
def test_where_the_store_is(bitrix, store):
    """In the state directory by default; relative paths begin at ServerRoot; mode 0600."""
    server = bitrix.serve()
    server.stop()
    for path in server.state.iterdir():
        path.unlink()
    server.write_conf((f"B24bgStore {store}\n" if store else "").format(root=server.root)
                      + bitrix.conf())
    server.start()
    path = server.state / ("other.db" if "other" in store else "b24bg.db")
    server.wait_for(lambda: path.exists() or server.tagged("B24BG030"), "make the store")
    assert path.exists(), server.tagged()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.installed(bitrix.add_portal())
    assert not list(server.root.glob("*.db*"))
    server.stop()
    for path in server.state.glob("other.db*"):
        path.unlink()  # it holds tokens, and is not among the names that may


NO_CLIENT = ("B24bgStateDir state\nB24bgStore sqlite3\n"
             + app("B24bgPortals *.bitrix24.com\nB24bgVerify known\nB24bgTimeout 5s 20s\n"
                   "B24bgAuthServer https://oauth.bitrix.info") + TWO_LOCATIONS)


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_an_app_without_a_client_costs_nothing(serve, mpm):
    """No state directory, no file, no thread."""
    few = "StartServers 2\n"
    if mpm != "prefork":
        few += "ThreadsPerChild 4\nMaxRequestWorkers 8\nServerLimit 2\nMinSpareThreads 1\n"
    without = settled(serve(few, mpm=mpm, module=None))
    server = serve(few + NO_CLIENT, mpm=mpm)
    assert settled(server) == (without[0] + 1, *without[1:])  # the table
    answer = server.load()
    assert (answer.status, answer.log["verdict"], answer.log["portal"]) \
        == (200, "unknown", MEMBER_ID)
    server.graceful()
    assert not (server.root / "state").exists()
    assert not re.search("B24BG0[34]", server.error_log())
