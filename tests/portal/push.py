"""The push server: long polling on channels, framed as Bitrix24's (protocol.md 7.8).

The portal's own pages listen on a channel of theirs, workers on those that
pull.application.config.get names. It is a listener of its own, so that a page that waits takes no
connection away from the portal.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from .php import parse_query, to_int
from .recorder import Request
from .response import Response

WAIT = 25.0  # seconds, as long as a poll without news is held
_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Access-Control-Allow-Origin": "*",
            "Cache-Control": "no-store"}


class Push:
    """`port` is where it listens."""

    def __init__(self) -> None:
        self.port = 0
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._closed = False
        self._news = threading.Condition()

    def url(self, channel: str) -> str:
        return f"http://127.0.0.1:{self.port}/sub/?CHANNEL_ID={channel}"

    def send(self, channel: str, message: dict[str, Any]) -> None:
        with self._news:
            self._messages.append((channel, message))
            self._news.notify_all()

    def last(self) -> int:
        """The `mid` from which a listener that starts now misses nothing."""
        with self._news:
            return len(self._messages)

    def serve(self, request: Request) -> Response:
        """GET ?CHANNEL_ID=a/b&mid=n: what came behind n, as soon as there is something. Without mid
        listening starts now."""
        query = parse_query(request.query)
        channels = str(query.get("CHANNEL_ID", "")).split("/")
        with self._news:
            start = to_int(query["mid"]) if "mid" in query else len(self._messages)
            self._news.wait_for(lambda: self._closed or self._found(channels, start), WAIT)
            body = "".join(self._found(channels, start))
        return Response(200, body.encode(), dict(_HEADERS))

    def close(self) -> None:
        """Ends every poll."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _found(self, channels: list[str], start: int) -> list[str]:
        return [frame(number, channel, message)
                for number, (channel, message) in enumerate(self._messages[start:], start + 1)
                if channel in channels]


def frame(number: int, channel: str, message: dict[str, Any]) -> str:
    text = json.dumps({"mid": number, "channel": channel, "text": message})
    return f"#!NGINXNMS!#{text}#!NGINXNME!#"
