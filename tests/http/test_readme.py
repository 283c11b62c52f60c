"""README.md keeps what it promises. Every fenced block in it carries a mark, <!-- checked: kind -->,
that says how it is checked here."""

import re
import shutil

import pytest
import samples
from httpd import ROOT, TWO_LOCATIONS, Httpd
from tree import make

README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"(?:<!-- checked: (\w+) -->\n)?```\w*\n(.*?)```\n", re.S)
BLOCKS = FENCE.findall(README)
SITE_HEADERS = """
Header set X-Frame-Options DENY
Header always set X-Frame-Options SAMEORIGIN
Header set Content-Security-Policy "frame-ancestors 'self'"
Header always set Content-Security-Policy "frame-ancestors 'none'"
"""


def blocks(kind):
    found = [text for mark, text in BLOCKS if mark == kind]
    assert found, f"no block is marked {kind}"
    return found


def lines(kind):
    return [line for block in blocks(kind) for line in block.splitlines() if line]


def test_every_block_is_checked():
    assert {mark for mark, _ in BLOCKS} == {"make", "configuration", "curl", "answer", "log",
                                            "framing"}


# Commands

def commands():
    return [part.split("#")[0].removeprefix("sudo ").split()
            for line in lines("make") for part in line.split(" && ")]


def test_the_commands_exist():
    for program, *arguments in commands():
        assert program in ("make", "a2enmod", "apachectl", "systemctl")
        assert program == "systemctl" or shutil.which(program)
        assert program == "make" or arguments in (["b24bg"], ["configtest"], ["reload", "apache2"])


def test_the_make_targets_exist():
    targets = set(re.findall(r"make -f Makefile\.apxs ([a-z]+)", README))
    assert {"run", "check", "install", "uninstall", "bench"} <= targets
    for target in targets:
        code, output = make("-n", target)
        assert code == 0, output


# Configuration

@pytest.mark.parametrize("text", blocks("configuration") + blocks("framing"),
                         ids=lambda text: text.split()[0])
def test_the_configuration_is_accepted(serve, text):
    status, headers, page = serve(text + TWO_LOCATIONS, modules=["headers"]).post(
        f"/b24/worker?{samples.NEW_QUERY}", samples.NEW_BODY)
    assert status == 200 and page


def test_the_two_locations_are_those_of_the_conf():
    conf = "\n".join(line for line in (ROOT / "conf" / "b24bg.conf").read_text().splitlines()
                     if line and not line.startswith("#"))
    assert blocks("configuration")[0].strip() == conf


def test_the_framing_block_helps(serve):
    for conf in (SITE_HEADERS + TWO_LOCATIONS + blocks("framing")[0],
                 TWO_LOCATIONS + blocks("framing")[0] + SITE_HEADERS):
        server = serve(conf, modules=["headers"])
        for headers in (server.load(ours=False).headers,
                        server.ask("GET", "/b24/worker", ours=False).headers):
            assert "X-Frame-Options" not in headers
            assert headers.get_all("Content-Security-Policy") \
                == ["frame-ancestors https://*.bitrix24.com"]
    headers = serve(SITE_HEADERS + TWO_LOCATIONS, modules=["headers"]).load(ours=False).headers
    assert "X-Frame-Options" in headers, "the module defends itself: README can say so"


def test_require_counts_in_the_location_only(serve):
    closed = '<{0} "{1}">\n    Require all denied\n</{0}>\n'
    assert serve(TWO_LOCATIONS + closed.format("Directory", "/")).load().status == 200
    server = serve(TWO_LOCATIONS + closed.format("Location", "/"))
    server.expect("AH01630")
    assert server.post("/b24/worker", "")[0] == 403
    server = serve(closed.format("Location", "/") + TWO_LOCATIONS
                   + '<Location "/b24/">\n    Require all granted\n</Location>\n')
    assert server.load().status == 200


# What it answers and logs

def test_the_answer_is_as_shown(serve):
    server = serve(TWO_LOCATIONS)
    command = lines("curl")[0].split()
    assert command[:2] == ["curl", "-sI"]
    target = command[2].removeprefix("https://worker.example.com")
    got = server.raw(f"HEAD {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    shown = lines("answer")
    assert [line for line in got.decode().splitlines() if line in shown] == shown


def without_the_moment(line):
    """The line without what differs each time it is produced."""
    for pattern, same in [(r"\[\w{3} \w{3} \d\d [\d:.]+ \d{4}\]", "[then]"),
                          (r"\[\d\d/\w{3}/\d{4}[\d: +-]+\]", "[then]"),
                          (r"\[pid \d+:tid \d+\]", "[pid]"), (r"(client [\d.]+):\d+", r"\1"),
                          (r"(mod_b24bg\w*\.c)\(\d+\)", r"\1")]:
        line = re.sub(pattern, same, line)
    return line


def test_the_log_lines_are_real(serve, tmp_path):
    formats = [line for line in lines("configuration") if line.startswith("LogFormat")]
    assert len(formats) == 1
    access_log = tmp_path / "access.log"
    server = serve(f'{TWO_LOCATIONS}{formats[0]}\nCustomLog "{access_log}" b24bg\n',
                   log_level="warn b24bg:debug")
    url = f"/b24/worker?{samples.NEW_QUERY}"
    assert server.post(url, samples.NEW_BODY)[0] == 200
    assert server.post(url, samples.body(PLACEMENT="DEFAULT"))[0] == 400
    assert server.post("/b24/error", samples.NOTICE_A)[0] == 200
    server.expect("B24BG0201")
    server.wait_for(lambda: access_log.read_text().count("\n") == 3, "log three requests")
    produced = {without_the_moment(line)
                for line in (server.error_log() + access_log.read_text()).splitlines()}
    for line in lines("log"):
        assert without_the_moment(line) in produced, "\n".join(sorted(produced))


REFUSALS = {
    "405 `method: is not allowed here`": ("DELETE", "?DOMAIN=a.b", "", samples.FORM),
    "403 `DOMAIN: is none of the portals served here`":
        ("POST", "?DOMAIN=else.example.com", samples.body(), samples.FORM),
    "415 `Content-Type: ": ("POST", "?DOMAIN=crm.example.com", "{}", "application/json"),
    "400 `DOMAIN: is missing from the query`": ("POST", "", samples.body(), samples.FORM),
    "400 `PLACEMENT: is not PAGE_BACKGROUND_WORKER`":
        ("POST", "?DOMAIN=crm.example.com", samples.body(PLACEMENT="DEFAULT"), samples.FORM),
}


def test_the_refusals_read_as_shown(serve):
    server = serve(TWO_LOCATIONS + "<B24bgApp a>\nB24bgPortals crm.example.com\n</B24bgApp>\n")
    for shown, (method, query, body, content_type) in REFUSALS.items():
        assert f"| {shown}" in README
        answer = server.ask(method, f"/b24/worker{query}", body, content_type)
        assert f"{answer.status} `{answer.text}".startswith(shown.removesuffix("`"))


def test_the_proxy_advice_helps(serve):
    assert '| `ProxyPass "/b24/" "!"` in front of it |' in README
    everything = 'ProxyPass "/" "http://127.0.0.1:1/"\n'
    server = serve(TWO_LOCATIONS + 'ProxyPass "/b24/" "!"\n' + everything,
                   modules=["proxy", "proxy_http"])
    assert server.load().status == 200


TWO_APPS = "<B24bgApp one>\n</B24bgApp>\n<B24bgApp two>\n</B24bgApp>\n"


@pytest.mark.parametrize("tag, conf", [
    ("B24BG0007", TWO_APPS + TWO_LOCATIONS),
    ("B24BG0006", TWO_LOCATIONS.replace("SetHandler", "B24bgUse three\n    SetHandler"))],
    ids=["two apps", "unknown app"])
def test_configtest_says_what_readme_says(tag, conf, tmp_path):
    code, output = Httpd(tmp_path / "server", conf).configtest()
    assert code == 1 and tag in output
    assert f"configtest: `{tag}`" in README
    assert tag != "B24BG0007" or "knows several apps" in output


# Lists

def names(pattern, path):
    return set(re.findall(pattern, (ROOT / path).read_text()))


def test_the_variables_are_all_of_them():
    written = names(r'"(b24bg-\w+)"', "mod_b24bg/mod_b24bg_status.c")
    assert written == set(re.findall(r"^\| `%\{(b24bg-\w+)\}n`", README, re.M))
    assert written == names(r"%\{(b24bg-\w+)\}n", "conf/b24bg.conf")


def test_the_directives_exist():
    known = names(r'AP_INIT_\w+\("<?(\w+)"', "mod_b24bg/mod_b24bg_config.c")
    for path in ("README.md", "CHANGELOG.md", "SECURITY.md"):
        assert names(r"\bB24bg[A-Z]\w+", path) <= known
    assert names(r"\bB24bg[A-Z]\w+", "CHANGELOG.md") == known


def test_the_packages_are_those_that_get_installed():
    script = (ROOT / "tests" / "packages").read_text()
    groups = re.findall(r'^(?:build|check|bench)="([^"]*)"', script, re.M)
    installed = {name for group in groups for name in group.split()}
    section = README.split("## What it needs")[1].split("## ")[0]
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|", section, re.M)
    named = {name for row in rows for name in re.findall("`([^`]+)`", row)}
    # libjansson4 comes with its -dev package; libcurl is for calls that nothing makes yet.
    assert named - {"libjansson4"} == installed - {"libcurl4-openssl-dev"}


def test_the_paths_exist():
    table = README.split("## For contributors")[1]
    paths = [path for row in re.findall(r"^\| (`[^|]*) \|", table, re.M)
             for path in re.findall("`([^`]+)`", row)]
    assert len(paths) > 5
    for path in paths + re.findall(r"\]\((\w+\.md)\)", README):
        assert list(ROOT.glob(path)), f"{path} does not exist"
