"""Directives: every bad value stops configtest with the directive's name, the value, and what is
allowed; every good one passes; configtest leaves no file behind."""

import pytest
from httpd import PROBE_LOCATION, TWO_LOCATIONS, Httpd, app


@pytest.fixture
def configtest(tmp_path):
    """configtest(conf) -> (exit code, text), and no file is new afterwards."""
    def run(conf):
        server = Httpd(tmp_path / "root", conf)
        for name in ("page.html", "empty.html"):
            (server.root / name).write_text("<p>own</p>" if name == "page.html" else "")
        (server.root / "large.html").write_text("x" * 70000)
        (server.root / "alert").write_text("#!/bin/sh\n")
        (server.root / "alert").chmod(0o755)
        before = sorted(tmp_path.rglob("*"))
        code, text = server.configtest()
        assert sorted(tmp_path.rglob("*")) == before
        return code, text
    return run


def host(lines):
    return f"<VirtualHost *>\n{lines}\n</VirtualHost>\n"


LOCATION = '<Location "/w">\nSetHandler b24bg-worker\n</Location>\n'
URL = "https://worker.example.com/b24/worker"
CLIENT = "B24bgClient local.5f0c1d2e3a4b56.12345678\n"
USERS_255 = f"B24bgWorkerURL {'https://w.example.com/'.ljust(255 - len('?u=1234'), 'x')}\n"

GOOD = {
    "nothing": "",
    "two Locations": TWO_LOCATIONS,
    "an app": app("") + TWO_LOCATIONS,
    "everything": "B24bgMaxPortals 10\n" + app(f"""
        B24bgWorkerURL {URL}?u=5
        B24bgErrorURL https://worker.example.com/b24/error
        B24bgTitle "Telephony of Example Ltd"
        B24bgUsers 1 7
        B24bgUsers 42
        B24bgRebind on
        B24bgRebindBackoff 60s 6h 4
        B24bgSilence 30m
        B24bgAlertCmd alert one "two three" ""
        B24bgScript https://worker.example.com/a.js https://cdn.example.com/b.js
        B24bgScript /c.js
        B24bgBX24 on
        B24bgMaxBody 16384
        B24bgPortals *.bitrix24.ru crm.example.com
        B24bgPortals Portal.Example.com:8443
        B24bgBeacon slow
        B24bgSlowLimit 5s 10
        B24bgBudgetWarn 5 8
        B24bgAllowHTTP off
        B24bgPage page.html""") + TWO_LOCATIONS,
    "largest numbers": "B24bgMaxPortals 1048576\n" + app("B24bgMaxBody 1048576\n"
                                                         "B24bgSlowLimit 600s 1000000"),
    "smallest numbers": "B24bgMaxPortals 1\n" + app("B24bgMaxBody 16384\nB24bgSlowLimit 100ms 1"),
    "units": app("B24bgSlowLimit 1m 10") + app("B24bgSlowLimit 5000ms 10", "two")
             + app("B24bgSlowLimit 5 10", "three"),
    "name": app("", "a-z_0123456789-aaaaaaaaaaaaaaaaaa"[:32]),
    "name in quotes": '<B24bgApp "one">\n</B24bgApp>\n',
    "loopback": app("B24bgWorkerURL http://127.0.0.1:8424/w\nB24bgErrorURL http://localhost/e"),
    "http allowed": app("B24bgAllowHTTP on\nB24bgWorkerURL http://worker.example.com/w"),
    "http allowed below": app("B24bgWorkerURL http://worker.example.com/w\nB24bgAllowHTTP on"),
    "255 characters": app("B24bgWorkerURL https://w.example.com/".ljust(255 + 15, "x")),
    "200 characters": app("B24bgErrorURL https://w.example.com/".ljust(200 + 14, "x")),
    "longest title": app(f"B24bgTitle {'ж' * 255}"),
    "title with quotes": app("""B24bgTitle 'say "x" <&>'"""),
    "one user": app("B24bgUsers 1"),
    "largest user": app("B24bgUsers 2147483647"),
    "100 users": app("B24bgUsers " + " ".join(map(str, range(1, 101)))),
    "255 characters with a user": app(USERS_255 + "B24bgUsers 7 1234"),
    "users before the URL": app("B24bgUsers 1234\n" + USERS_255),
    "users without a URL": app(CLIENT + "B24bgUsers 1234"),
    "rebind off": app("B24bgRebind off"),
    "server status": "B24bgServerStatus on\n",
    "no server status": "B24bgServerStatus OFF\n",
    "status page": '<Location "/s">\nSetHandler b24bg-status\n</Location>\n',
    "status page and two apps": app("") + app("", "two") + """
        <Location "/s">\nSetHandler b24bg-status\n</Location>""",
    **{f"backoff {words}": app(f"B24bgRebindBackoff {words}")
       for words in ("0 0 1", "0 2s 24", "60 60 4", "24h 24h 1", "500ms 1440m 24")},
    **{f"silence {word}": app(f"B24bgSilence {word}")
       for word in ("off", "OFF", "1s", "1000ms", "90m", "24h")},
    **{f"beacon {word}": app(f"B24bgBeacon {word}") for word in ("off", "slow", "all", "ALL")},
    **{f"warnings at {words}": app(f"B24bgSlowLimit 5s 1000000\nB24bgBudgetWarn {words}")
       for words in ("1", "1000000", "1 2 3", " ".join(map(str, range(1, 17))),
                     "5\nB24bgBudgetWarn 8")},
    "command alone": app("B24bgAlertCmd alert"),
    "absolute command": app("B24bgAlertCmd {root}/alert you@example.com"),
    "command of the machine": app("B24bgAlertCmd /bin/sh -c true"),
    "client and both URLs": app(f"{CLIENT}B24bgWorkerURL {URL}\nB24bgErrorURL {URL}"),
    "client and no URL": app(CLIENT),
    "one URL and no client": app(f"B24bgWorkerURL {URL}"),
    "error URL and no client": app(f"B24bgErrorURL {URL}"),
    "BX24 off": app("B24bgScript /a.js\nB24bgBX24 off"),
    "BX24 elsewhere": app("B24bgBX24 https://cdn.example.com/bx24.js"),
    "empty page": app("B24bgPage empty.html"),
    "absolute page": app("B24bgPage {root}/page.html"),
    "two apps": app("") + app("", "two") + """
        <Location "/w1">\nSetHandler b24bg-worker\nB24bgUse one\n</Location>
        <Location "/w2">\nSetHandler b24bg-worker\nB24bgUse two\n</Location>""",
    "two apps, one Location used": app("") + app("", "two") + """
        <Location "/b24">\nB24bgUse two\n</Location>""",
    "an app in each host": host(app("") + LOCATION) + host(app("", "two") + LOCATION),
    "host uses the server's": app("") + host(LOCATION
                                              + '<Location "/v">\nB24bgUse one\n</Location>'),
    "Directory": app("") + app("", "two") + '<Directory "/srv">\nSetHandler b24bg-worker\n'
                                            'B24bgUse two\n</Directory>\n',
}


@pytest.mark.parametrize("name", GOOD)
def test_good(configtest, name):
    code, text = configtest(GOOD[name])
    assert (code, text) == (0, "Syntax OK\n")


# lines, and what the message must hold. The text of what is allowed is compared in its essence.

BAD = {
    # where a directive may stand
    **{f"{line.split()[0]} outside": (line, [line.split()[0], "<B24bgApp"]) for line in (
        f"B24bgWorkerURL {URL}", "B24bgErrorURL https://w.example.com/e", "B24bgScript /a.js",
        "B24bgBX24 on", "B24bgMaxBody 65536", "B24bgPage page.html", "B24bgPortals a.example",
        "B24bgSlowLimit 5s 10", "B24bgAllowHTTP on", "B24bgTitle x", "B24bgUsers 1",
        "B24bgRebind on", "B24bgRebindBackoff 60s 6h 4", "B24bgSilence 30m",
        "B24bgAlertCmd alert", "B24bgBeacon all", "B24bgBudgetWarn 5 8")},
    "in a Location": (f'<Location "/w">\nB24bgWorkerURL {URL}\n</Location>', ["B24bgWorkerURL"]),
    "B24bgMaxPortals in an app": (app("B24bgMaxPortals 10"), ["B24bgMaxPortals", "B24bgApp"]),
    "B24bgMaxPortals in a host": (host("B24bgMaxPortals 10"), ["B24bgMaxPortals", "<VirtualHost>"]),
    "B24bgMaxPortals in a Location": ('<Location "/w">\nB24bgMaxPortals 10\n</Location>',
                                      ["B24bgMaxPortals"]),
    "B24bgUse outside": (app("") + "B24bgUse one", ["B24bgUse", "<Location>"]),
    "B24bgUse in an app": (app("B24bgUse one"), ["B24bgUse", "<Location>"]),
    "app in a Location": ('<Location "/w">\n' + app("") + "</Location>", ["<B24bgApp"]),
    "app in an app": (app(app("", "two")), ["<B24bgApp"]),
    "SetHandler in an app": (app("SetHandler b24bg-worker"), ["SetHandler", "<B24bgApp"]),
    # names
    **{f"name {name}": (f'<B24bgApp "{name}">\n</B24bgApp>', ["<B24bgApp", name, "a-z", "32"])
       for name in ("One", "a b", "a.b", "a" * 33, "a/b", "")},
    "name ы": ('<B24bgApp "ы">\n</B24bgApp>', ["<B24bgApp", "a-z", "32"]),
    "no name": ("<B24bgApp>\n</B24bgApp>", ["<B24bgApp"]),
    "two names": ("<B24bgApp one two>\n</B24bgApp>", ["<B24bgApp"]),
    "never closed": ("<B24bgApp one>\n", ["<B24bgApp"]),
    "same name twice": (app("") + app(""), ["<B24bgApp", "one", "httpd.conf:"]),
    "same name in two hosts": (host(app("")) + host(app("")), ["<B24bgApp", "one", "httpd.conf:"]),
    "unknown app": ('<Location "/w">\nB24bgUse one\n</Location>',
                    ["B24bgUse", '"one"', "httpd.conf:"]),
    "app of another host": (host(app("")) + host('<Location "/w">\nB24bgUse one\n</Location>'),
                            ["B24bgUse", '"one"']),
    "which app": (app("") + app("", "two") + LOCATION, ["b24bg-worker", '"/w"', "B24bgUse"]),
    "which app, in a host": (app("") + host(app("", "two") + LOCATION), ['"/w"', "B24bgUse"]),
    "which app, in a LocationMatch": (app("") + app("", "two") +
                                      LOCATION.replace("Location", "LocationMatch"), ["B24bgUse"]),
    "which app, in a Directory": (app("") + app("", "two") + '<Directory "/srv">\n'
                                  "SetHandler b24bg-error\n</Directory>",
                                  ["b24bg-error", "B24bgUse"]),
    # URLs
    "http": (app("B24bgWorkerURL http://worker.example.com/w"),
             ["B24bgWorkerURL", '"http://worker.example.com/w"', "https", "B24bgAllowHTTP"]),
    "http error URL": (app("B24bgErrorURL http://worker.example.com/w"),
                       ["B24bgErrorURL", "https", "B24bgAllowHTTP"]),
    "like loopback": (app("B24bgWorkerURL http://127.0.0.1.example.com/w"), ["https"]),
    "http switched off again": (app("B24bgAllowHTTP on\nB24bgWorkerURL http://w.example.com/\n"
                                    "B24bgAllowHTTP off"), ["B24bgWorkerURL"]),
    "another scheme": (app("B24bgWorkerURL ftp://w.example.com/w"), ["B24bgWorkerURL", "https"]),
    "no scheme": (app("B24bgWorkerURL worker.example.com/w"), ["B24bgWorkerURL", "https"]),
    "path only": (app("B24bgWorkerURL /b24/worker"), ["B24bgWorkerURL", '"/b24/worker"', "https"]),
    "no host": (app("B24bgWorkerURL https:///b24/worker"), ["B24bgWorkerURL", "https"]),
    "user in URL": (app("B24bgWorkerURL https://u:p@w.example.com/"), ["B24bgWorkerURL"]),
    "blank in URL": (app('B24bgWorkerURL "https://w.example.com/a b"'), ["B24bgWorkerURL"]),
    "256 characters": (app("B24bgWorkerURL https://w.example.com/".ljust(256 + 15, "x")),
                       ["B24bgWorkerURL", "255"]),
    "201 characters": (app("B24bgErrorURL https://w.example.com/".ljust(201 + 14, "x")),
                       ["B24bgErrorURL", "200"]),
    "error URL with a query": (app("B24bgErrorURL https://w.example.com/e?x=1"),
                               ["B24bgErrorURL", '"https://w.example.com/e?x=1"', "query"]),
    "error URL with ?": (app("B24bgErrorURL https://w.example.com/e?"), ["B24bgErrorURL", "query"]),
    "worker URL with a fragment": (app(f'B24bgWorkerURL "{URL}#x"'),
                                   ["B24bgWorkerURL", f'"{URL}#x"', "#fragment"]),
    "error URL with a fragment": (app('B24bgErrorURL "https://w.example.com/e#x"'),
                                  ["B24bgErrorURL", "#fragment"]),
    "bad script": (app("B24bgScript a.js"), ["B24bgScript", '"a.js"', "https"]),
    "script of another scheme": (app("B24bgScript javascript:alert(1)"), ["B24bgScript", "https"]),
    "script of no scheme": (app("B24bgScript //cdn.example.com/a.js"), ["B24bgScript", "https"]),
    "script over http": (app("B24bgScript https://a.example/a.js http://b.example/b.js"),
                         ["B24bgScript", '"http://b.example/b.js"', "https"]),
    "script with markup": (app("""B24bgScript 'https://a.example/"></script>'"""), ["B24bgScript"]),
    "no script": (app("B24bgScript"), ["B24bgScript"]),
    "too many scripts": (app("\n".join(f"B24bgScript https://a.example/{'x' * 90}{i}.js"
                                       for i in range(20))), ["B24bgScript", "2048"]),
    "bad BX24": (app("B24bgBX24 maybe"), ["B24bgBX24", '"maybe"', "on", "off", "URL"]),
    "BX24 over http": (app("B24bgBX24 http://cdn.example.com/bx24.js"), ["B24bgBX24", "https"]),
    # the registration
    "no title": (app('B24bgTitle ""'), ["B24bgTitle", "one argument", "255"]),
    "title of two words": (app("B24bgTitle two words"), ["B24bgTitle", "one argument"]),
    "long title": (app(f"B24bgTitle {'ж' * 256}"), ["B24bgTitle", '"\\xd0\\xb6', "255"]),
    **{f"title {text!r}": (app(f'B24bgTitle "a{text}b"'), ["B24bgTitle", "control characters"])
       for text in ("\t", "\x1b[31m", "\x7f", "\x85")},
    **{f"user {value}": (app(f"B24bgUsers 5 '{value}'"),
                         ["B24bgUsers", f'"{value}"', "from 1 to 2147483647"])
       for value in ("0", "-1", "2147483648", "anna", "1,2", "7.5", "99999999999999999999")},
    "user twice": (app("B24bgUsers 5 7\nB24bgUsers 5"), ["B24bgUsers", '"5"', "once"]),
    "user twice, written otherwise": (app("B24bgUsers 5 005"), ["B24bgUsers", '"005"', "once"]),
    "101 users": (app("B24bgUsers " + " ".join(map(str, range(1, 102)))),
                  ["B24bgUsers", '"101"', "100"]),
    "no user": (app("B24bgUsers"), ["B24bgUsers"]),
    "256 characters with a user": (app(USERS_255 + "B24bgUsers 1234 12345"),
                                   ["B24bgUsers", '"12345"', "B24bgWorkerURL", "256", "255"]),
    "256 characters, URL last": (app("B24bgUsers 12345\n" + USERS_255), ["B24bgUsers", "255"]),
    "B24bgServerStatus in an app": (app("B24bgServerStatus on"),
                                    ["B24bgServerStatus", "B24bgApp"]),
    "B24bgServerStatus in a host": (host("B24bgServerStatus on"),
                                    ["B24bgServerStatus", "<VirtualHost>"]),
    "not a switch for server status": ("B24bgServerStatus full",
                                       ["B24bgServerStatus", '"full"', "on", "off"]),
    **{f"beacon {value!r}": (app(f'B24bgBeacon "{value}"'),
                             ["B24bgBeacon", f'"{value}"', "off, slow or all is allowed"])
       for value in ("on", "slow ", "1")},
    "beacon of two words": (app("B24bgBeacon slow all"), ["B24bgBeacon", "one argument"]),
    "no beacon": (app("B24bgBeacon"), ["B24bgBeacon", "one argument"]),
    **{f"warnings at {words}": (app(f"B24bgBudgetWarn {words}"),
                                ["B24bgBudgetWarn", f'"{culprit}"', allowed])
       for words, culprit, allowed in (
           ("0", "0", "from 1 to 1000000"), ("1000001", "1000001", "from 1 to 1000000"),
           ("-5", "-5", "from 1 to 1000000"), ("5 x", "x", "from 1 to 1000000"),
           ("5 5", "5", "larger than the one before"), ("8 5", "5", "larger than the one before"),
           ("5\nB24bgBudgetWarn 4", "4", "larger than the one before"),
           (" ".join(map(str, range(1, 18))), "17", "at most 16 numbers"))},
    "no warning": (app("B24bgBudgetWarn"), ["B24bgBudgetWarn"]),
    "not a switch for rebind": (app("B24bgRebind often"), ["B24bgRebind", '"often"', "on", "off"]),
    **{f"backoff {words}": (app(f"B24bgRebindBackoff {words}"),
                            ["B24bgRebindBackoff", f'"{words}"', *allowed])
       for words, *allowed in (
           ("-1s 6h 4", "first delay", "0ms", "86400s"), ("25h 25h 4", "first delay", "86400s"),
           ("soon 6h 4", "first delay"), ("60s 59s 4", "longest delay", "60000ms", "86400s"),
           ("60s 25h 4", "longest delay", "86400s"), ("60s 1d 4", "longest delay"),
           ("60s 6h 0", "from 1 to 24"), ("60s 6h 25", "from 1 to 24"),
           ("60s 6h x", "from 1 to 24"))},
    **{f"backoff of {len(words.split())}": (app(f"B24bgRebindBackoff {words}"),
                                            ["B24bgRebindBackoff", "three arguments"])
       for words in ("60s", "60s 6h", "60s 6h 4 5")},
    **{f"silence {value}": (app(f"B24bgSilence {value}"),
                            ["B24bgSilence", f'"{value}"', "off", "1000ms", "86400s"])
       for value in ("0", "999ms", "25h", "on", "30x", "-5m")},
    **{f"command {name}": (app(f"B24bgAlertCmd {name} s3cret-argument"),
                           ["B24bgAlertCmd", f'{name.removeprefix("{root}")}": ', "executable file",
                            "ServerRoot"])
       for name in ("nowhere", "htdocs", "page.html", "{root}/nowhere", "{root}/page.html",
                    "alert/x", "sh")},
    "no command": (app("B24bgAlertCmd"), ["B24bgAlertCmd", "argument"]),
    "empty command": (app('B24bgAlertCmd "" x'), ["B24bgAlertCmd", '""', "executable file"]),
    **{f"client without B24bg{missing}URL": (
        app(f"{CLIENT}B24bg{given}URL {URL}"),
        ["<B24bgApp", '"one"', f"B24bg{missing}URL is missing", "B24bgClient"])
       for given, missing in (("Worker", "Error"), ("Error", "Worker"))},
    "client last": (app(f"B24bgWorkerURL {URL}\n{CLIENT}"), ["B24bgErrorURL is missing"]),
    # numbers
    **{f"{directive} {form.format(value)}": (
        app(f"{directive} {form.format(value)}") if directive != "B24bgMaxPortals" else
        f"{directive} {value}", [directive, f'"{form.format(value)}"', least, most])
       for directive, form, least, most, values in (
           ("B24bgMaxBody", "{}", "16384", "1048576",
            ("12", "16383", "1048577", "-1", "64K", "1e5", "0x10000", "99999999999999999999", "a")),
           ("B24bgMaxPortals", "{}", "1", "1048576", ("0", "1048577", "-5", "many", "10k")),
           ("B24bgSlowLimit", "{} 10", "100ms", "600s",
            ("0", "5d", "99ms", "601s", "-5s", "s", "5_s", "99999999999999999h")),
           ("B24bgSlowLimit", "5s {}", "1", "1000000", ("0", "ten", "1000001")))
       for value in values},
    "half a limit": (app("B24bgSlowLimit 5s"), ["B24bgSlowLimit"]),
    "not a switch": (app("B24bgAllowHTTP perhaps"), ["B24bgAllowHTTP", '"perhaps"', "on", "off"]),
    # portals
    **{f"pattern {pattern}": (app(f"B24bgPortals a.example '{pattern}'"),
                              ["B24bgPortals", f'"{pattern}"', "*."])
       for pattern in ("https://a.example", "*", "a.*", "*.*.example", "a..example", ".example",
                       "a.example:0", "a.example:x", "a.example/x", "a example", "*.", "a.example.",
                       "a;b", "a.example:99999", "x" * 254)},
    "no pattern": (app("B24bgPortals"), ["B24bgPortals"]),
    # pages
    "missing page": (app("B24bgPage nowhere.html"), ["B24bgPage", '"nowhere.html"', "file"]),
    "page is a folder": (app("B24bgPage htdocs"), ["B24bgPage", '"htdocs"', "file"]),
    "large page": (app("B24bgPage large.html"), ["B24bgPage", '"large.html"', "65536"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(configtest, name):
    conf, fragments = BAD[name]
    code, text = configtest(conf)
    assert code == 1, text
    assert all(fragment in text for fragment in fragments), text
    assert "Syntax OK" not in text and "s3cret" not in text


WARNED = {
    "script": ('<SCRIPT async\n src="a.js"></SCRIPT>', "<script src>"),
    "stylesheet": ("<link href=a.css rel='stylesheet'>", "stylesheet"),
    "image": ("<p><img src=a.png>", "<img>"),
    "frame": ("<iframe srcdoc=x></iframe>", "<iframe>"),
    "refresh": ('<meta http-equiv="refresh" content="9">', "refresh"),
}


@pytest.mark.parametrize("name", WARNED)
def test_page_that_delays_load(configtest, tmp_path, name):
    html, fragment = WARNED[name]
    (tmp_path / "own.html").write_text(html)
    code, text = configtest(app(f'B24bgPage "{tmp_path}/own.html"') + TWO_LOCATIONS)
    assert code == 0 and text.endswith("Syntax OK\n")
    for expected in "B24bgPage", f"{tmp_path}/own.html", "one", fragment, "load":
        assert expected in text


def test_warnings_that_come_too_late(configtest):
    code, text = configtest(app("B24bgSlowLimit 5s 3\nB24bgBudgetWarn 2 5"))
    assert code == 0 and text.endswith("Syntax OK\n")
    assert "B24BG0015: B24bgBudgetWarn 5 of app=one is above the 3 slow loads" in text


HARMLESS = ["<p>own</p>", "<script>var a = 1 < 2;</script>", "<!-- <img src=x> -->", "<imgs>",
            "<meta charset=utf-8>", "<link rel=icon href=data:,>", "<p data-src=x>"]


@pytest.mark.parametrize("html", HARMLESS)
def test_page_that_does_not(configtest, tmp_path, html):
    (tmp_path / "own.html").write_text(html)
    assert configtest(app(f'B24bgPage "{tmp_path}/own.html"')) == (0, "Syntax OK\n")


def test_many_apps(configtest):
    """63 are good; one more says so."""
    sixty_three = "".join(app("", f"a{i}") for i in range(63))
    assert configtest(sixty_three)[0] == 0
    code, text = configtest(sixty_three + app(""))
    assert code == 1 and "<B24bgApp" in text and "63" in text


def test_bad_configuration_keeps_a_running_server_from_nothing(serve):
    """`apachectl graceful` tests first; here it is seen that the test tells the truth beside a
    running server, and that the server goes on."""
    server = serve(PROBE_LOCATION + TWO_LOCATIONS)
    server.write_conf(PROBE_LOCATION + TWO_LOCATIONS + "B24bgMaxPortals 0\n")
    assert server.configtest()[0] == 1
    assert server.request("GET", "/b24/worker")[0] == 200
    server.write_conf(PROBE_LOCATION + TWO_LOCATIONS + "B24bgMaxPortals 5\n")
    assert server.configtest() == (0, "Syntax OK\n")
