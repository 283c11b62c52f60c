"""Bodies on the wire: chunked, slow, cut, too large, announced and never sent; connections that
live on after a refusal, and those that must not."""

import re
import socket
import struct

import pytest
from conftest import MAIN, MODES, TAG, check_answer, read_answer, refusals, requests, running
from samples import (FORM, KEY, NEW_BODY, NEW_QUERY, NOTICE_A, body, chunked, http,
                     new_secret, number)

FORM_TYPE = f"Content-Type: {FORM}"
CHUNKED = f"{FORM_TYPE}\nTransfer-Encoding: chunked"
LIMIT = 65536
UNKNOWN = requests("worker", "unknown")


def worker(mark, query="DOMAIN=a.example"):
    return f"/b24/worker?{query}&n={mark}"


def filled(size):
    """A good body of exactly so many bytes."""
    start = body() + "&padding="
    return (start + "x" * (size - len(start))).encode()


def split(data):
    """The answers in a byte stream: [(status, body)]."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        length = int(length.group(1)) if length else 0
        answers.append((int(head.split()[1]), data[:length]))
        data = data[length:]
    return answers


# Chunks

@pytest.mark.parametrize("size", [1, 7, 500, 100000])
def test_chunked(server, size):
    mark = number()
    with server.counting({UNKNOWN: 1}), server.connect() as link:
        link.sendall(http("POST", worker(mark, NEW_QUERY), None, CHUNKED)
                     + chunked(NEW_BODY, size))
        status, headers, page = read_answer(link)
        assert status == 200 and page.startswith(b"<!DOCTYPE")
        check_answer(status, headers, page)
        assert server.logged(mark)["verdict"] == "unknown"


def test_chunks_with_extensions_and_trailers(server):
    mark = number()
    data = b"5;a=b\r\n" + NEW_BODY[:5] + b"\r\n" + chunked(NEW_BODY[5:])[:-2] + b"X: y\r\n\r\n"
    with server.counting({UNKNOWN: 1}), server.connect() as link:
        link.sendall(http("POST", worker(mark), None, CHUNKED) + data)
        assert read_answer(link)[0] == 200
        server.logged(mark)


@pytest.mark.parametrize("rest", [b"zz\r\nab", b"-5\r\nab", b"5\r\nabcdefgh\r\n0\r\n\r\n"],
                         ids=["no number", "negative", "longer than said"])
def test_broken_chunks(server, rest):
    mark = number()
    with server.counting({requests("worker", "malformed"): 1, refusals("body_cut"): 1}), \
            server.connect() as link:
        link.sendall(http("POST", worker(mark), None, CHUNKED) + rest)
        status, headers, text = read_answer(link)
        check_answer(status, headers, text)
        assert (status, headers["Connection"]) == (400, "close")
        assert re.fullmatch(rb"body:? [ -~]{1,100}\n", text)
        assert server.logged(mark)["verdict"] == "malformed"


# Slow and cut

@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_slow(server, framing):
    """Byte by byte in packets of their own."""
    mark = number()
    data = NEW_BODY if framing == "length" else chunked(NEW_BODY, 11)
    head = http("POST", worker(mark, NEW_QUERY), None,
                f"{FORM_TYPE}\nContent-Length: 533" if framing == "length" else CHUNKED)
    with server.counting({UNKNOWN: 1}), server.connect() as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(head)):
            link.sendall(head[at:at + 1])
        for at in range(len(data)):
            link.sendall(data[at:at + 1])
        assert read_answer(link)[0] == 200
        server.logged(mark)


@pytest.mark.parametrize("head, data", [(f"{FORM_TYPE}\nContent-Length: 533", NEW_BODY[:300]),
                                        (CHUNKED, chunked(NEW_BODY[:300], end=False)),
                                        (f"{FORM_TYPE}\nContent-Length: 533", b"")],
                         ids=["length", "chunks", "nothing"])
@pytest.mark.parametrize("how", ["shut", "close", "reset"])
def test_cut(server, head, data, how):
    """Half a body is no load, even where the half that came looks whole."""
    mark = number()
    with server.counting({requests("worker", "malformed"): 1, refusals("body_cut"): 1}):
        link = server.connect()
        link.sendall(http("POST", worker(mark, NEW_QUERY), None, head) + data)
        if how == "shut":
            link.shutdown(socket.SHUT_WR)
            assert link.recv(100).startswith(b"HTTP/1.1 400 ") or not data
        if how == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
        assert server.logged(mark)["verdict"] == "malformed"


def test_cut_notice(server):
    """Half a notice is none; the client that would be told has gone."""
    mark = number()
    before = len(server.tagged("B24BG0201"))
    with server.counting({requests("error", "malformed"): 1, refusals("body_cut"): 1}):
        with server.connect() as link:
            link.sendall(http("POST", f"/b24/error/{KEY}?n={mark}", None,
                              f"{FORM_TYPE}\nContent-Length: 500") + NOTICE_A.encode())
        server.logged(mark)
    assert len(server.tagged("B24BG0201")) == before


def test_client_that_does_not_wait(server):
    """It has sent all and gone: that was a load."""
    mark = number()
    with server.counting({UNKNOWN: 1}):
        link = server.connect()
        link.sendall(http("POST", worker(mark), NEW_BODY, FORM_TYPE))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        link.close()
        server.logged(mark)


@pytest.mark.parametrize("mpm", ["event", "worker", "prefork"])
def test_stalled(serve, mpm):
    """A body that stops coming ends with the server's own timeout, and is no load."""
    server = serve("Timeout 1\n" + MAIN, mpm=mpm)
    mark = number()
    with server.counting({requests("worker", "malformed"): 1, refusals("body_cut"): 1}), \
            server.connect() as link:
        link.sendall(http("POST", worker(mark), None, f"{FORM_TYPE}\nContent-Length: 533") + b"a=")
        status, headers, text = read_answer(link)
        check_answer(status, headers, text)
        assert (status, headers["Connection"]) == (408, "close")
        server.logged(mark)


# The limit

@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("size, status", [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)])
def test_limit(server, framing, size, status):
    mark = number()
    payload = filled(size)
    assert len(payload) == size
    request = http("POST", worker(mark), payload, FORM_TYPE) if framing == "length" else \
        http("POST", worker(mark), None, CHUNKED) + chunked(payload, 4000)
    expected = {UNKNOWN: 1} if status == 200 else {requests("worker", "refused"): 1,
                                                   refusals("too_large"): 1}
    with server.counting(expected), server.connect() as link:
        link.sendall(request)
        got, headers, text = read_answer(link)
        check_answer(got, headers, text)
        assert got == status
        if status == 413:
            assert headers["Connection"] == "close"
            assert re.fullmatch(rb"(Content-Length|body): [ -~]+\n", text)
            assert link.recv(1) == b""
        assert server.logged(mark)["verdict"] == ("unknown" if status == 200 else "refused")


def test_own_limit(serve):
    server = serve(f"<B24bgApp one>\nB24bgMaxBody 16384\n</B24bgApp>\n{MAIN}")
    assert server.load(body=filled(16384)).status == 200
    assert server.load(body=filled(16385)).status == 413


# name: request line and headers of a request whose body never comes; status; counted as
NEVER_SENT = {
    "too large": ("POST", worker("{}"), f"{FORM_TYPE}\nContent-Length: {LIMIT + 1}", 413,
                  ("worker", "refused")),
    "far too large": ("POST", worker("{}"), f"{FORM_TYPE}\nContent-Length: 9000000000000000000",
                      413, ("worker", "refused")),
    "not a form": ("POST", worker("{}"), "Content-Type: application/json\nContent-Length: 533", 415,
                   ("worker", "malformed")),
    "not a form, chunked": ("POST", worker("{}"), "Transfer-Encoding: chunked", 415,
                            ("worker", "malformed")),
    "PUT": ("PUT", worker("{}"), f"{FORM_TYPE}\nContent-Length: 533", 405, ("worker", "refused")),
    "PUT, chunked": ("PUT", worker("{}"), CHUNKED, 405, ("worker", "refused")),
    "GET": ("GET", worker("{}"), f"{FORM_TYPE}\nContent-Length: 533", 200, ("worker", "ok")),
    "GET, chunked": ("GET", worker("{}"), CHUNKED, 200, ("worker", "ok")),
    "HEAD": ("HEAD", worker("{}"), f"{FORM_TYPE}\nContent-Length: 533", 200, ("worker", "ok")),
    "OPTIONS": ("OPTIONS", worker("{}"), f"{FORM_TYPE}\nContent-Length: 533", 204,
                ("worker", "ok")),
    "PUT of a notice": ("PUT", f"/b24/error/{KEY}?n={{}}", f"{FORM_TYPE}\nContent-Length: 99", 405,
                        ("error", "refused")),
    "OPTIONS of the error URL": ("OPTIONS", "/b24/error?n={}", "Content-Length: 99", 204,
                                 ("error", "ok")),
    "large beacon": ("POST", "/b24/worker?b24bg=load&n={}", f"Content-Length: {LIMIT + 1}", 204,
                     ("beacon", "refused")),
}


@pytest.fixture(scope="module", params=MODES)
def patient(request):
    """A server that would wait for a body longer than any test does."""
    with running("Timeout 600\n" + MAIN, **MODES[request.param]) as one:
        yield one


@pytest.mark.parametrize("name", NEVER_SENT)
def test_answer_does_not_wait(patient, name):
    """The client sends nothing behind its headers, and has the answer and the end all the same."""
    method, target, headers, status, counted = NEVER_SENT[name]
    mark = number()
    with patient.connect() as link:
        link.settimeout(10)
        link.sendall(http(method, target.format(mark), None, headers))
        got, answered, text = read_answer(link, method)
        check_answer(got, answered, text)
        assert (got, answered["Connection"]) == (status, "close")
        assert link.recv(1) == b""
    line = patient.logged(mark)
    assert (line["kind"], line["verdict"]) == counted


def test_too_large_in_chunks_that_never_end(patient):
    mark = number()
    with patient.connect() as link:
        link.settimeout(10)
        link.sendall(http("POST", worker(mark), None, CHUNKED)
                     + chunked(filled(LIMIT + 1), 4000, end=False))
        status, headers, text = read_answer(link)
        check_answer(status, headers, text)
        assert (status, headers["Connection"]) == (413, "close")
    assert patient.logged(mark)["verdict"] == "refused"


# Expect: 100-continue

def test_expect_accepted(server):
    mark = number()
    with server.counting({UNKNOWN: 1}), server.connect() as link:
        link.sendall(http("POST", worker(mark), None,
                          f"{FORM_TYPE}\nContent-Length: 533\nExpect: 100-continue"))
        assert link.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(NEW_BODY)
        assert read_answer(link)[0] == 200
        server.logged(mark)


@pytest.mark.parametrize("headers, status", [
    (f"{FORM_TYPE}\nContent-Length: {LIMIT + 1}", 413), ("Content-Length: 533", 415)])
def test_expect_refused(server, headers, status):
    """Not invited to send it."""
    mark = number()
    with server.connect() as link:
        link.sendall(http("POST", worker(mark), None, headers + "\nExpect: 100-continue"))
        data = b""
        while part := link.recv(65536):
            data += part
    assert data.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close" in data
    assert server.logged(mark)["status"] == str(status)


def test_expect_of_a_notice(server):
    server.expect("B24BG0201")
    with server.connect() as link:
        link.sendall(http("POST", f"/b24/error/{KEY}", None,
                          f"{FORM_TYPE}\nContent-Length: {len(NOTICE_A)}\nExpect: 100-continue"))
        assert link.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(NOTICE_A.encode())
        assert read_answer(link)[0] == 200


# Connections

FENCED = "<B24bgApp here>\nB24bgPortals *.example\n</B24bgApp>\n" + MAIN


@pytest.fixture(scope="module", params=MODES)
def fenced(request):
    with running(FENCED, **MODES[request.param]) as one:
        yield one


# name: a request, its status, whether the connection lives on; httpd itself ends it after a 400
BEFORE = {
    "outside": (http("POST", "/b24/worker?DOMAIN=a.elsewhere", NEW_BODY, FORM_TYPE), 403, True),
    "beacon": (http("POST", "/b24/worker?b24bg=load"), 204, True),
    "OPTIONS": (http("OPTIONS", "/b24/worker", None), 204, True),
    "PUT": (http("PUT", "/b24/worker", None), 405, True),
    "GET": (http("GET", "/b24/worker", None), 200, True),
    "notice": (http("POST", "/b24/error", b"x=%"), 200, True),
    "malformed": (http("POST", "/b24/worker?DOMAIN=a.example", b"x=%", FORM_TYPE), 400, False),
    "not a form": (http("POST", "/b24/worker", b"x=1"), 415, False),
    "too large": (http("POST", "/b24/worker", filled(LIMIT + 1), FORM_TYPE), 413, False),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("at_once", [False, True])
def test_next_request(fenced, name, at_once):
    """After a refusal the same connection carries a load, or it ends."""
    request, status, lives = BEFORE[name]
    mark = number()
    load = http("POST", worker(mark), NEW_BODY, FORM_TYPE + "\nConnection: close")
    with fenced.connect() as link:
        reader = link.makefile("rb")
        link.sendall(request + load if at_once else request)
        assert int(reader.peek().split()[1]) == status
        if lives and not at_once:
            link.sendall(load)
        answers = split(reader.read())
    assert [answer[0] for answer in answers] == ([status, 200] if lives else [status])
    assert not lives or fenced.logged(mark)["verdict"] == "unknown"
    assert lives or f"n={mark} " not in fenced.access_log()


def test_pipeline(fenced):
    """Forty requests in one write, answered in their order."""
    mark, sid = number(), new_secret()
    good = http("POST", f"/b24/worker?DOMAIN=a.example&APP_SID={sid}", NEW_BODY, FORM_TYPE)
    bad = http("POST", "/b24/worker?DOMAIN=a.elsewhere", NEW_BODY, FORM_TYPE)
    last = http("POST", worker(mark), NEW_BODY, FORM_TYPE + "\nConnection: close")
    expected = {requests("worker", "unknown", "here"): 21, "repeats app=here": 19,
                requests("worker", "refused", "here"): 20, refusals("outside", "here"): 20}
    with fenced.counting(expected):
        answers = split(fenced.raw((good + bad) * 20 + last))
        fenced.logged(mark)
    assert [status for status, _ in answers] == [200, 403] * 20 + [200]
    pages = [text for status, text in answers if status == 200]
    assert len(set(pages)) == len({TAG.search(page)[0] for page in map(bytes.decode, pages)}) == 21
    assert len({TAG.sub("", page) for page in map(bytes.decode, pages)}) == 1


def test_what_follows_a_refused_body_is_no_request(server):
    """A body that was not read must not be taken for the next request."""
    mark = number()
    inner = http("POST", worker(mark), NEW_BODY, FORM_TYPE)
    data = server.raw(http("POST", "/b24/worker", inner, "Content-Type: text/plain"))
    assert [status for status, _ in split(data)] == [415]
    assert f"n={mark}" not in server.access_log()


def test_http_1_0(server):
    mark = number()
    data = server.raw(http("POST", worker(mark), NEW_BODY, FORM_TYPE, version="1.0"))
    assert [status for status, _ in split(data)] == [200]
    assert server.logged(mark)["verdict"] == "unknown"
