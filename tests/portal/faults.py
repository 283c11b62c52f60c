"""Faults on demand: each is bound to a listener and an endpoint, and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .response import JSON_HEADERS, Response, json_response

if TYPE_CHECKING:
    from .server import Exchange

FOREVER = -1


@dataclass
class Fault:
    """`count` matching requests are hit, after the first `skip` have passed unharmed."""

    kind: str
    listener: str = "*"
    endpoint: str = "*"
    count: int = 1
    skip: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    hits: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def matches(self, listener: str, endpoint: str) -> bool:
        return self.listener in ("*", listener) and self.endpoint in ("*", endpoint)

    def pause(self, key: str, default: float) -> None:
        """Real seconds, cut short when the fault is cleared or the simulator stops."""
        self.released.wait(float(self.options.get(key, default)))


class Faults:
    """The faults in force; the first that matches a request takes it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, listener: str = "*", endpoint: str = "*", count: int = 1,
            skip: int = 0, **options: Any) -> Fault:
        """The next `count` requests (-1: all) to an endpoint fail; kinds: see KINDS."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; one of {', '.join(KINDS)}")
        fault = Fault(kind, listener, endpoint, count, skip, options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, listener: str, endpoint: str) -> Fault | None:
        """Called once per request; counts the hit."""
        with self._lock:
            for fault in self._faults:
                if fault.count == 0 or not fault.matches(listener, endpoint):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.count -= fault.count != FOREVER
                fault.hits += 1
                return fault
        return None

    def clear(self) -> None:
        """Ends all faults, and the waiting of those that hang at this moment."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()
            self._faults.clear()


def apply(fault: Fault, exchange: Exchange) -> None:
    KINDS[fault.kind](exchange, fault)


def _hang(exchange: Exchange, fault: Fault) -> None:
    fault.pause("seconds", 60)
    exchange.drop()


def _slow(exchange: Exchange, fault: Fault) -> None:
    response = exchange.commit()
    fault.pause("seconds", 30)
    exchange.send(response)


def _drip(exchange: Exchange, fault: Fault) -> None:
    data = exchange.encode(exchange.commit())
    step = int(fault.options.get("bytes", 1))
    for start in range(0, len(data), step):
        exchange.write(data[start:start + step])
        fault.pause("seconds", 0.5)


def _lost(exchange: Exchange, fault: Fault) -> None:
    exchange.commit()
    exchange.drop()


def _cut(exchange: Exchange, fault: Fault) -> None:
    data = exchange.encode(exchange.commit())
    exchange.write(data[:-1 - int(fault.options.get("bytes", 20))])
    exchange.drop()


def _huge(exchange: Exchange, fault: Fault) -> None:
    size = int(fault.options.get("bytes", 64 << 20))
    head = {**JSON_HEADERS, "Content-Length": str(size + 13)}
    exchange.write(exchange.head(200, head) + b'{"result":"')
    for start in range(0, size, 65536):
        exchange.write(b"x" * min(65536, size - start))
    exchange.write(b'"}')


def _chunked(exchange: Exchange, fault: Fault) -> None:
    response = exchange.commit()
    head = response.headers | {"Transfer-Encoding": "chunked"}
    chunks = (response.body[i:i + 7] for i in range(0, len(response.body), 7))
    body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
    exchange.write(exchange.head(response.status, head) + body + b"0\r\n\r\n")


def _instead(make: Callable[[dict[str, Any]], Response]) -> Callable[[Exchange, Fault], None]:
    """A fault that answers without doing what was asked."""
    return lambda exchange, fault: exchange.send(make(fault.options))


def _mangled(change: Callable[[bytes], bytes]) -> Callable[[Exchange, Fault], None]:
    """A fault that does what was asked and spoils the answer."""
    def run(exchange: Exchange, fault: Fault) -> None:
        response = exchange.commit()
        exchange.send(replace(response, body=change(response.body)))
    return run


def _error(code: str, text: str, status: int) -> Callable[[dict[str, Any]], Response]:
    return lambda o: json_response({"error": o.get("error", code),
                                    "error_description": o.get("description", text)},
                                   o.get("status", status))


KINDS: dict[str, Callable[[Exchange, Fault], None]] = {
    "hang": _hang,           # seconds: silent, then closed; nothing is done
    "slow": _slow,           # seconds: done at once, answered late
    "drip": _drip,           # bytes, seconds: done at once, answered a few bytes at a time
    "lost": _lost,           # done, connection closed without an answer
    "cut": _cut,             # done, connection closed `bytes` before the end of the answer
    "reset": lambda exchange, fault: exchange.reset(),
    "huge": _huge,           # bytes: well-formed JSON of that size
    "chunked": _chunked,     # done, answered with chunked coding
    "truncated": _mangled(lambda body: body[:len(body) // 2]),
    "empty": _mangled(lambda body: b""),
    "bom": _mangled(lambda body: b"\xef\xbb\xbf" + body),
    "null": _mangled(lambda body: b'{"result":null}'),
    "garbage": _instead(lambda o: Response(200, b"\x00\xff}{[ not json", JSON_HEADERS)),
    "html": _instead(lambda o: Response(o.get("status", 500), b"<html>Internal error</html>",
                                        {"Content-Type": "text/html"})),
    "redirect": _instead(lambda o: Response(302, b"", {"Location": o["location"]})),
    "query_limit": _instead(_error("QUERY_LIMIT_EXCEEDED", "Too many requests", 503)),
    "operation_time": _instead(_error("OPERATION_TIME_LIMIT", "Method is blocked due to operation "
                                      "time limit.", 429)),
    "error": _instead(_error("INTERNAL_SERVER_ERROR", "Internal server error", 500)),
}
