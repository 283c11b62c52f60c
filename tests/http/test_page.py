"""The page: reaches its load event before it fetches anything, and what an administrator can put
into it."""

import html
import html.parser
import os
import re
import time

import pytest
from conftest import MAIN, MODES, TAG
from httpd import PROBE_LOCATION
from samples import NEW_BODY, NEW_QUERY

BX24 = "https://api.bitrix24.com/api/v1/"
SCRIPTS = ["https://worker.example.com/js/phone.js", "/js/local.js",
           "https://cdn.example.com/a.js?x=1&y=2"]


def app(lines):
    return f"<B24bgApp one>\n{lines}\n</B24bgApp>\n{MAIN}"


def untagged(answer):
    """The page without the tag of its render."""
    return TAG.sub("", answer.text)


def unscripted(answer):
    """An own page without what the module adds to it."""
    text, count = re.subn(r"<script data-urls=.*?</script>\n", "", answer.text, flags=re.S)
    assert count == 1
    return text


class Markup(html.parser.HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.open = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts.append(data)


def check_markup(page):
    """Nothing in it makes the browser fetch or go anywhere by itself."""
    markup = Markup(page)
    for tag, attributes in markup.tags:
        assert tag in ("html", "head", "meta", "title", "body", "p", "script"), tag
        assert not set(attributes) & {"src", "href", "srcset", "action", "data", "poster", "style",
                                      "background", "http-equiv", "onload", "onerror"}
    for script in markup.scripts:
        assert "load" in script
        assert not re.search(r"location(?!\.href\.split)|document\.write|submit\(|open\(|history|eval",
                             script)
    return markup


def order(page, urls):
    """Where the URLs stand, in the page as the browser reads it."""
    text = html.unescape(page).replace("\\/", "/").replace(r"\u0026", "&").replace(r"\u0027", "'")
    positions = [text.find(url) for url in urls]
    assert -1 not in positions, text
    return positions


def test_built_in_page(server):
    page = server.load().text
    markup = check_markup(page)
    assert len(page) <= 2048 and page.startswith("<!DOCTYPE html>")
    assert ("meta", {"charset": "utf-8"}) in markup.tags
    assert "https:" not in page and "http:" not in page  # no script set: nothing to attach
    assert "xxx.bitrix24.com" not in page  # nothing of the request comes back


def test_nothing_of_the_request_is_in_the_page(server):
    """Two requests that share nothing get the same bytes."""
    other = ("member_id=" + "0" * 32 + "&PLACEMENT=PAGE_BACKGROUND_WORKER&PLACEMENT_OPTIONS="
             "%7B%22URI%22%3A%22<script>%22%7D")
    assert untagged(server.load(NEW_QUERY, NEW_BODY)) == untagged(
        server.load("DOMAIN=b.example&LANG=<b>", other))


# lines of the app: what is attached, in this order
ATTACHED = {
    "scripts": (f"B24bgScript {' '.join(SCRIPTS)}", [BX24, *SCRIPTS]),
    "scripts in lines": ("\n".join(f"B24bgScript {url}" for url in SCRIPTS), [BX24, *SCRIPTS]),
    "BX24 off": (f"B24bgScript {SCRIPTS[0]}\nB24bgBX24 off", SCRIPTS[:1]),
    "BX24 off before": (f"B24bgBX24 off\nB24bgScript {SCRIPTS[0]}", SCRIPTS[:1]),
    "BX24 alone": ("B24bgBX24 on", [BX24]),
    "BX24 elsewhere": (f"B24bgBX24 https://cdn.example.com/bx.js\nB24bgScript {SCRIPTS[0]}",
                       ["https://cdn.example.com/bx.js", SCRIPTS[0]]),
    "BX24 local": (f"B24bgBX24 /bx.js\nB24bgScript {SCRIPTS[0]}", ["/bx.js", SCRIPTS[0]]),
    "nothing": ("B24bgBX24 off", []),
    "no script": ("", []),
    "over http": ("B24bgAllowHTTP on\nB24bgBX24 off\nB24bgScript http://h.example/a.js",
                  ["http://h.example/a.js"]),
}


@pytest.mark.parametrize("name", ATTACHED)
def test_attached(serve, name):
    lines, urls = ATTACHED[name]
    page = serve(app(lines)).load().text
    check_markup(page)
    assert len(page) <= 2048
    positions = order(page, urls)
    assert positions == sorted(positions)
    found = re.findall(r"https?://[^\s\"'\\&,]+|/[\w/.]+\.js", html.unescape(page))
    assert len(found) == len(urls)


def test_page_is_not_compressed_wrongly(serve):
    """mod_deflate is on by default where mod_b24bg is installed: what it is told is the length of
    what is sent."""
    server = serve("AddOutputFilterByType DEFLATE text/html\n" + MAIN,
                   modules=["deflate", "filter"])
    plain = server.load()
    answer = server.load(headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in answer.headers and untagged(answer) == untagged(plain)
    assert int(answer.headers["Content-Length"]) == len(answer.body)


# A page of one's own

OWN = "<!DOCTYPE html><title>own</title><p>первая\n"
FEW = {"event": "StartServers 1\nServerLimit 1\nThreadsPerChild 25\nMaxRequestWorkers 25\n"
                "MinSpareThreads 1\n",
       "prefork": "StartServers 3\nMinSpareServers 1\nMaxSpareServers 3\nServerLimit 3\n"
                  "MaxRequestWorkers 3\n"}
FEW["worker"] = FEW["event"].replace("ServerLimit 1", "ServerLimit 2")
FEW["X"] = FEW["event"]


OWN_PAGE = app('B24bgPage "{root}/own.html"')


def write(server, text):
    """Replaces the page's file as an editor does."""
    (server.root / "own.new").write_text(text)
    (server.root / "own.new").rename(server.root / "own.html")


@pytest.fixture(params=MODES)
def own(serve, request):
    """A server with a page of its own, own.html."""
    return serve(FEW[request.param] + OWN_PAGE, files={"own.html": OWN}, **MODES[request.param])


def test_own_page(own):
    """A load gets it with the script that tells of the load at the end of its body."""
    load, look = own.load(), own.ask("GET", "/b24/worker")
    assert (unscripted(load), look.text) == (OWN, OWN)
    for answer in load, look:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def everywhere(server, text):
    """All children serve it: as many answers in a row as make a child that does not improbable."""
    return all(server.request("GET", "/b24/worker")[2].decode() == text for _ in range(20))


def test_own_page_is_read_again(own):
    """Changed, emptied, as large as it may be: served without a reload."""
    for text in "<p>second", "", "x" * 65536:
        write(own, text)
        own.wait_for(lambda: everywhere(own, text), "serve the changed page")


def test_own_page_of_the_same_size_and_time(own):
    """As a deployment leaves it that gives all files one time."""
    for text in "<p>first", "<p>other":
        (own.root / "own.new").write_text(text)
        os.utime(own.root / "own.new", (1700000000, 1700000000))
        (own.root / "own.new").rename(own.root / "own.html")
        own.wait_for(lambda: everywhere(own, text), "serve the changed page")


def test_own_page_is_not_served_half_written(own):
    """A file that is written in place, for as long as several looks at it."""
    whole = "".join(f"<p>{number}</p>\n" for number in range(80))
    with open(own.root / "own.html", "w") as file:
        for piece in whole.splitlines(keepends=True):
            assert own.request("GET", "/b24/worker")[2].decode() == OWN
            time.sleep(0.05)
            file.write(piece)
            file.flush()
    own.wait_for(lambda: everywhere(own, whole), "serve the whole page")


def test_own_page_vanishes(own):
    """The last page goes on, with one warning for each process; a new file is served again."""
    own.expect("own.html")
    os.unlink(own.root / "own.html")
    own.wait_for(lambda: "own.html" in own.error_log(), "log that the page is missing")
    assert everywhere(own, OWN)
    write(own, "<p>back")
    own.wait_for(lambda: everywhere(own, "<p>back"), "serve the page that came back")
    children = max(1, len(own.pids()) - 1)
    warnings = [line for line in own.tagged() if "b24bg:warn]" in line]
    assert 1 <= len(warnings) <= children
    assert all("own.html" in line and "app=one" in line for line in warnings)


@pytest.mark.parametrize("bad", ["too large", "folder", "UTF-16"])
def test_own_page_turns_bad(serve, bad):
    """What configtest would refuse does not take the place of a good page."""
    server = serve(FEW["event"] + OWN_PAGE, files={"own.html": OWN})
    server.expect("own.html")
    if bad == "folder":
        (server.root / "own.html").unlink()
        (server.root / "own.html").mkdir()
    elif bad == "UTF-16":
        write(server, "<\0p\0>\0")
    else:
        write(server, "x" * 65537)
    server.wait_for(lambda: "own.html" in server.error_log(), "log that the page is bad")
    assert everywhere(server, OWN)


def test_own_page_is_not_read_by_requests(own):
    """A page that changes without end, and requests meanwhile: each answer is one version."""
    versions = [f"<p>{letter * 5000}" for letter in "abcdef"]
    for turn in range(60):
        write(own, versions[turn % 6])
        answer = own.request("GET", "/b24/worker")
        assert answer[0] == 200 and answer[2].decode() in [OWN, *versions]


def test_scripts_beside_an_own_page(serve):
    """The page is served as it is: what to attach is its own affair."""
    server = serve(app('B24bgPage "{root}/own.html"\nB24bgScript /a.js\nB24bgBeacon off'),
                   files={"own.html": OWN})
    assert server.load().text == OWN


def test_two_own_pages(serve):
    """Of two apps, by paths relative to ServerRoot."""
    conf = PROBE_LOCATION + "".join(f"""
        <B24bgApp {name}>
            B24bgPage {name}.html
        </B24bgApp>
        <Location "/{name}">
            SetHandler b24bg-worker
            B24bgUse {name}
        </Location>""" for name in "ab")
    server = serve(conf, files={"a.html": "<p>1", "b.html": "<p>2"})
    assert server.ask("GET", "/a").text == "<p>1"
    assert server.ask("GET", "/b").text == "<p>2"
