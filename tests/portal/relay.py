"""What makes pages slow, switched on and off while the world runs: the way to an application's
server, a script in its page, and the library that the portal's maker offers."""

from __future__ import annotations

import http.client
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .recorder import Request
from .response import Response

_SCRIPT = "/simulated-script.js"
_TAG = b'<script src="' + _SCRIPT.encode() + b'"></script>'
_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@dataclass
class Delays:
    """Seconds, 0 for none."""

    server: float = 0     # before the application's server sees a load
    script: float = 0     # of a script in the markup of its page, as pages written by hand have it
    bx24: float = 0       # of BX24.js
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def pause(self, seconds: float) -> None:
        self.ended.wait(seconds)


class Relay:
    """A reverse proxy in front of an application's server."""

    def __init__(self, upstream: str, delays: Delays) -> None:
        self._upstream, self._delays = urlsplit(upstream), delays

    def serve(self, request: Request) -> Response:
        if request.path == _SCRIPT:
            self._delays.pause(self._delays.script)
            return Response(200, b"", {"Content-Type": "text/javascript",
                                       "Cache-Control": "no-store"})
        load = request.method == "POST" and "PLACEMENT" in request.params
        if load:
            self._delays.pause(self._delays.server)
        answer = self._forward(request)
        if load and self._delays.script:
            body = re.sub(rb"(?i)(<head[^>]*>|<!doctype[^>]*>|^)", rb"\1" + _TAG, answer.body, 1)
            return Response(answer.status, body, answer.headers)
        return answer

    def _forward(self, request: Request) -> Response:
        connection = http.client.HTTPConnection(self._upstream.netloc, timeout=60)
        headers = {k: v for k, v in request.headers.items() if k not in _HOP}
        target = request.path + ("?" + request.query if request.query else "")
        try:
            connection.request(request.method, target, request.body, headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.read(),
                            {k: v for k, v in answer.getheaders() if k.lower() not in _HOP})
        except (OSError, http.client.HTTPException):
            return Response(502, b"no answer from upstream", {"Content-Type": "text/plain"})
        finally:
            connection.close()
