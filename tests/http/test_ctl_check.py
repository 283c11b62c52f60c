"""`b24bgctl check`: what it finds at a worker URL, and that nothing of it is missed."""

import itertools
import json
import re
import ssl
import subprocess
import threading

import pytest
from httpd import TWO_LOCATIONS, free_port
from test_ctl import (CRITICAL, GOOD, HIDDEN, KEY, NEW, OTHER, SECRETS, USAGE, WARNING, Receiver,
                      check_same, ctl, query_of, rendered)

from portal import Simulator, worker_post

CSP = "Content-Security-Policy"
PAGE = b"<!DOCTYPE html><html><body><p>worker</p></body></html>"
LOADS = 20
CODES = {"ok": GOOD, "note": GOOD, "warning": WARNING, "critical": CRITICAL}


class Worker(Receiver):
    """A worker URL that is as it should be, until a test changes it."""

    def __init__(self):
        self.delays, self.statuses = iter(()), itertools.repeat(200)
        super().__init__()
        self.page, self.headers = PAGE, {"Content-Type": "text/html; charset=utf-8"}

    delay = property(lambda self: next(self.delays, 0), lambda self, value: None)
    status = property(lambda self: next(self.statuses, 200), lambda self, value: None)

    def paths(self):
        return [message.url.partition("?")[0] for message in self.seen]


@pytest.fixture
def worker():
    with Worker() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def check(url, *options, code=GOOD):
    """[(severity, what, text with remedy)]; the exit code is that of the worst of them."""
    output = ctl("check", url, *options, code=code)
    found = re.findall(r"^(ok|note|warning|critical) +([a-z-]+): (.+)$", output, re.M)
    assert len(found) == output.count("\n"), output
    assert code == max(CODES[severity] for severity, _, _ in found)
    return found


def texts(found, severity, what):
    return [text for *kind, text in found if kind == [severity, what]]


def only(found, severity, what):
    """The text of the one finding of this kind; all others are ok or notes."""
    [text] = texts(found, severity, what)
    assert [one for one in found if CODES[one[0]] and one[:2] != (severity, what)] == []
    return text


def worst(found, what):
    return max((severity for severity, kind, _ in found if kind == what),
               key=list(CODES).index)


# all is well


def test_a_good_worker(worker):
    found = check(f"{worker.url}/w?type=1")
    assert [(severity, what) for severity, what, _ in found] == [
        ("note", "handler"), ("note", "name"), ("ok", "tcp"), ("ok", "post"), ("ok", "time"),
        ("ok", "type"), ("ok", "framing"), ("ok", "permissions"), ("ok", "references")]
    assert worker.paths() == ["/w"] * LOADS
    assert len({query_of(message)["APP_SID"] for message in worker.seen}) == LOADS
    check_same(worker.last(), worker_post(f"{worker.url}/w?type=1",
                                          rendered(NEW, worker.last())), "Mozilla/5.0")
    least, middle, most = map(float, re.search(
        r"^20 loads, each on a new connection: ([\d.]+) ms at least, ([\d.]+) ms in the middle, "
        r"([\d.]+) ms at most$", texts(found, "ok", "time")[0]).groups())
    assert 0 < least <= middle <= most < 1000


def test_the_load_of_a_certain_portal(worker):
    check(f"{worker.url}/w", "--portal", OTHER, "--domain", "crm.example.com", "--token", HIDDEN)
    check_same(worker.last(), worker_post(f"{worker.url}/w", rendered(
        NEW, worker.last(), member_id=OTHER, domain="crm.example.com", application_token=HIDDEN)),
        "Mozilla/5.0")


@pytest.mark.parametrize("more", ["", "--old"])
def test_the_module_itself(serve, more):
    server = serve(TWO_LOCATIONS)
    url = f"http://127.0.0.1:{server.port}/b24"
    found = check(f"{url}/worker", "--error-url", f"{url}/error/{KEY}", *more.split())
    assert {what for severity, what, _ in found if severity == "note"} == {"name", "handler"}
    assert texts(found, "ok", "error-url") == ["it is answered 200, with an empty body"]
    assert server.access_log().count("kind=worker verdict=unknown") == LOADS


def test_json(worker):
    worker.headers["X-Frame-Options"] = "DENY \xff"
    shown = json.loads(re.search(r"\{.*\}", ctl("check", f"{worker.url}/w", "--json",
                                                code=GOOD), re.S)[0])
    assert shown["status"] == "ok" and shown["certificate_expires_at"] is None
    assert 0 < shown["min_ms"] <= shown["median_ms"] <= shown["max_ms"] < 1000
    assert {"severity": "ok", "what": "post", "remedy": "",
            "text": "a load is answered 200, without a redirect"} in shown["findings"]
    documented = set(re.findall(r"^  ([a-z_]+) {2,}", ctl("check", "--help"), re.M))
    assert documented == set(shown)
    shown = json.loads(ctl("check", f"http://127.0.0.1:{free_port()}/", "--json",
                           code=CRITICAL))
    assert shown["status"] == "critical" and shown["max_ms"] is None


@pytest.mark.parametrize("words, complaint", [
    ("", "check URL"), ("http://h/ http://i/", "check URL"), ("ftp://h/", "URL: a URL that begins"),
    (f"https://h/#{KEY}", "URL: no #fragment"), (f"https://me:{HIDDEN}@h/", "URL: "),
    ("file:/not/there", "URL: the file cannot be read"), ("http://h/ --timeout 0", "--timeout: "),
    (f"http://h/ --error-url ftp://h/{KEY}", "--error-url: a URL that begins"),
    ("http://h/ --error-url env:B24BG_NOT_THERE", "--error-url: there is no such variable"),
    (f"http://h/ --webhook https://h/rest/{KEY}", "--webhook: https://PORTAL/rest/USER/CODE/ is"),
    (f"http://h/ --webhook ftp://h/rest/1/{KEY}/", "--webhook: a URL that begins"),
    ("http://h/ --domain https://h", "--domain: "), ("http://h/ --portal 1", "--portal: "),
])
def test_usage(words, complaint):
    error = ctl("check", *words.split(), code=USAGE)
    assert complaint in error and error.count("\n") == 1


# the way


def test_a_name_that_is_none():
    found = check("https://worker.invalid/w", code=CRITICAL)
    assert only(found, "critical", "name").startswith("worker.invalid has no address: ")


def test_nothing_listens():
    port = free_port()
    found = check(f"http://127.0.0.1:{port}/w", code=CRITICAL)
    assert texts(found, "critical", "tcp")[0].startswith(
        f"nothing answers at 127.0.0.1 on port {port}; start")
    assert "Connection refused" in texts(found, "warning", "tcp")[0]


def test_what_a_portal_takes_for_no_handler(worker):
    found = check(f"http://localhost:{worker.server_port}/{'w' * 250}", code=CRITICAL)
    assert [text.partition(";")[0] for text in texts(found, "critical", "handler")] == [
        "the URL is longer than the 255 characters that a portal keeps",
        "a portal takes no HANDLER whose host has no dot, as localhost"]
    assert any("localhost is " in text and "127.0.0.1" in text
               for text in texts(found, "ok", "name"))


@pytest.mark.parametrize("more, severity", [([], "critical"), (["--old"], "note")])
def test_plain_http(more, severity):
    """No https portal loads it, nobody's browser but this machine's own."""
    found = check("http://worker.invalid/w", *more, code=CRITICAL)
    assert texts(found, severity, "handler")[0].startswith("plain http: ")
    assert ("register an https URL" in str(found)) == (severity == "critical")


def secure(server, folder, days=90, name="IP:127.0.0.1"):
    """Serves https from now on; returns what to trust."""
    key, request, cert = folder / "key.pem", folder / "request.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-subj", "/CN=worker", "-addext", f"subjectAltName={name}",
                    "-keyout", key, "-out", request], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", str(days),
                    "-copy_extensions", "copy", "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http://", "https://")
    return cert


@pytest.mark.parametrize("days, severity", [(90, "ok"), (22, "ok"), (20, "warning"),
                                            (8, "warning"), (6, "critical")])
def test_the_end_of_the_certificate(worker, tmp_path, days, severity):
    ca_file = secure(worker, tmp_path, days)
    found = check(f"{worker.url}/w", "--ca-file", ca_file, code=CODES[severity])
    [text] = texts(found, severity, "tls")
    assert re.match(rf"the certificate is accepted, and expires 20\d\d-\d\d-\d\dT\d\d:\d\dZ, in "
                    rf"({days - 1}|{days}) days", text)
    assert ("renew" in text) == (severity != "ok")
    assert len(worker.seen) == LOADS
    shown = ctl("check", f"{worker.url}/w", "--ca-file", ca_file, "--json", code=CODES[severity])
    assert re.search(r'"certificate_expires_at": "20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"', shown)


@pytest.mark.parametrize("days, name, trust, words, remedy", [
    (-1, "IP:127.0.0.1", True, r"expired; its end is 20.*, \d+ days ago;", "renew"),
    (90, "DNS:other.example.com", True, r"; its end is 20.*, in \d+ days;", "this host's name"),
    (90, "IP:127.0.0.1", False, r"self-signed certificate; its end is", "an authority"),
])
def test_a_certificate_that_is_not_accepted(worker, tmp_path, days, name, trust, words, remedy):
    ca_file = secure(worker, tmp_path, days, name)
    found = check(f"{worker.url}/w", *(["--ca-file", ca_file] if trust else []), code=CRITICAL)
    text = only(found, "critical", "tls")
    assert text.startswith("the certificate is not accepted: ")
    assert re.search(words, text) and remedy in text
    assert worker.seen == [], "nothing is sent to somebody else"


def test_an_intermediate_certificate_is_missing(worker, tmp_path):
    (tmp_path / "other").mkdir()
    with Worker() as other:
        trusted = secure(other, tmp_path / "other")
    secure(worker, tmp_path)
    assert only(check(f"{worker.url}/w", "--ca-file", trusted, code=CRITICAL), "critical", "tls")


# the answer


@pytest.mark.parametrize("status, words", [
    (301, "a browser then drops the body"), (302, "a browser then drops the body"),
    (307, "its time counts"), (308, "its time counts")])
def test_a_redirect(worker, status, words):
    worker.statuses, worker.page = iter([status]), b""
    worker.headers["Location"] = f"https://h.example.com/w/?key={KEY}"
    text = only(check(f"{worker.url}/w", code=CRITICAL), "critical", "redirect")
    assert text.startswith(f"{status} leads to https://h.example.com/w/: {words}")
    assert len(worker.seen) == 1, "it is not followed"


@pytest.mark.parametrize("status, words", [(400, "a field was refused"), (403, "B24bgPortals"),
                                           (404, "nothing is served"), (500, "500"), (204, "204")])
def test_another_status(worker, status, words):
    worker.statuses = iter([status])
    text = only(check(f"{worker.url}/w", code=CRITICAL), "critical", "post")
    assert text.startswith(f"a load is answered {status}") and words in text
    assert len(worker.seen) == 1


def test_no_answer(worker):
    worker.delays = iter([3])
    text = only(check(f"{worker.url}/w", "--timeout", 1, code=CRITICAL), "critical", "post")
    assert text.startswith("no answer: Timeout")


def test_an_answer_without_end(worker):
    worker.page = b"x" * (1024 * 1024 + 1)
    assert "too large" in only(check(f"{worker.url}/w", code=CRITICAL), "critical", "post")


@pytest.mark.parametrize("delay, severity", [(0.8, "ok"), (1.1, "warning"), (5.1, "critical")])
def test_one_slow_load_of_twenty(worker, delay, severity):
    worker.delays = iter([0] * 12 + [delay])
    found = check(f"{worker.url}/w", code=CODES[severity])
    [text] = texts(found, severity, "time")
    times = [float(number) for number in re.findall(r"([\d.]+) ms", text)]
    assert times[0] <= times[1] < 700 and times[2] >= delay * 1000


def test_one_load_of_twenty_fails(worker):
    worker.statuses = iter([200] * 4 + [500])
    text = only(check(f"{worker.url}/w", code=CRITICAL), "critical", "time")
    assert "number 5: 500" in text and len(worker.seen) == 5


@pytest.mark.parametrize("header, severity", [
    ("text/html", "ok"), ("TEXT/HTML;charset=utf-8", "ok"), ("text/plain", "critical"),
    ("text/html5", "critical"), ("application/octet-stream", "critical"), (None, "critical")])
def test_content_type(worker, header, severity):
    worker.headers = {"Content-Type": header} if header else {}
    found = check(f"{worker.url}/w", code=CODES[severity])
    [text] = texts(found, severity, "type")
    assert text.startswith(f"Content-Type is {header or 'missing'}")


def test_a_page_to_be_saved(worker):
    worker.headers["Content-Disposition"] = "attachment; filename=w.html"
    assert "save the page" in only(check(f"{worker.url}/w", code=CRITICAL), "critical", "type")


# framing


@pytest.mark.parametrize("header, severity", [
    ("DENY", "critical"), ("deny", "critical"), ("SAMEORIGIN", "critical"),
    ("SAMEORIGIN, SAMEORIGIN", "critical"), ("SAMEORIGIN, DENY", "critical"),
    ("ALLOW-FROM https://xxx.bitrix24.com", "note"), ("ALLOWALL", "note"), ("nonsense", "note"),
    ("nonsense, DENY", "critical"), ("nonsense, ALLOW-FROM x", "note")])
def test_x_frame_options(worker, header, severity):
    worker.headers["X-Frame-Options"] = header
    text = only(check(f"{worker.url}/w", code=CODES[severity]), severity, "framing") \
        if severity == "critical" else texts(check(f"{worker.url}/w"), "note", "framing")[0]
    assert text.startswith(f"X-Frame-Options: {header} ")
    assert text.endswith("Header always unset X-Frame-Options")
    assert ("https://xxx.bitrix24.com" in text.partition(" forbids ")[2]) == (
        severity == "critical")


@pytest.mark.parametrize("sources, severity", [
    ("https://xxx.bitrix24.com", "ok"), ("https://XXX.bitrix24.com/", "ok"), ("*", "ok"),
    ("https:", "ok"), ("http:", "ok"), ("https://*.bitrix24.com", "ok"), ("*.bitrix24.com", "ok"),
    ("xxx.bitrix24.com", "ok"), ("xxx.bitrix24.com:443", "ok"), ("xxx.bitrix24.com:*", "ok"),
    ("http://xxx.bitrix24.com", "ok"), ("https://*", "ok"),
    ("'self' https://a.example.com https://xxx.bitrix24.com", "ok"),
    ("'none'", "critical"), ("'self'", "critical"), ("", "critical"),
    ("https://bitrix24.com", "critical"), ("https://*.xxx.bitrix24.com", "critical"),
    ("https://xxx.bitrix24.com:8443", "critical"), ("https://xxx.bitrix24.com/path", "critical"),
    ("https://xxx.bitrix24.ru", "critical"), ("https://xxx.bitrix24.com.example.com", "critical"),
    ("https://yxxx.bitrix24.com", "critical"), ("ftp://xxx.bitrix24.com", "critical"),
    ("wss:", "critical")])
def test_frame_ancestors(worker, sources, severity):
    worker.headers[CSP] = f"default-src *; Frame-Ancestors {sources}; frame-ancestors *"
    found = check(f"{worker.url}/w", code=CODES[severity])
    text = only(found, severity, "framing") if CODES[severity] else \
        texts(found, severity, "framing")[0]
    assert text.startswith(f"{CSP}: frame-ancestors {sources} ")
    assert "https://xxx.bitrix24.com" in text


@pytest.mark.parametrize("portal, sources, severity", [
    ("crm.example.com:8443", "https://crm.example.com:8443", "ok"),
    ("crm.example.com:8443", "https://crm.example.com:*", "ok"),
    ("crm.example.com:8443", "https://crm.example.com", "critical"),
    ("crm.example.com:8443", "https:", "ok"), ("a.b.example.com", "*.example.com", "ok")])
def test_frame_ancestors_of_a_certain_portal(worker, portal, sources, severity):
    worker.headers[CSP] = f"frame-ancestors {sources}"
    found = check(f"{worker.url}/w", "--domain", portal, code=CODES[severity])
    assert worst(found, "framing") == severity


@pytest.mark.parametrize("portal, more, headers, severity", [
    (None, ["--old"], {CSP: "frame-ancestors 'self'"}, "ok"),
    (None, ["--old"], {"X-Frame-Options": "SAMEORIGIN"}, "note"),
    (None, [], {CSP: "frame-ancestors 'self'"}, "critical"),
    ("portal.example.local:8080", ["--old"], {CSP: "frame-ancestors https:"}, "critical"),
    ("portal.example.local:8080", ["--old"], {CSP: "frame-ancestors http:"}, "ok")])
def test_worker_and_portal_of_one_origin(worker, portal, more, headers, severity):
    worker.headers.update(headers)
    found = check(f"{worker.url}/w", "--domain", portal or f"127.0.0.1:{worker.server_port}", *more,
                  code=CODES[severity])
    assert worst(found, "framing") == severity


def test_every_policy_counts(worker):
    worker.headers[CSP] = "frame-ancestors *, frame-ancestors 'none'"
    assert "'none'" in only(check(f"{worker.url}/w", code=CRITICAL), "critical", "framing")


def test_a_policy_that_only_reports(worker):
    worker.headers[f"{CSP}-Report-Only"] = "frame-ancestors 'none'"
    assert worst(check(f"{worker.url}/w"), "framing") == "ok"


def test_frame_ancestors_overrules_x_frame_options(worker):
    worker.headers.update({"X-Frame-Options": "DENY", CSP: "frame-ancestors https:"})
    found = check(f"{worker.url}/w", code=WARNING)
    assert "old browsers obey it" in only(found, "warning", "framing")
    assert texts(found, "ok", "framing")


def test_a_site_whose_headers_are_set_late(serve):
    """As Apache sends them: the module takes them out of its own answers."""
    server = serve(TWO_LOCATIONS + 'Header always set X-Frame-Options SAMEORIGIN\n'
                   'Header set X-Frame-Options SAMEORIGIN\n', modules=["headers"])
    found = check(f"http://127.0.0.1:{server.port}/b24/worker", code=GOOD)
    assert not texts(found, "critical", "framing")


@pytest.mark.parametrize("policy, off", [
    ("microphone=()", ["microphone"]), ("microphone=(self)", []), ("microphone=*", []),
    ("camera=(), microphone=(), geolocation=(), autoplay=(), usb=()",
     ["microphone", "camera", "autoplay", "geolocation"]),
    ('microphone=(self "https://a.example.com")', []),
    ('autoplay=("https://a.example.com")', ["autoplay"]), ('autoplay=("http://127.0.0.1:1")', []),
    ("usb=()", []), ("microphone=(), microphone=*", [])])
def test_permissions_policy(worker, policy, off):
    worker.headers["Permissions-Policy"] = policy
    found = check(f"{worker.url}/w", code=WARNING if off else GOOD)
    shown = [re.match(r"Permissions-Policy: (\w+)=\(.*\) switches it off in the frame: ", text)[1]
             for text in texts(found, "warning", "permissions")]
    assert shown == off and bool(texts(found, "ok", "permissions")) != bool(off)


@pytest.mark.parametrize("policy, page, severity", [
    ("default-src 'self'", b"<script>1</script>", "warning"),
    ("script-src https:", b"<script>1</script>", "warning"),
    ("default-src 'self'", PAGE, None),
    ("default-src 'self'; script-src 'sha256-x'", b"<script>1</script>", None),
    ("default-src 'unsafe-inline'", b"<script>1</script>", None),
    ("frame-ancestors *", b"<script>1</script>", None)])
def test_a_policy_that_forbids_the_script(worker, policy, page, severity):
    worker.headers[CSP], worker.page = policy, page
    found = check(f"{worker.url}/w", code=WARNING if severity else GOOD)
    assert len(texts(found, "warning", "scripts")) == bool(severity)


# the page


@pytest.mark.parametrize("page, names", [
    (b"<script src=/a.js></script><link rel=stylesheet href=/a.css>",
     "<script src>, <link rel=stylesheet>"),
    (b"<p>" * 3000 + b"<img src=/a.png>", "<img>"),
    (b"<meta http-equiv=refresh content=5>", "<meta http-equiv=refresh>")])
def test_what_delays_the_load_event(worker, page, names):
    worker.page = page
    text = only(check(f"{worker.url}/w", code=WARNING), "warning", "references")
    assert text.startswith(f"the page holds {names}: ")


# the error URL


@pytest.mark.parametrize("status, page, severity, words", [
    (200, b"", "ok", "200, with an empty body"), (200, b"hello", "warning", "with 5 bytes"),
    (404, b"", "critical", "404"), (405, b"", "critical", "405;"), (302, b"", "critical", "302"),
    (500, b"", "critical", "500")])
def test_error_url(worker, status, page, severity, words):
    with Worker() as other:
        threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        other.statuses, other.page = iter([status]), page
        other.headers["Location"] = f"{other.url}/{KEY}/"
        found = check(f"{worker.url}/w", "--error-url", f"{other.url}/e/{KEY}",
                      code=CODES[severity])
        other.shutdown()
    assert words in texts(found, severity, "error-url")[0]
    [message] = other.seen
    assert (message.method, message.url, message.body) == ("GET", f"/e/{KEY}", b"")


def test_error_url_that_does_not_answer(worker):
    found = check(f"{worker.url}/w", "--error-url", f"http://127.0.0.1:{free_port()}/{KEY}",
                  code=CRITICAL)
    assert only(found, "critical", "error-url").startswith("no answer: ")


# the portal, by webhook


@pytest.fixture
def portal():
    with Simulator() as bitrix:
        yield bitrix, bitrix.add_portal()


def test_a_webhook_is_no_application(worker, portal):
    bitrix, at = portal
    hook = bitrix.add_hook(at)
    SECRETS.append(hook.split("/")[-2])
    [text] = texts(check(f"{worker.url}/w", "--webhook", hook), "note", "webhook")
    assert "answers WRONG_AUTH_TYPE, as it does to every webhook" in text
    assert "wants an application's OAuth token" in text and "install the application" in text


def test_a_webhook_that_was_deleted(worker, portal):
    found = check(f"{worker.url}/w", "--webhook", f"{portal[1].client_endpoint}1/{KEY}/",
                  code=CRITICAL)
    assert "NO_AUTH_FOUND" in only(found, "critical", "webhook")


def test_a_portal_out_of_reach(worker):
    found = check(f"{worker.url}/w", "--webhook", f"http://127.0.0.1:{free_port()}/rest/1/{KEY}/",
                  code=WARNING)
    assert "network" in only(found, "warning", "webhook")


@pytest.mark.parametrize("placements, severity", [
    (["LEFT_MENU", "PAGE_BACKGROUND_WORKER"], "ok"), (["LEFT_MENU"], "critical")])
def test_what_a_portal_offers(worker, placements, severity):
    """Bitrix24 does not say it to a webhook today; should it ever, it is understood."""
    with Worker() as other:
        threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        other.headers = {"Content-Type": "application/json"}
        other.page = json.dumps({"result": placements}).encode()
        found = check(f"{worker.url}/w", "--webhook", f"{other.url}/rest/1/{KEY}/",
                      code=CODES[severity])
        other.shutdown()
    assert texts(found, severity, "webhook")[0].startswith("the portal answers, and ")
    assert other.paths() == [f"/rest/1/{KEY}/placement.list"]


def test_urls_from_elsewhere(worker, tmp_path):
    (tmp_path / "url").write_text(f"{worker.url}/w\n")
    check(f"file:{tmp_path / 'url'}")
    assert worker.paths() == ["/w"] * LOADS
