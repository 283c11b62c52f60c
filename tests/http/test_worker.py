"""The worker URL: every row of its table of answers, every documented variant of its request."""

import re
import urllib.parse

import pytest
from conftest import MAIN, check_answer, read_answer, refusals, requests, running
from samples import (ALLOW, APP_SID, BLOG, BROWSER_HEADERS, FORM, NEW_BODY, NEW_QUERY, OLD_BODY,
                     OLD_QUERY, body, fields, http, new_id, new_secret, number)

QUERY = "DOMAIN=xxx.bitrix24.com"


def check_page(answer):
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.body) <= 2048
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Content-Security-Policy" not in answer.headers  # nobody is known, no B24bgPortals
    assert answer.text.startswith("<!DOCTYPE html>")


def check_refused(answer, status, field):
    """A short text that begins with the field's name."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert re.fullmatch(rf"{re.escape(field)}: [^\x00-\x1f\x7f]+\n", answer.text), answer.text
    assert len(answer.body) < 200


def noted(answer):
    return [answer.log[name] for name in ("app", "kind", "verdict")]


# The documented requests

GOLDEN = {
    "new": (f"/b24/worker?{NEW_QUERY}", NEW_BODY, f"Content-Type: {FORM}\n{BROWSER_HEADERS}"),
    "old": (f"/b24/worker?{OLD_QUERY}", OLD_BODY, f"Content-Type: {FORM}\n"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_documented_request(server, name):
    """Byte for byte; the marker that finds the log line is an unknown field in front."""
    target, payload, headers = GOLDEN[name]
    mark = number()
    with server.connect() as link:
        link.sendall(http("POST", target.replace("?", f"?n={mark}&"), payload, headers))
        status, got, page = read_answer(link)
    check_answer(status, got, page)
    assert status == 200 and page.startswith(b"<!DOCTYPE html>")
    line = server.logged(mark)
    assert (line["app"], line["kind"], line["verdict"]) == ("default", "worker", "unknown")
    assert line["portal"] == "da45a03b265edd8787f8a258d793cc5d"
    assert "APP_SID=- " in line["request"] + " "


def test_page_and_headers(server):
    answer = server.load()
    check_page(answer)
    assert noted(answer) == ["default", "worker", "unknown"]
    assert {name.lower() for name in answer.headers} == {
        "date", "server", "cache-control", "x-content-type-options", "referrer-policy",
        "content-length", "content-type"}


# Who asks: the query

DOMAINS = {
    "plain": ("DOMAIN=a.bitrix24.com&PROTOCOL=1&LANG=en", "a.bitrix24.com"),
    "behind own parameters": ("type=1&handler=1&DOMAIN=a.bitrix24.com", "a.bitrix24.com"),
    "HANDLER ends in ?": ("&DOMAIN=a.bitrix24.com&PROTOCOL=1", "a.bitrix24.com"),
    "empty pairs": ("&&a&&DOMAIN=a.bitrix24.com&&", "a.bitrix24.com"),
    "last wins": ("DOMAIN=evil.example&DOMAIN=a.bitrix24.com", "a.bitrix24.com"),
    "last wins over a bad one": ("DOMAIN=%3Cb%3E&x=1&DOMAIN=a.bitrix24.com", "a.bitrix24.com"),
    "all four twice": ("DOMAIN=x.example&PROTOCOL=0&LANG=xx&APP_SID=0&DOMAIN=a.bitrix24.com"
                       "&PROTOCOL=1&LANG=en&APP_SID=1", "a.bitrix24.com"),
    "raw colon": ("DOMAIN=portal.example.local:8080&PROTOCOL=0", "portal.example.local:8080"),
    "encoded colon": ("DOMAIN=portal.example.local%3A8080", "portal.example.local:8080"),
    "upper case": ("DOMAIN=Portal.EXAMPLE.com", "portal.example.com"),
    "trailing dot": ("DOMAIN=a.bitrix24.com.", "a.bitrix24.com"),
    "trailing dot, port": ("DOMAIN=a.bitrix24.com.:8443", "a.bitrix24.com:8443"),
    "one label": ("DOMAIN=intranet", "intranet"),
    "address": ("DOMAIN=10.0.0.5:8080", "10.0.0.5:8080"),
    "punycode": ("DOMAIN=xn--80ak6aa92e.xn--p1ai", "xn--80ak6aa92e.xn--p1ai"),
    "long": ("DOMAIN=" + ".".join(["a" * 60] * 4), ".".join(["a" * 60] * 4)),
    "beside lower-case names": ("DOMAIN=a.bitrix24.com&domain=evil.example", "a.bitrix24.com"),
    "no LANG": ("DOMAIN=a.bitrix24.com&PROTOCOL=1&APP_SID=", "a.bitrix24.com"),
    "unknown language": ("DOMAIN=a.bitrix24.com&LANG=tlh", "a.bitrix24.com"),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_domain(server, name):
    query, domain = DOMAINS[name]
    member_id = new_id()
    portal = f"portal app=default member_id={member_id} domain={domain}"
    with server.counting({requests("worker", "unknown"): 1, "portals": 1, portal: 1}):
        answer = server.load(query, body(member_id=member_id, DOMAIN="body.example"))
        check_page(answer)
    assert answer.log["portal"] == member_id


BAD_DOMAINS = ["", "a b.example", "-a.example", "a.example-", "a..example", ".a.example",
               "a.example..",
               "a.example:", "a.example:0", "a.example:65536", "a.example:8080x", "a.example:80:80",
               ":8080", "https://a.example", "a.example/x", "user@a.example", "[::1]", "<script>",
               "a.example\r\nX: y", "'a'", "пример.рф", "a" * 254, "a.example:" + "1" * 300]


@pytest.mark.parametrize("domain", BAD_DOMAINS)
def test_ill_formed_domain(server, domain):
    with server.counting({requests("worker", "malformed"): 1, refusals("domain_bad"): 1}):
        answer = server.load("DOMAIN=" + urllib.parse.quote(domain, safe=""))
        check_refused(answer, 400, "DOMAIN")
    assert noted(answer) == ["default", "worker", "malformed"]


NO_DOMAIN = {"fragment lost": "", "own parameters only": "type=1", "other case": "Domain=a.example",
             "longer name": "DOMAINS=a.example&XDOMAIN=a.example",
             "no query but PROTOCOL": "PROTOCOL=1"}


@pytest.mark.parametrize("name", NO_DOMAIN)
def test_missing_domain(server, name):
    with server.counting({requests("worker", "malformed"): 1, refusals("domain_missing"): 1}):
        check_refused(server.load(NO_DOMAIN[name], body(DOMAIN="a.example")), 400, "DOMAIN")


def test_last_domain_wins_even_if_empty(server):
    check_refused(server.load("DOMAIN=a.example&DOMAIN="), 400, "DOMAIN")


# What is asked: the body

MEMBER = {"missing": None, "empty": "", "31 digits": "a" * 31, "33 digits": "a" * 33,
          "no digits": "g" * 32, "blank in front": " " + "a" * 31, "two": "a" * 32 + "," + "a" * 32}
GOOD_BODIES = {
    **{f"no {name}": body(**{name: None}) for name in fields()
       if name not in ("member_id", "PLACEMENT")},
    **{f"empty {name}": body(**{name: ""}) for name in fields()
       if name not in ("member_id", "PLACEMENT")},
    "no token could be issued": body(AUTH_ID="", AUTH_EXPIRES="", REFRESH_ID=""),
    "the two that must be": body(**{name: None for name in fields()
                                    if name not in ("member_id", "PLACEMENT")}),
    "backwards": "&".join(reversed(body().split("&"))),
    "extra fields": body(handler="1", type="2", tomorrow="x" * 500),
    "extra names": body() + "&=x&&a[b][]=1&%D1%84=1&noequals&member%5Fid%20=1&MEMBER_ID=x",
    "old token": body(AUTH_ID="abcdefghijklmnopqrstuvwxyz012345"),
    "status S": body(status="S"),
    "upper-case member_id": body(member_id="DA45A03B265EDD8787F8A258D793CC5D"),
    "escapes in names": body().replace("member_id", "member%5Fid").replace("PLACEMENT=",
                                                                           "P%4cACEMENT="),
    "lower-case escapes": body().replace("%2F", "%2f"),
    "windows-1251 field": body().encode() + b"&TITLE=%CF%F0%E8%E2%E5%F2",
    "windows-1251 raw": body().encode() + b"&TITLE=\xcf\xf0\xe8",
    "CRM list URL": body(PLACEMENT_OPTIONS='{"ID":"PAGE_BACKGROUND_WORKER","URI":"'
                         + "\\/crm\\/deal\\/list\\/?f=%D1%84" * 500 + '"}'),
}


@pytest.mark.parametrize("name", GOOD_BODIES)
def test_good_body(server, name):
    with server.counting({requests("worker", "unknown"): 1}):
        check_page(server.load(f"{QUERY}&APP_SID={new_secret()}", GOOD_BODIES[name]))


BAD_BODIES = {
    "empty": ("", "member_id", "member_id_missing"),
    **{f"member_id {name}": (body(member_id=value), "member_id",
                             "member_id_bad" if value is not None else "member_id_missing")
       for name, value in MEMBER.items()},
    "member_id in other case": (body(member_id=None, MEMBER_ID="a" * 32), "member_id",
                                "member_id_missing"),
    "PLACEMENT missing": (body(PLACEMENT=None), "PLACEMENT", "placement"),
    "PLACEMENT empty": (body(PLACEMENT=""), "PLACEMENT", "placement"),
    "PLACEMENT of another": (body(PLACEMENT="DEFAULT"), "PLACEMENT", "placement"),
    "PLACEMENT in other case": (body(PLACEMENT="page_background_worker"), "PLACEMENT", "placement"),
    "PLACEMENT and more": (body(PLACEMENT="PAGE_BACKGROUND_WORKER "), "PLACEMENT", "placement"),
    **{f"escape {escape}": (body() + f"&bad=x{escape}", "bad", "bad_escape")
       for escape in ("%", "%2", "%G0", "%0G", "%%20", "% 20", "%u0041")},
    "escape cut by the next": (body(AUTH_ID=None) + "&bad=%4&x=1", "bad", "bad_escape"),
    "escape in a name": (body() + "&b%ZZad=1", "b", "bad_escape"),
    "escape in the first": ("status=%&" + body(status=None), "status", "bad_escape"),
    "NUL": (body() + "&bad=a%00b", "bad", "nul"),
    "NUL at the end": (body() + "&bad=%00", "bad", "nul"),
    "NUL raw": (body().encode() + b"&bad=a\0b", "bad", "nul"),
    "NUL raw at the end": (body().encode() + b"&bad=\0", "bad", "nul"),
    "NUL in a name": (body() + "&b%00ad=1", "b", "nul"),
    **{f"{name} twice": (f"{body()}&{name}={value}", name, "field_twice")
       for name, value in fields().items()},
    "member_id twice, differing": (body() + "&member_id=" + "b" * 32, "member_id", "field_twice"),
    "twice under an escape": (body() + "&member%5Fid=" + "b" * 32, "member_id", "field_twice"),
    "unknown twice": (body() + "&x=1&x=2", "x", "field_twice"),
    "empty twice": (body() + "&x&x=", "x", "field_twice"),
    "control characters in a name": (body() + "&a%0D%0Ab%1B=1&a%0D%0Ab%1B=2", "a field",
                                     "field_twice"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_body(server, name):
    payload, field, reason = BAD_BODIES[name]
    with server.counting({requests("worker", "malformed"): 1, refusals(reason): 1}):
        answer = server.load(f"{QUERY}&APP_SID={APP_SID}", payload)
        check_refused(answer, 400, field)
    assert noted(answer) == ["default", "worker", "malformed"]
    assert answer.log["portal"] == "-"


def test_countless_fields(server):
    answer = server.load(QUERY, body() + "".join(f"&f{i}={i}" for i in range(4000)))
    assert answer.status == 400 and len(answer.body) < 200


@pytest.mark.parametrize("query, field", [
    ("DOMAIN=a.example&bad=%", "bad"), ("bad=%2&DOMAIN=a.example", "bad"),
    ("DOMAIN=a%ZZ.example", "DOMAIN"), ("DOMAIN=a.example%00", "DOMAIN"),
    ("bad=%00&DOMAIN=a.example", "bad")])
def test_bad_query(server, query, field):
    check_refused(server.load(query), 400, field)


# PLACEMENT_OPTIONS never fail an answer. 1 where they are broken.

OPTIONS = {
    "documented": (BLOG, 0),
    "slider": ("%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22URI%22%3A%22%5C%2Fcrm%5C%2Fdeal%5C"
               "%2Fdetails%5C%2F15%5C%2F%3FIFRAME%3DY%5Cu0026IFRAME_TYPE%3DSIDE_SLIDER%22%7D", 0),
    "no URI": ('{"ID":"PAGE_BACKGROUND_WORKER"}', 0),
    "percent-encoded URI": (r'{"ID":"PAGE_BACKGROUND_WORKER","URI":"\/crm\/%D1%84\/"}', 0),
    "raw UTF-8 URI": ('{"ID":"PAGE_BACKGROUND_WORKER","URI":"/сделки/"}', 0),
    "escaped URI": (r'{"ID":"PAGE_BACKGROUND_WORKER","URI":"\u0441\u0022\u003C"}', 0),
    "surrogates": (r'{"ID":"PAGE_BACKGROUND_WORKER","URI":"\ud83d\ude00"}', 0),
    "other members": ('{"URI":"/x","ID":"PAGE_BACKGROUND_WORKER","new":{"a":[1,2,{}]}}', 0),
    "blanks": (' { "ID" : "PAGE_BACKGROUND_WORKER" } ', 0),
    "empty": ("", 0), "empty array": ("[]", 0), "empty object": ("{}", 0), "null": ("null", 0),
    "undefined": ("undefined", 0), "empty string": ('""', 0),
    "truncated": ('{"ID":"PAGE_BACKGROUND_WORKER","URI":"/cr', 1),
    "double-escaped": (r'{\"ID\":\"PAGE_BACKGROUND_WORKER\"}', 1),
    "HTML-escaped": ("{&quot;ID&quot;:&quot;PAGE_BACKGROUND_WORKER&quot;}", 1),
    "half a surrogate": (r'{"ID":"PAGE_BACKGROUND_WORKER","URI":"\ud83d"}', 1),
    "windows-1251": ("%7B%22URI%22%3A%22%CF%F0%22%7D", 1),
    "not JSON": ("hello", 1), "followed by more": ('{"ID":"PAGE_BACKGROUND_WORKER"}x', 1),
    "deep": ("[" * 5000, 1), "deep and whole": ("[" * 5000 + "]" * 5000, 1),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_placement_options(server, name):
    text, broken = OPTIONS[name]
    encoded = text if text.startswith("%7B") else urllib.parse.quote_plus(text)
    payload = body(PLACEMENT_OPTIONS=None) + "&PLACEMENT_OPTIONS=" + encoded
    expected = {requests("worker", "unknown"): 1}
    with server.counting(expected | ({"broken_options app=default": 1} if broken else {})):
        check_page(server.load(f"{QUERY}&APP_SID={new_secret()}", payload))


# Headers

GOOD_TYPES = [FORM, FORM + "; charset=UTF-8", FORM + ";charset=windows-1251", FORM.upper(),
              FORM + " ; charset=utf-8"]
BAD_TYPES = [None, "text/plain", "application/json", "multipart/form-data; boundary=x", FORM + "x",
             "application/x-www-form", "text/html; x=" + FORM]


@pytest.mark.parametrize("content_type", GOOD_TYPES)
def test_form_type(server, content_type):
    check_page(server.load(content_type=content_type))


@pytest.mark.parametrize("content_type", BAD_TYPES)
def test_other_type(server, content_type):
    with server.counting({requests("worker", "malformed"): 1, refusals("not_form"): 1}):
        answer = server.load(content_type=content_type)
        check_refused(answer, 415, "Content-Type")
    assert noted(answer) == ["default", "worker", "malformed"]


@pytest.mark.parametrize("headers", [
    {"Origin": "null"}, {"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Dest": "document"},
    {"Cookie": "a=b"}, {"Referer": "https://xxx.bitrix24.com/"}, {"Accept": "image/png"},
    {"Accept-Encoding": "gzip, br"}, {"If-None-Match": "*"}, {"If-Modified-Since": "x"},
    {"X-Long": "x" * 8000}])
def test_headers_change_nothing(server, headers):
    check_page(server.load(headers=headers))


# Methods

def test_get_and_head(server):
    """The same page, and nothing is counted: people open it to look."""
    with server.counting({}):
        get = server.ask("GET", f"/b24/worker?{QUERY}")
        head = server.ask("HEAD", "/b24/worker")
    check_page(get)
    assert head.status == 200 and head.body == b""
    for answer in get, head:
        assert noted(answer) == ["default", "worker", "ok"] and answer.log["portal"] == "-"
        del answer.headers["Date"]
    assert sorted(get.headers.items()) == sorted(head.headers.items())


def test_get_asks_for_nothing(server):
    check_page(server.ask("GET", f"/b24/worker?DOMAIN=%ZZ&x=%00&APP_SID={APP_SID}"))


def test_options(server):
    with server.counting({requests("worker", "ok"): 1}):
        answer = server.ask("OPTIONS", "/b24/worker",
                            headers={"Origin": "https://a.example",
                                     "Access-Control-Request-Method": "POST"})
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, ALLOW, b"")
    assert noted(answer) == ["default", "worker", "ok"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "PROPFIND", "MKCOL", "BREW"])
def test_other_method(server, method):
    with server.counting({requests("worker", "refused"): 1, refusals("method"): 1}):
        answer = server.ask(method, "/b24/worker")
        check_refused(answer, 405, "method")
    assert answer.headers["Allow"] == ALLOW
    assert noted(answer) == ["default", "worker", "refused"]


@pytest.mark.parametrize("payload, content_type", [
    (b"", FORM), (b"", None), (b'{"ms":12,"tag":"x"}', "application/json"),
    (b"12 x", "text/plain;charset=UTF-8"), (NEW_BODY, FORM), (b"\0%ZZ", FORM)])
def test_beacon_without_a_tag(server, payload, content_type):
    with server.counting({requests("beacon", "refused"): 1, refusals("beacon"): 1}):
        answer = server.ask("POST", "/b24/worker?b24bg=load", payload, content_type)
    assert (answer.status, answer.body) == (204, b"")
    assert noted(answer) == ["default", "beacon", "refused"]


# Portals outside

PORTALS = """
<B24bgApp here>
    B24bgPortals *.bitrix24.ru crm.example.com
    B24bgPortals other.example:8443
</B24bgApp>
"""
INSIDE = {"a.bitrix24.ru": 1, "a.b.bitrix24.ru": 1, "A.BITRIX24.RU": 1, "a.bitrix24.ru:8080": 1,
          "a.bitrix24.ru.": 1, "crm.example.com": 1, "crm.example.com:444": 1,
          "other.example:8443": 1,
          "bitrix24.ru": 0, "xbitrix24.ru": 0, "a.bitrix24.ru.evil.example": 0,
          "crm.example.com.evil.example": 0, "x.crm.example.com": 0, "example.com": 0,
          "other.example": 0, "other.example:443": 0, "other.example:844": 0}


@pytest.fixture(scope="module")
def fenced():
    with running(PORTALS + MAIN) as one:
        yield one


@pytest.mark.parametrize("domain", INSIDE)
def test_portals(fenced, domain):
    inside = INSIDE[domain]
    expected = {requests("worker", "unknown" if inside else "refused", "here"): 1}
    expected |= {"portals": 1} if inside else {refusals("outside", "here"): 1}
    with fenced.counting(expected):
        answer = fenced.load(f"DOMAIN={domain}", body(member_id=new_id()))
    if inside:
        assert answer.status == 200
        ancestors = answer.headers["Content-Security-Policy"].split()
        assert ancestors[0] == "frame-ancestors"
        assert "a.bitrix24.ru" not in " ".join(ancestors)
        for pattern in "*.bitrix24.ru", "crm.example.com", "other.example:8443":
            assert any(pattern in source for source in ancestors[1:])
    else:
        check_refused(answer, 403, "DOMAIN")
        assert noted(answer) == ["here", "worker", "refused"]


def test_last_domain_is_the_one_compared(fenced):
    for query, status in (("DOMAIN=evil.example&DOMAIN=a.bitrix24.ru", 200),
                          ("DOMAIN=a.bitrix24.ru&DOMAIN=evil.example", 403)):
        assert fenced.load(query).status == status
