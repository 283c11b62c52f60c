"""`make install`: what it puts where, that a2enmod and apache2 take it from there, and that an
administrator's own b24bg.conf survives everything. All of it below a temporary DESTDIR."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import samples
from httpd import BUILD, MODULE, ROOT
from tree import NOBODY, here, make  # noqa: F401

CTL = BUILD / "b24bgctl"
MODULES = "usr/lib/apache2/modules"
PROGRAM = "usr/sbin/b24bgctl"
AVAILABLE = "etc/apache2/mods-available"
ENABLED = "etc/apache2/mods-enabled"
SHIPPED = (ROOT / "conf" / "b24bg.conf").read_text()


@pytest.fixture
def dest(tmp_path):
    """A DESTDIR that has seen one `make install`."""
    run("install", tmp_path)
    return tmp_path


def run(target, dest, code=0):
    got, output = make(target, f"DESTDIR={dest}")
    assert got == code, output
    return output


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def a2(program, dest):
    """a2enmod or a2dismod on the configuration in dest, and no other."""
    confdir = dest / "etc" / "apache2"
    (confdir / "mods-enabled").mkdir(exist_ok=True)
    shutil.copy("/etc/apache2/envvars", confdir)
    state = dest / "state"
    state.mkdir(exist_ok=True)
    done = subprocess.run([program, "b24bg"], text=True, capture_output=True,
                          env={**os.environ, "APACHE_CONFDIR": str(confdir),
                               "APACHE_STATE_DIRECTORY": str(state)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_lies_where(dest):
    assert files(dest) == [f"{AVAILABLE}/b24bg.conf", f"{AVAILABLE}/b24bg.load",
                           f"{MODULES}/mod_b24bg.so", PROGRAM]
    for name in files(dest):
        assert (dest / name).stat().st_mode & 0o777 == (0o755 if name == PROGRAM else 0o644)
    assert (dest / PROGRAM).read_bytes() == CTL.read_bytes()
    assert (dest / MODULES / "mod_b24bg.so").read_bytes() == MODULE.read_bytes()
    assert (dest / AVAILABLE / "b24bg.conf").read_text() == SHIPPED
    assert (dest / AVAILABLE / "b24bg.load").read_text() \
        == f"LoadModule b24bg_module /{MODULES}/mod_b24bg.so\n"


def test_it_says_what_to_do_next(tmp_path):
    output = run("install", tmp_path)
    assert "    a2enmod b24bg\n    systemctl reload apache2\n" in output
    a2("a2enmod", tmp_path)
    output = run("install", tmp_path)
    assert "enabled already" in output and "a2enmod" not in output
    assert "systemctl reload apache2" in output


def test_enabled_by_a2enmod_both_urls_answer(dest, serve):
    a2("a2enmod", dest)
    load = dest / AVAILABLE / "b24bg.load"
    load.write_text(load.read_text().replace(" /", f" {dest}/"))  # it is not below / here
    server = serve(f"IncludeOptional {dest}/{ENABLED}/*.load\n"
                   f"IncludeOptional {dest}/{ENABLED}/*.conf\n", module=None)

    answer = server.load()
    assert answer.status == 200 and answer.text.startswith("<!DOCTYPE html>")
    assert answer.log["verdict"] == "unknown" and answer.log["portal"] == samples.MEMBER_ID
    server.expect("B24BG0201")
    answer = server.ask("POST", "/b24/error", samples.NOTICE_A)
    assert answer.status == 200 and answer.body == b""
    assert samples.OVERTIME in server.tagged("B24BG0201")[0]


def test_the_installed_b24bgctl_runs(dest):
    done = subprocess.run([dest / PROGRAM, "--version"], text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout.startswith("b24bgctl "), done.stderr


def settings_with_everything():
    """The shipped file with every setting in it switched on, which is a line with # and no blank
    behind it, or within such a <container>: (for the server, for the worker's virtual host)"""
    lines, inside = [], False
    for line in SHIPPED.splitlines():
        inside = (inside or line.startswith("#<")) and not line.startswith("#</")
        lines.append(line[1:] if inside or re.match("#[^ #]", line) else line)
    set_in_app = {line.split()[0] for line in lines if re.match(r"\s*<?B24bg", line)}
    described = set(re.findall(r"^# Syntax: (\S+)", SHIPPED, re.M))
    # What is left out: to be used where there are two apps, or no worker page of ours.
    assert described - set_in_app == {"B24bgUse", "B24bgPage"}
    host = [line for line in lines if re.match("Protocols|RequestReadTimeout", line)]
    assert len(host) == 2
    return [line for line in lines if line not in host], host


def test_every_setting_in_the_conf_works_when_switched_on(here, serve, monkeypatch,  # noqa: F811
                                                          tmp_path):
    rest, host = settings_with_everything()
    monkeypatch.setenv("APACHE_LOG_DIR", str(tmp_path))
    shutil.copy(ROOT / "conf/b24bg-alert-mail", here("/etc/apache2/b24bg/"))
    server = serve(here("\n".join([*rest, "<VirtualHost *>", *host, "</VirtualHost>"])),
                   modules=["reqtimeout"])
    store = pathlib.Path(here("/var/lib/b24bg/b24bg.db"))
    server.wait_for(store.exists, "make its store")
    assert server.request("GET", "/b24/install")[0] == 405
    status, headers, page = server.post(f"/b24/worker?{samples.NEW_QUERY}", samples.NEW_BODY)
    assert status == 200 and b"phone.js" in page
    assert headers["Content-Security-Policy"].startswith("frame-ancestors https://*.bitrix24.com")
    log = tmp_path / "b24bg.log"
    server.wait_for(lambda: log.exists() and log.read_text().count("\n") == 2, "log two requests")
    assert " 405 app=telephony kind=install verdict=refused portal=- ms=-\n" in log.read_text()
    assert (f" 200 app=telephony kind=worker verdict=unknown portal={samples.MEMBER_ID} ms=-\n"
            in log.read_text())


def test_a_changed_conf_is_never_overwritten(dest):
    conf = dest / AVAILABLE / "b24bg.conf"
    conf.write_text("# mine\n")
    output = run("install", dest)
    assert conf.read_text() == "# mine\n"
    assert pathlib.Path(f"{conf}.new").read_text() == SHIPPED
    assert f"kept      {conf}" in output and f"{conf}.new" in output

    conf.write_text(SHIPPED)  # the administrator has taken over what is new
    run("install", dest)
    assert not pathlib.Path(f"{conf}.new").exists()


def test_uninstall_takes_away_what_install_brought(dest):
    run("uninstall", dest)
    assert files(dest) == []
    run("uninstall", dest)  # nothing there is no error


def test_uninstall_keeps_a_changed_conf(dest):
    conf = dest / AVAILABLE / "b24bg.conf"
    conf.write_text("# mine\n")
    run("install", dest)
    output = run("uninstall", dest)
    assert files(dest) == [f"{AVAILABLE}/b24bg.conf"] and conf.read_text() == "# mine\n"
    assert f"kept    {conf}" in output


def test_uninstall_waits_for_a2dismod(dest):
    a2("a2enmod", dest)
    output = run("uninstall", dest, code=2)
    assert "a2dismod b24bg" in output
    assert f"{MODULES}/mod_b24bg.so" in files(dest)
    a2("a2dismod", dest)
    run("uninstall", dest)
    assert not (dest / MODULES / "mod_b24bg.so").exists()


def test_without_debians_layout_it_says_what_to_copy_where(tmp_path):
    place = [f"LIBEXECDIR={tmp_path}/modules", f"SBINDIR={tmp_path}/sbin",
             "MODS_AVAILABLE=/no/such/folder"]
    code, output = make("install", *place)
    assert code == 0 and files(tmp_path) == ["modules/mod_b24bg.so", "sbin/b24bgctl"]
    assert f"LoadModule b24bg_module {tmp_path}/modules/mod_b24bg.so" in output
    assert str(ROOT / "conf" / "b24bg.conf") in output and "a2enmod" not in output
    assert make("uninstall", *place)[0] == 0 and files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody without permission")
def test_without_permission_it_says_so(tmp_path):
    os.chmod(tmp_path, 0o755)
    done = subprocess.run([*NOBODY, "conf/install", "install"], cwd=ROOT, text=True,
                          capture_output=True,
                          env={**os.environ, "DESTDIR": str(tmp_path), "MODULE": str(MODULE),
                               "CTL": str(CTL), "LIBEXECDIR": f"/{MODULES}",
                               "SBINDIR": "/usr/sbin", "MODS_AVAILABLE": f"/{AVAILABLE}"})
    assert done.returncode == 1
    assert "no permission to write there. Run this as root" in done.stderr
    assert files(tmp_path) == []
