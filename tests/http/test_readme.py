"""README.md keeps what it promises. Every fenced block in it carries a mark, <!-- checked: kind -->,
that says how it is checked here."""

import json
import os
import pathlib
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
import samples
from conftest import TAG
from httpd import BUILD, PATIENCE, ROOT, TWO_LOCATIONS, Httpd, running_as_root
from tree import here, make  # noqa: F401

sys.path.insert(0, str(ROOT / "tests"))
from portal import Simulator  # noqa: E402

README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"(?:<!-- checked: ([\w ]+) -->\n)?```\w*\n(.*?)```\n", re.S)
BLOCKS = FENCE.findall(README)
SITE_HEADERS = """
Header always set X-Frame-Options SAMEORIGIN
Header set Content-Security-Policy "frame-ancestors 'self'"
"""


def blocks(kind):
    found = [text for mark, text in BLOCKS if mark == kind]
    assert found, f"no block is marked {kind}"
    return found


def lines(kind):
    return [line for block in blocks(kind) for line in block.splitlines() if line]


def test_every_block_is_checked():
    assert {mark for mark, _ in BLOCKS} == {
        "make", "packages", "shell", "ctl", "ctl output", "configuration", "database",
        "curl", "answer", "log", "portal log", "prometheus", "monitor", "chat"}


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

def installed_before(text):
    """What stands above this block about programs to be put into /etc."""
    above = [block for mark, block in BLOCKS[:[block for _, block in BLOCKS].index(text)]
             if mark == "shell"]
    return [line for block in above for line in block.splitlines()
            if line.startswith("sudo install -m 755 conf/")]


@pytest.mark.parametrize("text", blocks("configuration"),
                         ids=lambda text: text.split()[0])
def test_the_configuration_is_accepted(here, serve, text):  # noqa: F811
    """By who has followed README in its order, and got as far as this."""
    for command in installed_before(text):
        shell(here(command))
    conf = here(f"B24bgStateDir /var/lib/b24bg\n{text}{TWO_LOCATIONS}")
    status, headers, page = serve(conf).post(
        f"/b24/worker?{samples.NEW_QUERY}", samples.NEW_BODY)
    assert status == 200 and page


def test_the_two_locations_are_those_of_the_conf():
    conf = "\n".join(line for line in (ROOT / "conf" / "b24bg.conf").read_text().splitlines()
                     if line and not line.startswith("#"))
    assert blocks("configuration")[0].strip() == conf


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
                          (r"(mod_b24bg\w*\.c)\(\d+\)", r"\1"),
                          (r"(crm\.example\.com):\d+", r"\1"),
                          (r"(the store is down: )[^;]+", r"\1why"),
                          (r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", "then"), (" +", " "),
                          (r"then \d+ \d+m", "then some"), (r"loads=\d+ ran", "loads=n ran")]:
        line = re.sub(pattern, same, line)
    return line


def test_the_log_lines_are_real(serve, tmp_path):
    formats = [line for line in lines("configuration") if line.startswith("LogFormat")]
    assert len(formats) == 1
    access_log = tmp_path / "access.log"
    server = serve(f'{SITE_HEADERS}{TWO_LOCATIONS}{formats[0]}\nCustomLog "{access_log}" b24bg\n',
                   modules=["headers"], log_level="warn b24bg:debug")
    server.expect("B24BG0201|B24BG0108")
    url = f"/b24/worker?{samples.NEW_QUERY}"
    for _ in range(5):
        tag = TAG.search(server.post(url, samples.NEW_BODY)[2].decode())[1]
        assert server.post("/b24/worker?b24bg=load", f"tag={tag}&ms=6120")[0] == 204
    assert server.post(url, samples.body(PLACEMENT="DEFAULT"))[0] == 400
    assert server.post("/b24/error", samples.NOTICE_A)[0] == 200
    server.wait_for(lambda: access_log.read_text().count(" app=default ") == 12,
                    "log all requests")
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
    "403 `member_id: ":
        ("POST", "?DOMAIN=crm.example.com", samples.body(), samples.FORM),
}


def test_the_refusals_read_as_shown(serve):
    server = serve(TWO_LOCATIONS + "<B24bgApp a>\nB24bgPortals crm.example.com\n"
                   "B24bgVerify strict\n</B24bgApp>\n")
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
    ("B24BG0014", '<Location "/b24/install">\n    SetHandler b24bg-install\n</Location>\n'),
    ("B24BG0006", TWO_LOCATIONS.replace("SetHandler", "B24bgUse three\n    SetHandler"))],
    ids=["two apps", "no client", "unknown app"])
def test_configtest_says_what_readme_says(tag, conf, tmp_path):
    code, output = Httpd(tmp_path / "server", conf).configtest()
    assert code == 1 and tag in output
    assert f"configtest: `{tag}`" in README
    assert tag != "B24BG0007" or "knows several apps" in output


# Portals

CTL = BUILD / "b24bgctl"
USER = "www-data" if running_as_root() else pwd.getpwuid(os.geteuid()).pw_name
SHELL = f"""
PATH={BUILD}:$PATH
sudo() {{
    if [ "$1" != -u ]; then
        "$@"
    elif [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$2" --regid="$2" --clear-groups -- "${{@:3}}"
    else
        "${{@:3}}"
    fi
}}
editor() {{ echo a-secret >"$1"; }}
"""


def shell(text):
    """Runs commands of README; what they printed."""
    run = subprocess.run(["bash", "-euo", "pipefail", "-c", SHELL + text], text=True, cwd=ROOT,
                         capture_output=True, timeout=PATIENCE)
    assert run.returncode == 0, text + run.stdout + run.stderr
    return run.stdout


class Telephony:
    """README's application, served to a simulated Bitrix24 with a portal of that name."""

    def __init__(self, bitrix, serve, here):  # noqa: F811
        self.bitrix, self.serve, self.here = bitrix, serve, here
        self.text = next(text for text in blocks("configuration") if "b24bg-install" in text)
        client_id = re.search(r"B24bgClient +(\S+)", self.text)[1]
        self.app = bitrix.add_app(client_id, scope=("placement",))
        self.portal = bitrix.add_portal(host="crm.example.com", member_id=samples.MEMBER_ID)
        self.server = None

    def conf(self, store=""):
        more = f"    B24bgAllowHTTP on\n    B24bgAuthServer {self.portal.oauth.url}\n</B24bgApp>"
        return self.here(f"B24bgStateDir /var/lib/b24bg\n{store}" + TWO_LOCATIONS
                         + self.text.replace("</B24bgApp>", more))

    def start(self, store=""):
        self.server = self.serve(self.conf(store), log_level="warn b24bg:info")
        return self.server

    def install(self, portal=None, change=("", "")):
        """Sends the event; the status of the answer."""
        message = self.bitrix.send_install(portal or self.portal, self.app, "http://h/b24/install",
                                           drop=True).message
        return self.server.post("/b24/install", message.body.decode().replace(*change))[0]

    def load(self, **fields):
        message = self.bitrix.worker(self.portal, self.app, "http://h/b24/worker", **fields)
        return self.server.post(message.target, message.body)

    def knows(self):
        return self.load(application_token="0" * 32)[0] == 403

    def installed(self):
        assert self.install() == 200
        self.server.wait_for(self.knows, "know the portal")

    def logged(self, tag):
        self.server.wait_for(lambda: self.server.tagged(tag), f"log {tag}")

    def run(self, text):
        """Commands of README, on this server in place of the machine's Apache."""
        for part in re.split(r"^(sudo systemctl .*)\n", self.here(text), flags=re.M):
            if part == "sudo systemctl stop apache2":
                self.server.stop()
            elif part == "sudo systemctl start apache2":
                self.server.start()
            else:
                assert "systemctl" not in part
                shell(part)


@pytest.fixture
def telephony(here, serve):  # noqa: F811
    with Simulator() as bitrix:
        yield Telephony(bitrix, serve, here)


def shell_block(holding):
    found = [text for text in blocks("shell") if holding in text]
    assert len(found) == 1
    return found[0]


def test_the_shell_blocks_are_all_run():
    assert len(blocks("shell")) == len({shell_block(what) for what in (
        "telephony.secret", ".dump |", "rm -f", "psql", "alert-mail", "rules.yml")})


def test_the_secret_file_is_taken(telephony, tmp_path):
    path = pathlib.Path(telephony.here("/etc/apache2/b24bg/telephony.secret"))
    shutil.rmtree(path.parent)
    telephony.run(shell_block("telephony.secret"))
    assert path.read_text() == "a-secret\n" and stat.S_IMODE(path.stat().st_mode) == 0o600
    (path.parent / "proxy-ca.pem").touch()
    server = Httpd(tmp_path / "server", telephony.conf())
    assert server.configtest()[0] == 0
    path.chmod(0o604)
    code, output = server.configtest()
    assert code == 1 and "B24bgClient" in output and "chmod o-rwx" in output


def test_the_portal_log_lines_are_real(telephony, postgres):  # noqa: F811
    telephony.text = telephony.text.replace("</B24bgApp>", "    B24bgBeacon all\n</B24bgApp>")
    server = telephony.start(store=f"{postgres.conf}\n")
    server.expect("B24BG0330")
    telephony.installed()
    telephony.logged("B24BG0308")
    server.wait_for(lambda: telephony.load()[0] == 200 and server.tagged("B24BG0330"),
                    "see that no page runs")
    other = telephony.bitrix.add_portal(host="crm.example.com",
                                        member_id="0123456789abcdef0123456789abcdef")
    assert telephony.install(other, ("access_token%5D=", "access_token%5D=x")) == 200
    telephony.logged("B24BG0305")
    answer = telephony.load(application_token="0" * 32)
    assert f"| {answer[0]} `{answer[2].decode().strip()}` |" in README
    message = telephony.bitrix.uninstall(telephony.portal, telephony.app, "http://h/b24/install",
                                         drop=True).message
    assert server.post("/b24/install", message.body)[0] == 200
    telephony.logged("B24BG0310")
    server.expect("B24BG0203")
    assert server.post("/b24/error", samples.NOTICE_A)[0] == 200

    server.expect("B24BG0301|B24BG0302|B24BG0104")
    postgres.stop()
    telephony.logged("B24BG030[12]")
    journal = pathlib.Path(telephony.here("/var/lib/b24bg/journal"))
    os.truncate(journal, 64 * 1024 * 1024)  # as large as it may be
    message = telephony.bitrix.send_install(other, telephony.app, "http://h/b24/install",
                                            drop=True).message
    status, _, text = server.post("/b24/install", message.body)
    assert f"| {status} `{text.decode().strip()}` |" in README
    telephony.logged("B24BG0104")
    os.truncate(journal, 0)
    postgres.start()
    telephony.logged("B24BG0303")

    produced = {without_the_moment(line.replace(str(journal), "/var/lib/b24bg/journal"))
                for line in server.tagged()}
    for line in lines("portal log"):
        assert without_the_moment(line) in produced, "\n".join(sorted(produced))


def test_the_reasons_of_refusal_are_those_of_the_code():
    section = README.split("| `error=` in `B24BG0305` | why |")[1].split("\n\n")[0]
    shown = set(re.findall(r"^\| `(\w+)`", section, re.M)) - {"invalid_client"}
    code = "".join((ROOT / "mod_b24bg" / name).read_text()
                   for name in ("b24bg_task_install.c", "b24bg_rest_oauth.c"))
    assert "foreign" in shown and all(f'"{reason}"' in code for reason in shown)


def section(title):
    return README.split(f"### {title}\n")[1].split("\n### ")[0]


def first_cells(text):
    return re.findall(r"^\| `([\w-]+)` \|", text, re.M)


def test_the_reasons_of_blocked_are_those_of_the_code():
    header = (ROOT / "include" / "b24bg_registration.h").read_text()
    reasons = header.split("B24BG_REGISTRATION_REASONS(X)")[1].split("\n\n")[0]
    assert first_cells(section("Blocked")) \
        == re.findall(r'X\(\w+, "([\w-]+)"\)', reasons)


# The alert command

ALERT = ROOT / "conf" / "b24bg-alert-mail"
TEXTS = ["you@example.com", "disabled", "telephony", samples.MEMBER_ID, "crm.example.com",
         "the worker was switched off; $(false) `false` \\n ж"]


class Mails:
    """A sendmail that keeps what it gets."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o777)
        self.program("#!/bin/sh\necho \"$@\" >{0}/arguments\ncat >{0}/mail\n".format(folder))

    def program(self, text):
        (self.folder / "sendmail").write_text(text)
        (self.folder / "sendmail").chmod(0o755)

    @property
    def path(self):
        """As the module sets it, with this sendmail in front."""
        code = (ROOT / "mod_b24bg" / "b24bg_alert.c").read_text()
        return f"{self.folder}:" + re.search(r'"PATH=([^"]+)"', code)[1]

    def run(self, *texts):
        """As the module runs it."""
        return subprocess.run([ALERT, *texts], cwd="/", stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
                              env={"PATH": self.path, "LANG": "C.UTF-8"})

    def taken(self):
        """(arguments, head, body) of the only mail"""
        arguments = (self.folder / "arguments").read_text().split()
        head, _, body = (self.folder / "mail").read_text().partition("\n\n")
        return arguments, dict(line.split(": ", 1) for line in head.splitlines()), body


@pytest.fixture
def mails(here):  # noqa: F811
    return Mails(pathlib.Path(here("/etc/apache2/b24bg")).parent / "bin")


def test_the_events_are_those_of_the_script():
    known = re.findall(r"^([a-z-]+)\) what=", ALERT.read_text(), re.M)
    assert first_cells(section("The alert command")) == known and len(known) == 7


def test_the_alert_command_can_be_tried(telephony, mails, monkeypatch):
    copy = pathlib.Path(telephony.here("/etc/apache2/b24bg/b24bg-alert-mail"))
    monkeypatch.setenv("PATH", mails.path)
    telephony.run(shell_block("alert-mail"))
    assert copy.read_bytes() == ALERT.read_bytes()
    arguments, head, body = mails.taken()
    assert arguments == ["-i", "you@example.com"] and head["To"] == "you@example.com"
    assert head["Subject"] == "b24bg disabled: telephony at crm.example.com"
    assert samples.MEMBER_ID in body and "\nonly a trial\n" in body


def test_the_alert_mail_holds_what_it_was_told(mails):
    done = mails.run(*TEXTS)
    assert (done.returncode, done.stdout) == (0, "")
    _, head, body = mails.taken()
    assert head["Content-Type"] == "text/plain; charset=utf-8"
    assert all(text in body for text in TEXTS[1:])
    assert "Bitrix24 has deleted the registration" in body
    assert mails.run(TEXTS[0], "never-heard-of", *TEXTS[2:]).returncode == 0
    assert "never-heard-of" in mails.taken()[1]["Subject"]


def test_an_alert_mail_that_fails_is_tried_again(mails):
    """By the exit code, with a reason for the error log."""
    mails.program("#!/bin/sh\necho mail system is down >&2\nexit 75\n")
    done = mails.run(*TEXTS)
    assert (done.returncode, done.stdout) == (75, "mail system is down\n")
    (mails.folder / "sendmail").unlink()
    done = mails.run(*TEXTS)
    assert done.returncode == 127 and "sendmail" in done.stdout
    done = mails.run(*TEXTS[:5])
    assert done.returncode == 3 and "usage: " in done.stdout


@pytest.mark.parametrize("mode", ["known", "strict", "off"])
def test_who_gets_the_page(telephony, mode):
    row = re.search(rf"^\| `{mode}`[^|]*\|(.*)\|$", README, re.M)[1].split("|")
    telephony.text = telephony.text.replace("</B24bgApp>", f"    B24bgVerify {mode}\n</B24bgApp>")
    server = telephony.start()
    assert telephony.install() == 200
    telephony.logged("B24BG0308")
    if mode != "off":
        server.wait_for(lambda: telephony.knows() and telephony.load()[0] == 200, "know the portal")
    unknown = server.post(f"/b24/worker?{samples.NEW_QUERY}", samples.body(member_id="0" * 32))[0]
    wrong = {telephony.load(application_token="0" * 32)[0], telephony.load(generation="old")[0]}
    assert len(wrong) == 1
    words = {200: "page", 403: "403"}
    assert [words[status] for status in (telephony.load()[0], *wrong, unknown)] \
        == [cell.strip() for cell in row]


def test_the_ctl_commands_work(telephony):
    """With an application that is registered, at a portal that can be reached."""
    name, telephony.portal = telephony.portal.host, telephony.bitrix.add_portal()
    urls = re.findall(r"^ +B24bg(?:Worker|Error)URL .*\n",
                      next(text for text in blocks("configuration") if "WorkerURL" in text), re.M)
    assert len(urls) == 2
    telephony.text = (telephony.text.replace("</B24bgApp>", "".join(urls) + "</B24bgApp>")
                      .replace(name, telephony.portal.host))
    server = telephony.start()
    telephony.installed()
    telephony.logged("B24BG0320")
    server.expect("B24BG0203")
    state = telephony.here("--state-dir /var/lib/b24bg")
    for line in lines("ctl"):
        line = line.replace("https://worker.example.com", f"http://127.0.0.1:{server.port}")
        if line.startswith("sudo "):
            line = line.replace(name, telephony.portal.domain)
        output = shell(f"{line} {state}" if line.startswith("sudo ") else line)
        if "--json" in line:
            assert json.loads(output)[0]["domain"] == telephony.portal.domain
        if "forget" in line:
            server.wait_for(lambda: not telephony.knows(), "forget the portal")
    telephony.logged("B24BG0305")
    commands = {tuple(line.removeprefix("sudo ").split()[1:3])
                for line in lines("ctl") if "simulate" in line}
    assert commands == {("simulate", kind) for kind in ("load", "notice", "install")}
    for line in lines("ctl"):
        words = shlex.split(line.removeprefix("sudo "))
        assert words[0] == "b24bgctl" and words[1] in (
            "status", "portals", "bind", "unbind", "rebind", "forget", "check", "simulate")


def test_the_ctl_output_is_real(telephony):
    server = telephony.start()
    telephony.installed()
    assert telephony.load()[0] == 200
    server.stop()  # keeps the loads at once
    output = shell(telephony.here("sudo b24bgctl portals --state-dir /var/lib/b24bg"))
    assert list(map(without_the_moment, output.splitlines())) \
        == list(map(without_the_moment, lines("ctl output")))


def test_backup_and_restore(telephony):
    server = telephony.start()
    telephony.installed()
    telephony.run(shell_block(".dump |"))
    copy = pathlib.Path(telephony.here("/var/backups/b24bg.sql"))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    shell(telephony.here("b24bgctl forget telephony " + telephony.portal.domain
                         + " --state-dir /var/lib/b24bg"))
    server.wait_for(lambda: not telephony.knows(), "forget the portal")
    telephony.run(shell_block("rm -f"))
    server.wait_for(telephony.knows, "know the portal again")
    assert telephony.load()[0] == 200
    for name in "b24bg.db", "b24bg.db-wal":
        info = pathlib.Path(telephony.here(f"/var/lib/b24bg/{name}")).stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o600, pwd.getpwnam(USER).pw_uid)


def test_from_sqlite_to_postgresql(telephony, postgres):  # noqa: F811
    server = telephony.start()
    telephony.installed()
    host, port, user, password = (re.search(rf"\b{name}=(\S+)", postgres.params)[1]
                                  for name in ("host", "port", "user", "password"))
    passfile = pathlib.Path(telephony.here("/etc/apache2/b24bg/pgpass"))
    passfile.write_text(f"{host}:{port}:{postgres.database}:{user}:{password}\n")
    passfile.chmod(0o600)
    shutil.chown(passfile, USER)

    def ours(text):
        shown = "host=db.example.com dbname=b24bg user=b24bg "
        assert shown in text
        return text.replace(shown, f"host={host} port={port} dbname={postgres.database} "
                                   f"user={user} ")

    conf = telephony.conf(store=ours(blocks("database")[0]))
    head, tail = ours(shell_block("psql")).split("sudo systemctl start apache2")
    assert not tail.strip()
    telephony.run(head)
    server.write_conf(conf)
    server.start()
    server.wait_for(telephony.knows, "know the portal again")
    assert telephony.load()[0] == 200
    assert postgres.rows("SELECT COUNT(*) FROM b24bg_events WHERE what = 'installed'") == [("1",)]
    old = pathlib.Path(telephony.here("/var/lib/b24bg/b24bg.db"))
    old.unlink()
    second = telephony.bitrix.add_portal(host="crm.example.com")
    telephony.install(second)
    server.wait_for(lambda: len(postgres.rows("SELECT 1 FROM b24bg_portals")) == 2,
                    "store another portal")
    # Numbered behind those that were taken along, or other machines would not see it.
    assert postgres.rows("SELECT COUNT(DISTINCT change) FROM b24bg_portals") == [("2",)]


# Lists

def names(pattern, path):
    return set(re.findall(pattern, (ROOT / path).read_text()))


def test_the_variables_are_all_of_them():
    written = names(r'"(b24bg-[\w-]+)"', "mod_b24bg/mod_b24bg_status.c")
    assert written == set(re.findall(r"^\| `%\{(b24bg-[\w-]+)\}n`", README, re.M))
    assert written == names(r"%\{(b24bg-[\w-]+)\}n", "conf/b24bg.conf")


def test_the_directives_exist():
    known = names(r'(?:AP_INIT_\w+|ONE|TWO|THREE|MANY|COMMAND)\("<?(B24bg\w+)"',
                  "mod_b24bg/mod_b24bg_directives.c")
    assert known
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
    # The libraries come with their -dev packages; certificates of the world no test needs.
    assert named - {"libjansson4", "libcurl4", "ca-certificates"} == installed
    assert set(lines("packages")[0].split()) - {"sudo", "apt-get", "install"} <= named


def test_the_paths_exist():
    table = README.split("## For contributors")[1]
    paths = [path for row in re.findall(r"^\| (`[^|]*) \|", table, re.M)
             for path in re.findall("`([^`]+)`", row)]
    assert len(paths) > 5
    for path in paths + re.findall(r"\]\((\w+\.md)\)", README):
        assert list(ROOT.glob(path)), f"{path} does not exist"
