"""HTTP/2 without TLS, by curl and h2load: the same answers, many at once on one connection."""

import re
import subprocess

import pytest
from conftest import MAIN, refusals, requests, running
from httpd import PATIENCE
from samples import (AUTH_ID, FORM, KEY, NEW_BODY, NEW_QUERY, NOTICE_A, body, new_id, new_secret,
                     number)

UNKNOWN = requests("worker", "unknown", "other")


CONF = """
Protocols h2c http/1.1
<B24bgApp other>
</B24bgApp>
<B24bgApp small>
    B24bgMaxBody 16384
</B24bgApp>
<Location "/b24">
    B24bgUse other
</Location>
<Location "/small">
    SetHandler b24bg-worker
    B24bgUse small
</Location>
"""


@pytest.fixture(scope="module", params=["event", "worker"])
def h2(request):
    with running(CONF + MAIN, mpm=request.param, modules=["http2"],
                 log_level="debug") as one:
        one.expect("B24BG0201")
        yield one


def curl(server, *arguments, count=1):
    """Runs curl; the answers' [(http version, status)] and what their bodies were."""
    run = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "--max-time", str(int(PATIENCE)),
         "-w", r"\n%{stderr}%{http_version} %{response_code}\n", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=2 * PATIENCE)
    answers = re.findall(r"(?m)^([\d.]+) (\d+)$", run.stderr)
    assert len(answers) == count, run.stderr
    return [(version, int(status)) for version, status in answers], run.stdout


def nghttp(server, targets, payload, content_type=FORM):
    """Posts the same body to all targets at once on one connection: their statuses, sorted. curl
    does not show an answer that comes before the body is sent."""
    (server.root / "payload").write_bytes(payload.encode())
    run = subprocess.run(
        ["nghttp", "-v", "-H:method: POST", "-H", f"content-type: {content_type}",
         "-d", str(server.root / "payload"),
         *(f"http://127.0.0.1:{server.port}{target}" for target in targets)],
        stdout=subprocess.PIPE, timeout=2 * PATIENCE)
    (server.root / "payload").unlink()
    found = re.findall(rb"recv .*\(stream_id=(\d+)\) .*:status: .*?(\d{3})", run.stdout)
    assert len(found) == len(targets), run.stdout.decode()
    return sorted(int(status) for _, status in found)


def test_load(h2):
    mark = number()
    with h2.counting({UNKNOWN: 1}):
        answers, text = curl(h2, "-i", "--data-binary", NEW_BODY.decode(),
                             f"http://127.0.0.1:{h2.port}/b24/worker?{NEW_QUERY}&n={mark}")
    assert answers == [("2", 200)]
    line = h2.logged(mark)
    headers, page = text.replace("\r", "").split("\n\n", 1)
    assert page.startswith("<!DOCTYPE html>") and len(page) <= 2048 + 1
    for header in ("content-type: text/html; charset=utf-8", "cache-control: no-store",
                   "x-content-type-options: nosniff", "referrer-policy: no-referrer"):
        assert header in headers
    assert line["request"].endswith("HTTP/2.0") and line["verdict"] == "unknown"
    assert "APP_SID=-" in line["request"]


REFUSED = {
    "malformed": ("/b24/worker", NEW_BODY.decode(), FORM, 400, "malformed"),
    "not a form": ("/b24/worker?DOMAIN=a.example", "{}", "application/json", 415, "malformed"),
    "field twice": ("/b24/worker?DOMAIN=a.example", body() + "&x&x", FORM, 400, "malformed"),
    "too large": ("/b24/worker?DOMAIN=a.example", "x" * 70000, FORM, 413, "refused"),
    "far too large": ("/b24/worker?DOMAIN=a.example", "x" * 5_000_000, FORM, 413, "refused"),
    "beacon": ("/b24/worker?b24bg=load", "x", "text/plain", 204, "refused"),
    "notice": (f"/b24/error/{KEY}", NOTICE_A, FORM, 200, "unknown"),
    "large notice": (f"/b24/error/{KEY}", f"{NOTICE_A}&x={'x' * 70000}", FORM, 200, "unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_answers(h2, name):
    target, payload, content_type, status, verdict = REFUSED[name]
    mark = number()
    target += f"{'&' if '?' in target else '?'}n={mark}"
    assert nghttp(h2, [target], payload, content_type) == [status]
    line = h2.logged(mark)
    assert line["verdict"] == verdict and KEY not in line["request"]


@pytest.mark.parametrize("method, status", [("GET", 200), ("OPTIONS", 204), ("PUT", 405)])
def test_methods(h2, method, status):
    answers, _ = curl(h2, "-X", method, f"http://127.0.0.1:{h2.port}/b24/worker")
    assert answers == [("2", status)]


def test_refusals_among_loads(h2):
    """Streams of one connection do not disturb each other: what ends one ends no other."""
    kinds = {"/b24/worker?DOMAIN=a.example": 200, "/b24/worker?x=1": 400,
             "/small?DOMAIN=a.example": 413}
    expected = {requests("worker", "unknown", "other"): 20,
                requests("worker", "malformed", "other"): 20,
                refusals("domain_missing", "other"): 20,
                requests("worker", "refused", "small"): 20, refusals("too_large", "small"): 20}
    with h2.counting(expected):
        targets = [f"{target}&i={i}" for i in range(20) for target in kinds]
        statuses = nghttp(h2, targets, body(padding="x" * 20000))
    assert statuses == sorted(list(kinds.values()) * 20)


def test_multiplexed(h2, tmp_path):
    """2,000 loads of one portal, 50 at a time on each of four connections, none lost."""
    member_id = new_id()
    (tmp_path / "body").write_text(body(member_id=member_id))
    with h2.counting({UNKNOWN: 2000,
                      f"portal app=other member_id={member_id} domain=a.example": 2000}):
        run = subprocess.run(
            ["h2load", "-n", "2000", "-c", "4", "-m", "50", "-d", str(tmp_path / "body"),
             "-H", f"content-type: {FORM}",
             f"http://127.0.0.1:{h2.port}/b24/worker?DOMAIN=a.example"],
            stdout=subprocess.PIPE, text=True, timeout=2 * PATIENCE)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in run.stdout
    assert "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx" in run.stdout


def test_upgrade(h2):
    """A client that offers h2c in HTTP/1.1 with a body is answered as it came."""
    sid = new_secret()
    mark = number()
    status, _, page = h2.post(
        f"/b24/worker?DOMAIN=a.example&APP_SID={sid}&n={mark}", NEW_BODY,
        headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""})
    assert status == 200 and page.startswith(b"<!DOCTYPE")
    assert h2.logged(mark)["verdict"] == "unknown"
    assert AUTH_ID not in h2.error_log()
