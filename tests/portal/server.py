"""Many listeners on 127.0.0.1 behind one accepting thread; a thread per connection."""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from . import faults as fault_kinds
from .faults import Faults
from .response import Response
from .recorder import Connection, Recorder, Request

Serve = Callable[[Request], Response]


@dataclass(eq=False)
class Listener:
    """A port with a name; without `serve` it is a canary that only records connections."""

    name: str
    port: int
    serve: Serve | None = field(repr=False)
    server: Server = field(repr=False)
    socket: socket.socket | None = field(default=None, repr=False)


class Exchange:
    """One request and what may be done with it; faults are written in these terms."""

    def __init__(self, handler: _Handler, request: Request, serve: Serve) -> None:
        self._handler, self._request, self._serve = handler, request, serve

    def commit(self) -> Response:
        """Does what the request asks for."""
        try:
            return self._serve(self._request)
        except Exception:  # a defect of the simulator must show up in the test, not hang it
            traceback.print_exc()
            return Response(500, b"simulator error", {"Content-Type": "text/plain"})

    def send(self, response: Response) -> None:
        self.write(self.encode(response))

    def encode(self, response: Response) -> bytes:
        headers = response.headers | {"Content-Length": str(len(response.body))}
        body = b"" if self._request.method == "HEAD" else response.body
        return self.head(response.status, headers) + body

    def head(self, status: int, headers: dict[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)

    def drop(self) -> None:
        """Closes after what was written so far."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Closes with a TCP reset."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                            struct.pack("ii", 1, 0))
        self.drop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener  # type: ignore[assignment]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        path, _, query = self.path.partition("?")
        request = Request(self.server.name, "%s:%d" % self.client_address, self.server.port,
                          self.command, path, query,
                          {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
        assert self.server.serve
        self.server.server.handle(Exchange(self, request, self.server.serve), request)

    do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """The recorder is the log."""


class Server:
    """Opens, serves and closes all listeners."""

    def __init__(self, recorder: Recorder, faults: Faults) -> None:
        self._recorder, self._faults = recorder, faults
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._open: dict[threading.Thread, tuple[Listener, socket.socket]] = {}
        self._acceptor = threading.Thread(target=self._accept_all, daemon=True)
        self._acceptor.start()

    def listen(self, name: str, serve: Serve | None, port: int = 0) -> Listener:
        """Opens a port of 127.0.0.1, a free one unless told."""
        listener = Listener(name, port, serve, self)
        self._listeners.append(listener)
        self.up(listener)
        return listener

    def up(self, listener: Listener) -> None:
        """Opens the listener, again on its port after `down`."""
        if listener.socket:
            return
        sock = socket.create_server(("127.0.0.1", listener.port), backlog=512)
        sock.setblocking(False)
        listener.socket, listener.port = sock, sock.getsockname()[1]
        self._selector.register(sock, selectors.EVENT_READ, listener)

    def down(self, listener: Listener) -> None:
        """Closes the port and its connections; new ones are refused from now on."""
        if listener.socket:
            self._selector.unregister(listener.socket)
            listener.socket.close()
            listener.socket = None
        with self._lock:
            mine = [sock for owner, sock in self._open.values() if owner is listener]
        for sock in mine:
            with contextlib.suppress(OSError):  # it ended by itself
                sock.shutdown(socket.SHUT_RDWR)

    def handle(self, exchange: Exchange, request: Request) -> None:
        """Records the request, then serves it, or lets a fault have it."""
        self._recorder.add(request)
        control = request.listener == "control"
        fault = None if control else self._faults.take(request.listener, request.endpoint)
        if fault:
            fault_kinds.apply(fault, exchange)
        else:
            exchange.send(exchange.commit())

    def stop(self) -> None:
        """Closes everything and waits for the threads."""
        self._wake.close()
        self._acceptor.join()
        with self._lock:
            threads = list(self._open)
        for listener in self._listeners:
            self.down(listener)
        for thread in threads:
            thread.join(5)
        self._selector.close()

    def _accept_all(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    key.fileobj.close()  # type: ignore[union-attr]
                    return
                self._accept(key.data)

    def _accept(self, listener: Listener) -> None:
        waiting = listener.socket
        if waiting is None:
            return  # closed by `down` a moment ago
        try:
            sock, peer = waiting.accept()
        except OSError:
            return  # the same, or the client went away
        self._recorder.add(Connection(listener.name, "%s:%d" % peer, listener.port))
        if listener.serve is None:
            sock.close()
            return
        thread = threading.Thread(target=self._serve, args=(listener, sock, peer), daemon=True)
        with self._lock:
            self._open[thread] = listener, sock
        thread.start()

    def _serve(self, listener: Listener, sock: socket.socket, peer: tuple[str, int]) -> None:
        try:
            _Handler(sock, peer, listener)  # type: ignore[arg-type]
        except (OSError, ValueError):
            pass  # the client went away or spoke no HTTP; the connection is on record
        finally:
            sock.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)
