"""The error URL of an app without a client: every variant of the notice, and that whatever comes is
answered 200 and empty. With a client: test_notice.py."""

import json
import re
import urllib.parse

import pytest
from conftest import check_answer, read_answer, refusals, requests
from samples import (ALLOW, APPLICATION_TOKEN, DESCRIPTION, FORM, KEY, NOTICE_A, NOTICE_B, NOTICE_C,
                     NOTICE_E, OVERTIME, chunked, http, new_secret, number)

LINE = re.compile(r"\[b24bg:error\] .*B24BG0201: .*app=(\S+) portal=(\S+) error=(\S*) .*"
                  r'description="(.*?)"(?:, referer: .*)?$')

# Without a client nobody has a key.
UNATTRIBUTED = "notices app=default result=unattributed"


@pytest.fixture(autouse=True)
def notices_expected(server):
    server.expect("B24BG0201: ")


@pytest.fixture
def lines(server):
    """The notices that were logged since the test began: [(app, portal, error, description)]."""
    before = len(server.tagged("B24BG0201"))

    def new():
        found = [LINE.search(line) for line in server.tagged("B24BG0201")[before:]]
        return [line and line.groups() for line in found]
    return new


def readable(text):
    """Undoes the error log's own escaping of bytes."""
    text = text.encode().decode("unicode_escape").encode("latin-1")
    return text.decode()


def check_empty(answer):
    """httpd itself leaves the length out of an answer to HEAD when it is 0."""
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] in ("0", None)


def ask(server, method="POST", target=f"/b24/error/{KEY}", body=None, content_type=FORM, **more):
    answer = server.ask(method, target, body, content_type, **more)
    assert answer.log["app"] == "default" and answer.log["kind"] == "error"
    assert KEY not in answer.log["request"]
    return answer


# name: method, query, body, type
NOTICES = {
    "A": ("POST", "", NOTICE_A, FORM),
    "B": ("POST", "", NOTICE_B, FORM),
    "C": ("POST", "", NOTICE_C, FORM),
    "D of A, GET": ("GET", NOTICE_A, None, None),
    "D of B, GET": ("GET", NOTICE_B, None, None),
    "D of C, GET": ("GET", NOTICE_C, None, None),
    "D of A, POST": ("POST", NOTICE_A, "", FORM),
    "D of C, POST": ("POST", NOTICE_C, "", None),
    "E": ("POST", "", NOTICE_E, "application/json"),
    "E, charset": ("POST", "", NOTICE_E, "application/json; charset=utf-8"),
    "E as a form": ("POST", "", " \r\n" + NOTICE_E, FORM),
    "A with charset": ("POST", "", NOTICE_A, FORM + "; charset=utf-8"),
    "A without a type": ("POST", "", NOTICE_A, None),
    "A behind others": ("POST", "", f"ts=1&auth[x]=1&&{NOTICE_A}", FORM),
    "A behind a query": ("POST", "u=1&x=2", NOTICE_A, FORM),
}


@pytest.mark.parametrize("name", NOTICES)
def test_notice(server, lines, name):
    method, query, body, content_type = NOTICES[name]
    with server.counting({requests("error", "unknown"): 1, UNATTRIBUTED: 1}):
        answer = ask(server, method, f"/b24/error/{KEY}?{query}", body, content_type,
                     headers={"User-Agent": "Bitrix24 Webhook Engine"})
    check_empty(answer)
    assert answer.log["verdict"] == "unknown" and answer.log["portal"] == "-"
    assert lines() == [("default", "-", OVERTIME, DESCRIPTION)]


def test_every_notice_has_its_line(server, lines):
    """Without a client there are no keys, so none is dead."""
    for key in KEY, new_secret(), new_secret(), "":
        assert ask(server, target=f"/b24/error/{key}", body=NOTICE_A).log["verdict"] == "unknown"
    assert lines() == 4 * [("default", "-", OVERTIME, DESCRIPTION)]
    assert not server.tagged("B24BG0203")


@pytest.mark.parametrize("error", ["SOMETHING_ELSE", "x", "LONG_" * 40],
                         ids=["other", "short", "long"])
def test_any_error_code(server, lines, error):
    check_empty(ask(server, body=f"error={error}"))
    assert lines() == [("default", "-", error, "")]


# What the description may hold, and what of it may be seen in the log

DESCRIPTIONS = {
    "Russian": ("Виджет отключён: загрузка дольше 5 секунд более 10 раз",) * 2,
    "new lines": ("a\r\nb\n[b24bg:crit] forged", "a  b [b24bg:crit] forged"),
    "escape sequence": ("a\x1b[31mb\x07\x08\x7f", "a [31mb   "),
    "C1": ("a\x85b\x9bc", None),
    "quotes": ('a" portal=x b="', None),
    "long": ("x" * 5000, None),
    "long, two bytes each": ("ж" * 5000, None),
    "long, four bytes each": ("😀" * 5000, None),
    "backslashes": ("\\x41 \\n", None),
    "format": ("%s%n%p%lld", "%s%n%p%lld"),
    "markup": ("<b>&amp;</b>", "<b>&amp;</b>"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("as_json", [False, True])
def test_description(server, lines, name, as_json):
    """One line, without control characters, of at most 300 bytes of what was sent."""
    sent, logged = DESCRIPTIONS[name]
    notice = {"error": OVERTIME, "error_description": sent}
    body = json.dumps(notice) if as_json else urllib.parse.urlencode(notice)
    check_empty(ask(server, body=body))
    (line,) = lines()
    assert line[:3] == ("default", "-", OVERTIME)
    text = readable(line[3])
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\"]", text)
    assert len((line[2] + text).encode()) <= 300
    assert logged is None or text == logged
    if name.startswith("long"):
        assert sent.startswith(text) and len(text.encode()) > 200


def test_many_bad_bytes(server, lines):
    """Bytes that are no UTF-8 make one line as well."""
    check_empty(ask(server, body=b"error=X&error_description=%FF%FE%C3%80%C2" + b"\xe2\x82"))
    assert lines() == [("default", "-", "X", "??\\xc3\\x80???")]


# Requests that are no notice

NOTHING = {
    "GET": ("GET", "", None), "HEAD": ("HEAD", "", None), "POST without a body": ("POST", "", ""),
    "other fields": ("GET", "x=1", None), "repeated": ("POST", "x=1&x=2", ""),
}
UNREADABLE = {
    "bad escape": ("", b"error_description=%ZZ"), "bad escape behind": ("", b"x=1&y=%"),
    "NUL": ("", b"x=%00"), "NUL raw": ("", b"x=1\0"), "JSON cut": ("", b'{"error":"X"'),
    "bad query": ("x=%ZZ", b""),
    "other fields": ("x=1", b"ts=1&auth[domain]=x"),
    "other names": ("", b"Error=1&error_description=x&xerror=1&errors=2"),
    "JSON without it": ("", b'{"ts":1}'), "empty JSON": ("", b"{}"),
    "JSON with an error of another type": ("", b'{"error":{"a":1}}'),
    "empty code": ("", b"error=&error_description=x"), "empty code in JSON": ("", b'{"error":""}'),
    "a list": ("", b'[{"error":"X"}]'), "text": ("", b"the registration is gone"),
    "parts": ("", b'--b\r\nContent-Disposition: form-data; name="error"\r\n\r\nX\r\n--b--\r\n'),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_notice(server, lines, name):
    method, query, body = NOTHING[name]
    with server.counting({requests("error", "ok"): 1}):
        answer = ask(server, method, f"/b24/error/{KEY}?{query}", body)
    check_empty(answer)
    assert answer.log["verdict"] == "ok" and lines() == []


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(server, lines, name):
    query, body = UNREADABLE[name]
    with server.counting({requests("error", "malformed"): 1, refusals("malformed_notice"): 1}):
        answer = ask(server, "POST", f"/b24/error/{KEY}?{query}", body)
    check_empty(answer)
    assert answer.log["verdict"] == "malformed" and lines() == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_deep_json(server, method):
    check_empty(ask(server, method, body=b'{"a":' * 10000 + b'{"error":"X"}' + b"}" * 10000,
                    content_type="application/json"))


# Too large: answered all the same, with what came before the limit

TOO_LARGE = f"{NOTICE_A}&padding={'x' * 100000}".encode()


def test_too_large(server, lines):
    with server.counting({requests("error", "unknown"): 1, UNATTRIBUTED: 1}):
        answer = ask(server, body=TOO_LARGE)
    check_empty(answer)
    assert answer.headers["Connection"] == "close"
    assert lines() == [("default", "-", OVERTIME, DESCRIPTION)]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_too_large_and_never_ending(server, lines, framing):
    """The answer does not wait for what lies beyond the limit."""
    mark = number()
    payload, headers = TOO_LARGE, f"Content-Type: {FORM}\nContent-Length: 10000000"
    if framing == "chunks":
        payload, headers = chunked(TOO_LARGE, 5000, end=False), "Transfer-Encoding: chunked"
    with server.connect() as link:
        link.sendall(http("POST", f"/b24/error/{KEY}?n={mark}", None, headers) + payload)
        status, got, text = read_answer(link)
    check_answer(status, got, text)
    assert (status, text) == (200, b"")
    assert server.logged(mark)["verdict"] == "unknown"
    assert lines() == [("default", "-", OVERTIME, DESCRIPTION)]


# body: code in its line, and how its description begins
LARGE = {
    "description": (b"error=X&error_description=" + b"%41" * 50000, "X", "A"),
    "description first": (b"error_description=" + b"b" * 70000 + b"&error=X", "-", "b"),
    "JSON": (b'{"error":"X","error_description":"' + b"c" * 100000 + b'"}', "X", "c"),
    "JSON, description first": (b'{"error_description":"' + b"d" * 100000 + b'","error":"X"}', "-",
                                "d"),
    "a megabyte": (b"error=X&error_description=" + b"e" * 1000000, "X", "e"),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_descriptions(server, lines, name):
    """Each notice makes a line, with 300 bytes of code and description."""
    payload, code, letter = LARGE[name]
    check_empty(ask(server, body=payload))
    assert lines() == [("default", "-", code, letter * 299)]


def test_nuls_are_blanks(server, lines):
    check_empty(ask(server, body=b"error=X&error_description=a%00b%0Ac\0d"))
    assert lines() == [("default", "-", "X", "a b c d")]


# Keys

PATHS = ["/b24/error", "/b24/error/", f"/b24/error/{KEY}", f"/b24/error/{KEY}/",
         f"/b24/error/{KEY}/more", f"/b24/error/x/{KEY}", f"/b24/error//{KEY}",
         f"/b24//error/{KEY}", f"/b24/./error/{KEY}", f"/b24/error/%6b{KEY[1:]}",
         f"/b24/error/{KEY};x=1", f"/b24/error/{KEY}/.", f"/b24/error/{KEY}/../{KEY}"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_no_key_in_a_log(server, path, method):
    """No log may hold KEY, a secret; here it must be hidden however it is written."""
    answer = ask(server, method, path, NOTICE_A if method == "POST" else None)
    assert answer.status == (405 if method == "PUT" else 200)
    assert KEY[1:] not in answer.log["request"]
    hidden = "" if path == "/b24/error" else "/-"
    assert re.fullmatch(rf"{method} /b24/error{hidden}[?]n=\d+ HTTP/1.1", answer.log["request"])


def test_no_oracle(server):
    """Whatever the key, the same answer."""
    answers = [server.ask("POST", path, NOTICE_A) for path in PATHS[:3]]
    for answer in answers:
        del answer.headers["Date"]
    assert len({(answer.status, str(answer.headers), answer.body) for answer in answers}) == 1


# Methods

def test_options(server, lines):
    with server.counting({requests("error", "ok"): 1}):
        answer = ask(server, "OPTIONS", f"/b24/error/{KEY}?{NOTICE_A}")
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, ALLOW, b"")
    assert answer.log["verdict"] == "ok" and lines() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "BREW"])
def test_other_method(server, lines, method):
    with server.counting({requests("error", "refused"): 1, refusals("method"): 1}):
        answer = ask(server, method, f"/b24/error/{KEY}?{NOTICE_A}")
    assert (answer.status, answer.headers["Allow"]) == (405, ALLOW)
    assert answer.log["verdict"] == "refused" and lines() == []


def test_token_in_a_query_is_not_logged(server):
    """Old deliveries are described as GET: what a body would have hidden must stay hidden."""
    answer = ask(server, "GET", f"/b24/error/{KEY}?{NOTICE_A}"
                                f"&auth[application_token]={APPLICATION_TOKEN}&APP_SID={KEY}")
    check_empty(answer)
