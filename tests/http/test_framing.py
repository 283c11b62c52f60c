"""What a site sends with all its pages to keep them out of frames does not keep the worker out of
the portal's, and stays everywhere else."""

import pytest
from bitrix import ANYWHERE
from conftest import MAIN, MODES
from samples import NEW_BODY, NEW_QUERY, NOTICE_A, body

CSP = "Content-Security-Policy"
STRICT = ("default-src 'none'; script-src https://worker.example.com 'sha256-abc='; "
          "connect-src 'self'; upgrade-insecure-requests")

# The site's lines (mod_headers); what the notice line names; the policies that stay.
SITES = {
    "Debian's": (['Header set Content-Security-Policy "frame-ancestors \'self\';"'],
                 "frame-ancestors", []),
    "Debian's older one": (['Header set X-Content-Type-Options: "nosniff"',
                            'Header set X-Frame-Options: "sameorigin"'], "X-Frame-Options", []),
    "always": (["Header always set X-Frame-Options DENY"], "X-Frame-Options", []),
    "append": (["Header always append X-Frame-Options SAMEORIGIN"], "X-Frame-Options", []),
    "add": (["Header add X-Frame-Options DENY"], "X-Frame-Options", []),
    "setifempty": (["Header setifempty X-Frame-Options DENY"], "X-Frame-Options", []),
    "early": (["Header set X-Frame-Options DENY early"], "X-Frame-Options", []),
    "both": (["Header set X-Frame-Options DENY", "Header always set X-Frame-Options DENY"],
             "X-Frame-Options", []),
    "permissions": (['Header always set Permissions-Policy "microphone=(), camera=()"',
                     'Header set Feature-Policy "microphone \'none\'"'],
                    "Permissions-Policy, Feature-Policy", []),
    "ancestors alone": (['Header always set Content-Security-Policy "frame-ancestors \'none\'"'],
                        "frame-ancestors", []),
    "ancestors among others": (
        ["Header always set Content-Security-Policy "
         "\"default-src 'self'; frame-ancestors 'self' https://a.example; img-src *\""],
        "frame-ancestors", ["default-src 'self'; img-src *"]),
    "two policies": ([f'Header set Content-Security-Policy "{STRICT}"',
                      'Header add Content-Security-Policy "Frame-Ancestors \'none\'"'],
                     "frame-ancestors", [STRICT]),
    "strict": ([f'Header always set Content-Security-Policy "{STRICT}"'], None, [STRICT]),
    "everything": (["Header always set X-Frame-Options DENY",
                    'Header always set Permissions-Policy "geolocation=()"',
                    'Header always set Strict-Transport-Security "max-age=63072000"',
                    'Header always set X-Content-Type-Options "nosniff"',
                    "Header always set Content-Security-Policy "
                    "\"default-src 'self'; frame-ancestors 'none'\""],
                   "X-Frame-Options, Permissions-Policy, frame-ancestors", ["default-src 'self'"]),
    "nothing about frames": (['Header set Content-Security-Policy-Report-Only '
                              '"frame-ancestors \'none\'"', "Header always set X-Test yes"],
                             None, []),
}

# Where a site says so.
PLACES = {
    "server": lambda lines: MAIN + lines,
    "before the worker": lambda lines: lines + MAIN,
    "virtual host": lambda lines: f"<VirtualHost *>\n{MAIN}{lines}\n</VirtualHost>\n",
    "server of a virtual host": lambda lines: f"{lines}\n<VirtualHost *>\n{MAIN}</VirtualHost>\n",
    "Location": lambda lines: f'{MAIN}<Location "/">\n{lines}\n</Location>\n',
    "the worker's Location": lambda lines: f'{MAIN}<Location "/b24">\n{lines}\n</Location>\n',
    "If": lambda lines: f'{MAIN}<If "true">\n{lines}\n</If>\n',
}


def site(serve, conf, **more):
    return serve(conf, modules=["headers"], **more)


def policies(answer):
    """All Content-Security-Policy headers, in their order."""
    return answer.headers.get_all(CSP) or []


def forbidding(headers):
    """What of these headers keeps a page out of a frame, or a call out of the page."""
    found = [name for name in ("X-Frame-Options", "Permissions-Policy", "Feature-Policy")
             if name in headers]
    return found + ["frame-ancestors" for policy in headers.get_all(CSP) or []
                    if "frame-ancestors" in policy.lower()]


def notices(server):
    return [line for line in server.tagged("B24BG0107") if ":notice]" in line]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SITES)
def test_the_worker_can_be_framed(serve, name, place):
    lines, removed, kept = SITES[name]
    if "early" in lines[0] and place in ("Location", "the worker's Location", "If"):
        place = "server"  # `early` may not stand in a section
    server = site(serve, PLACES[place]("\n".join(lines)))
    for answer in (server.load(), server.ask("GET", "/b24/worker"),
                   server.ask("HEAD", "/b24/worker")):
        assert answer.status == 200
        assert not forbidding(answer.headers) and policies(answer) == kept
    if removed is None:
        assert not notices(server)
        return
    line, = notices(server)
    assert f'app=default headers="{removed}"' in line


@pytest.mark.parametrize("name", [name for name, (_, removed, _) in SITES.items() if removed])
def test_the_rest_of_the_site_stays_out_of_frames(serve, name):
    """Files, errors, and what of ours is no page; and nothing is told of it."""
    lines, _, _ = SITES[name]
    server = site(serve, PLACES["server"]("\n".join(lines)))
    server.expect("B24BG0201")
    (server.root / "htdocs" / "page.html").write_text("<p>page")
    others = [server.ask("GET", "/page.html", ours=False),
              server.ask("POST", "/b24/error", NOTICE_A, ours=False),
              server.ask("POST", "/b24/worker?b24bg=load", "x", ours=False)]
    for answer in others:
        assert answer.status < 300 and forbidding(answer.headers)
    if all("always" in line for line in lines):
        assert forbidding(server.ask("GET", "/none.html", ours=False).headers)
        assert forbidding(server.load("DOMAIN=", ours=False).headers)
    assert not notices(server)
    server.load()
    assert len(notices(server)) == 1


# Our own frame-ancestors

HARD = ("Header always set X-Frame-Options DENY\n"
        f'Header always set Content-Security-Policy "{STRICT}; frame-ancestors \'self\'"\n')


def test_any_portal_may_frame_it_where_none_is_named(serve):
    server = site(serve, MAIN + HARD)
    assert policies(server.load()) == [STRICT]


def test_the_patterns_may_frame_it(serve):
    server = site(serve, "<B24bgApp one>\nB24bgPortals *.bitrix24.com crm.example.com:8443\n"
                         "</B24bgApp>\n" + MAIN + HARD)
    for answer in server.load(), server.ask("GET", "/b24/worker"):
        assert policies(answer) == [
            STRICT, "frame-ancestors https://*.bitrix24.com:* https://crm.example.com:8443"]


def test_the_portal_that_proved_itself_may_frame_it(bitrix):
    server = bitrix.serve(MAIN + HARD + bitrix.conf(), modules=["headers"])
    portal = bitrix.add_portal()
    server.ask("POST", *bitrix.installation(portal, "event"), ours=False)
    server.wait_known(portal)
    assert policies(server.worker(portal)) == [STRICT, f"frame-ancestors {portal.url}"]
    assert policies(server.ask("GET", "/b24/worker")) == [STRICT, ANYWHERE]


@pytest.mark.parametrize("kind, kept", [("page", 0), ("event", 1)])
def test_the_installation_page_can_be_framed(bitrix, kind, kept):
    """It is shown in the portal, too; the answer to an event is no page."""
    server = bitrix.serve(MAIN + HARD + bitrix.conf(), modules=["headers"])
    portal = bitrix.add_portal()
    answer = server.ask("POST", *bitrix.installation(portal, kind), ours=False)
    assert answer.status == 200
    assert ("X-Frame-Options" in answer.headers) == kept
    assert ("frame-ancestors 'self'" in str(answer.headers)) == kept
    assert len(notices(server)) == 1 - kept
    server.wait_known(portal)


# Told once

@pytest.mark.parametrize("mode", MODES)
def test_it_is_told_once(serve, mode):
    """By one of all processes, and not again by the next generation."""
    server = site(serve, "StartServers 3\n" + MAIN + HARD, **MODES[mode])
    for how in (server.graceful, server.restart, None) if mode != "X" else (None,):
        for _ in range(30):
            assert server.post(f"/b24/worker?{NEW_QUERY}", NEW_BODY)[0] == 200
        if how:
            how()
    line, = notices(server)
    assert 'headers="X-Frame-Options, frame-ancestors"' in line


def test_it_is_told_of_each_app(serve):
    conf = HARD + "".join(f"""
        <B24bgApp {name}>
        </B24bgApp>
        <Location "/{name}">
            SetHandler b24bg-worker
            B24bgUse {name}
        </Location>
        """ for name in "ab")
    server = site(serve, conf)
    for name in "aabb":
        server.ask("POST", f"/{name}?DOMAIN=a.example", body())
    assert [line.split("app=")[1].split()[0] for line in notices(server)] == ["a", "b"]


def test_it_is_told_when_the_site_becomes_hard(serve):
    server = site(serve, MAIN)
    server.load()
    assert not notices(server)
    server.write_conf(MAIN + HARD)
    server.graceful()
    server.load()
    server.load()
    assert len(notices(server)) == 1
