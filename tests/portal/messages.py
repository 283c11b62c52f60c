"""Messages that Bitrix24 sends to an application: pure functions, nothing is sent here."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .php import build_query

QUEUE_AGENT = "Bitrix24 Webhook Engine"
OVERTIME = "ERROR_PLACEMENT_LOADING_OVERTIME"
DESCRIPTION = "Worker switched off: it loaded for over 5 seconds more than 10 times"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Message:
    """A complete request; `headers` are exactly those on the wire, in order."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query, as written: a lone `?` or a raw colon must reach the handler."""
        parts = urlsplit(self.url)
        target = self.url[len(f"{parts.scheme}://{parts.netloc}"):]
        return target if target.startswith("/") else "/" + target

    def raw(self) -> bytes:
        """The bytes on the wire, for clients that misbehave on purpose."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body

    def send(self, timeout: float = 15.0) -> tuple[int, bytes]:
        """Status and body of the answer; redirects are not followed."""
        parts = urlsplit(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[parts.scheme](parts.netloc, timeout=timeout)
        try:
            connection.putrequest(self.method, self.target, True, True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(self.body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def from_queue(method: str, url: str, body: bytes = b"", content_type: str = FORM) -> Message:
    """A request as the event queue's servers make it."""
    headers = {"Host": urlsplit(url).netloc, "User-Agent": QUEUE_AGENT}
    if method == "POST":
        headers |= {"Content-Type": content_type, "Content-Length": str(len(body))}
    return Message(method, url, headers, body)


def event(url: str, name: str, data: dict[str, Any], ts: int, auth: dict[str, Any]) -> Message:
    """ONAPPINSTALL and its kin."""
    body = build_query({"event": name, "data": data, "ts": ts, "auth": auth})
    return from_queue("POST", url, body.encode())


def notice(url: str, variant: str, ts: int, auth: dict[str, Any], description: str = DESCRIPTION,
           method: str = "GET") -> Message:
    """The error callback. A: two fields; B: with context; C: with the application token;
    D: everything in the query, by GET or POST; E: JSON."""
    data: dict[str, Any] = {"error": OVERTIME, "error_description": description}
    if variant != "A":
        shown = {k: v for k, v in auth.items() if k != "application_token" or variant == "C"}
        data |= {"ts": ts, "auth": shown}
    if variant == "D":
        joint = "&" if "?" in url else "?"
        return from_queue(method, url + joint + build_query(data))
    if variant == "E":
        return from_queue("POST", url, json.dumps(data).encode(), "application/json")
    return from_queue("POST", url, build_query(data).encode())
