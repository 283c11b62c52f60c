"""What reached the simulator: every connection and every request, in order."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .php import decode_body, parse_query

_REST = re.compile(r"/rest/(?:\d+/[^/]+/)?([\w.]+?)(?:\.json|\.xml)?/?")


@dataclass(frozen=True)
class Connection:
    """An accepted connection, also one that never sent a byte."""

    listener: str
    peer: str
    port: int
    time: float = field(default_factory=time.time)  # wall clock: comparable with the test's own


@dataclass(frozen=True)
class Request:
    """A complete request; header names are in lower case."""

    listener: str
    peer: str
    port: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    time: float = field(default_factory=time.time)

    @property
    def endpoint(self) -> str:
        """The REST method, `oauth/token`, or the path without outer slashes."""
        match = _REST.fullmatch(self.path)
        return match[1].lower() if match else self.path.strip("/")

    @property
    def params(self) -> dict[str, Any]:
        """Query and body merged; the body wins."""
        kind = self.headers.get("content-type", "")
        return parse_query(self.query) | decode_body(kind, self.body)


class Recorder:
    """An append-only list that many threads fill and tests read or wait for."""

    def __init__(self) -> None:
        self._items: list[Connection | Request] = []
        self._lock = threading.Lock()

    def add(self, item: Connection | Request) -> None:
        with self._lock:
            self._items.append(item)

    def clear(self) -> None:
        """Forgets connections and requests."""
        with self._lock:
            self._items.clear()

    def connections(self, listener: str | None = None) -> list[Connection]:
        """All connections, or one listener's; the control API's only if it is named."""
        return self._select(Connection, listener)

    def requests(self, listener: str | None = None, endpoint: str | None = None) -> list[Request]:
        """All requests, or one listener's or endpoint's; the control API's only if it is named."""
        return [r for r in self._select(Request, listener) if endpoint in (None, r.endpoint)]

    def wait(self, ready: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Real seconds until `ready()`, which may look at anything, is true; its last value."""
        end = time.monotonic() + timeout
        while not (value := ready()) and time.monotonic() < end:
            time.sleep(0.01)
        return value

    def _select(self, kind: type, listener: str | None) -> list[Any]:
        with self._lock:
            return [i for i in self._items if isinstance(i, kind)
                    and (i.listener == listener if listener else i.listener != "control")]
