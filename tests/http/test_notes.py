"""What a log format can say of a request, and what no log and no status page may say."""

import re

import pytest
from conftest import MAIN, MODES, read_answer
from samples import (APP_SID, APPLICATION_TOKEN, AUTH_ID, FORM, KEY, MEMBER_ID, NEW_BODY, NEW_QUERY,
                     NOTICE_A, body, http, new_secret)

GOOD = "/b24/worker?DOMAIN=a.example"

# name: method, target, body, type; app, portal, kind, verdict
NOTES = {
    "load": ("POST", GOOD, NEW_BODY, FORM, "default", MEMBER_ID, "worker", "unknown"),
    "repeat": ("POST", f"/b24/worker?{NEW_QUERY}", NEW_BODY, FORM, "default", MEMBER_ID, "worker",
               "unknown"),
    "upper case": ("POST", GOOD, body(member_id=MEMBER_ID.upper()), FORM, "default", MEMBER_ID,
                   "worker", "unknown"),
    "GET": ("GET", GOOD, None, None, "default", "-", "worker", "ok"),
    "HEAD": ("HEAD", GOOD, None, None, "default", "-", "worker", "ok"),
    "OPTIONS": ("OPTIONS", GOOD, None, None, "default", "-", "worker", "ok"),
    "PUT": ("PUT", GOOD, NEW_BODY, FORM, "default", "-", "worker", "refused"),
    "too large": ("POST", GOOD, "x" * 70000, FORM, "default", "-", "worker", "refused"),
    "not a form": ("POST", GOOD, "{}", "application/json", "default", "-", "worker", "malformed"),
    "malformed": ("POST", GOOD, "x=%", FORM, "default", "-", "worker", "malformed"),
    "bad domain": ("POST", "/b24/worker?DOMAIN=%0d%0aportal=x", NEW_BODY, FORM, "default", "-",
                   "worker", "malformed"),
    "beacon": ("POST", "/b24/worker?b24bg=load", "{}", "text/plain", "default", "-", "beacon",
               "refused"),
    "notice": ("POST", f"/b24/error/{KEY}", NOTICE_A, FORM, "default", "-", "error", "unknown"),
    "no notice": ("GET", "/b24/error", None, None, "default", "-", "error", "ok"),
    "bad notice": ("POST", "/b24/error", "error=%", FORM, "default", "-", "error", "malformed"),
    "PUT of a notice": ("PUT", "/b24/error", NOTICE_A, FORM, "default", "-", "error", "refused"),
}


@pytest.mark.parametrize("name", NOTES)
def test_notes(server, name):
    server.expect("B24BG0201")
    method, target, payload, content_type, *expected = NOTES[name]
    log = server.ask(method, target, payload, content_type).log
    assert [log[part] for part in ("app", "portal", "kind", "verdict")] == expected
    assert log["ms"] == "-"


@pytest.mark.parametrize("target", ["/", "/nope", "/b24/workers", "/probe"])
def test_no_notes_on_other_requests(server, target):
    log = server.ask("GET", target, ours=False).log
    assert {log[part] for part in ("app", "portal", "kind", "verdict", "ms")} == {"-"}


# Secrets. Each ends in the check of all logs, and the server logs at debug.

SIDS = ["{}", "{}&LANG=en", "x&APP_SID={}", "{}&x&APP_SID={}", "&APP_SID=", "{}%41", "{}?x=1",
        "{}&APP_SID"]


@pytest.mark.parametrize("sids", SIDS)
@pytest.mark.parametrize("method, target, status", [
    ("POST", "/b24/worker?DOMAIN=a.example", 200), ("POST", "/b24/worker?x=1", 400),
    ("GET", "/b24/worker?", 200), ("PUT", "/b24/worker?", 405), ("OPTIONS", "/b24/worker?", 204),
    ("POST", "/b24/worker?b24bg=load", 204), ("POST", f"/b24/error/{KEY}?", 200)])
def test_app_sid_is_hidden(server, method, target, status, sids):
    sid = new_secret()
    answer = server.ask(method, f"{target}&APP_SID={sids.replace('{}', sid)}",
                        NEW_BODY if method == "POST" else None)
    assert answer.status == status
    assert "APP_SID=- " in answer.log["request"] or "APP_SID=-&" in answer.log["request"] \
        or "APP_SID=&" in answer.log["request"]
    assert re.search(r"[?&]n=\d+ HTTP/1.1$", answer.log["request"])


def test_similar_names_are_left_alone(server):
    log = server.ask("GET", "/b24/worker?XAPP_SID=1&APP_SIDS=2&x=APP_SID=3").log
    assert "XAPP_SID=1&APP_SIDS=2&" in log["request"]


def test_bad_requests_hide_them_too(server):
    """Bodies with secrets in wrong places: twice, cut, of another type, in other fields."""
    for payload, content_type in (
            (f"x=%&AUTH_ID={AUTH_ID}", FORM),
            (f"AUTH_ID={AUTH_ID}&AUTH_ID={AUTH_ID}", FORM), (f"AUTH_ID={AUTH_ID}%", FORM),
            (f'{{"AUTH_ID":"{AUTH_ID}"}}', "application/json"),
            (body(PLACEMENT_OPTIONS=f'{{"x":"{AUTH_ID}'), FORM),
            (body(PLACEMENT_OPTIONS=f'{{"URI":"/x?sessid={AUTH_ID}"}}'), FORM),
            (body(member_id=AUTH_ID), FORM), (body(PLACEMENT=APPLICATION_TOKEN), FORM)):
        server.load("DOMAIN=a.example", payload, content_type=content_type)


FORMATS = r"""
LogFormat "%U%q %f %r %m %H [%{b24bg-app}n %{b24bg-portal}n %{b24bg-kind}n \
%{b24bg-verdict}n %{b24bg-load-ms}n]" all
CustomLog "{root}/all.log" all
ExtendedStatus On
<Location "/server-status">
    SetHandler server-status
</Location>
"""


def test_other_log_formats(serve):
    server = serve(MAIN + FORMATS, modules=["status"])
    server.expect("B24BG0201")
    server.load()
    server.ask("POST", f"/b24/error/{KEY}", NOTICE_A)
    text = server.read("all.log")
    assert f"[default {MEMBER_ID} worker unknown -]" in text
    assert "[default - error unknown -]" in text
    assert not any(secret in text for secret in (APP_SID, KEY, AUTH_ID))


@pytest.mark.parametrize("mode", MODES)
def test_status_page(serve, mode):
    """mod_status shows request lines, of finished requests and of those that run."""
    server = serve(MAIN + FORMATS, modules=["status"], **MODES[mode])
    server.expect("B24BG0201")
    server.load()
    server.ask("POST", f"/b24/error/{KEY}", NOTICE_A)
    with server.connect() as first, server.connect() as second:
        for link, target in (first, f"/b24/worker?{NEW_QUERY}"), (second, f"/b24/error/{KEY}"):
            link.sendall(http("POST", target, None, f"Content-Type: {FORM}\nContent-Length: 533\n"
                                                    "Expect: 100-continue\nConnection: close"))
            assert b" 100 " in link.recv(1000)
        page = server.request("GET", "/server-status")[2].decode()
        for link in first, second:
            link.sendall(NEW_BODY)
            assert read_answer(link)[0] == 200
    assert "POST /b24/worker?" in page and "POST /b24/error/-" in page
    assert not any(secret in page for secret in (APP_SID, KEY, AUTH_ID))


@pytest.mark.parametrize("refusal", ["Require all denied", "Require ip 10.0.0.1"])
def test_refused_by_httpd(serve, refusal):
    """The handler never ran; a request line in a log is one all the same."""
    server = serve(MAIN + f'<Location "/b24">\n{refusal}\n</Location>', log_level="debug")
    server.expect("AH01630")
    for target in f"/b24/worker?{NEW_QUERY}", f"/b24/error/{KEY}":
        answer = server.ask("POST", target, NEW_BODY, ours=False)
        assert answer.status == 403 and answer.log["verdict"] == "-"


def test_key_below_a_pattern(serve):
    """Sections that are no plain Location; a folder's requests are for files, which logs name."""
    server = serve(MAIN + FORMATS + """
        <LocationMatch "^/notices/">
            SetHandler b24bg-error
        </LocationMatch>
        <Directory "{root}/htdocs">
            SetHandler b24bg-error
        </Directory>""", log_level="debug", modules=["status"])
    server.expect("B24BG0201")
    (server.root / "htdocs" / "file").write_text("not this")
    for folder in "/notices", "", "/file":
        answer = server.ask("POST", f"{folder}/{KEY}", NOTICE_A)
        assert (answer.status, answer.log["verdict"]) == (200, "unknown")
        assert KEY not in answer.log["request"]
    assert KEY not in server.read("all.log")
