"""What exists in the simulated world and answers: portals, OAuth servers, canaries, faults."""

from __future__ import annotations

import secrets
import threading
from typing import Any, Self

from . import messages, overtime, rest
from .activity import Activity
from .clock import Clock
from .control import Control, plain
from .events import Delivery, EventQueue
from .faults import Faults
from .oauth import OAuthServer
from .pages import Pages
from .push import Push
from .recorder import Recorder, Request
from .relay import Delays
from .response import Response, json_response
from .server import Listener, Serve, Server
from .state import App, Install, NoticePolicy, Portal, Row, User

_AJAX = "/bitrix/services/main/ajax.php"


class World:
    """Holds everything; portals, applications and OAuth servers are given as objects or by name
    (an application by its client id)."""

    def __init__(self, clock: Clock | None = None, control_port: int = 0) -> None:
        self.clock = clock or Clock()
        self.recorder, self.faults = Recorder(), Faults()
        self.queue = EventQueue(self.clock)
        self.server = Server(self.recorder, self.faults)
        self.activity, self.push, self.delays = Activity(self.clock), Push(), Delays()
        self.portals: dict[str, Portal] = {}
        self.apps: dict[str, App] = {}
        self.oauths: dict[str, OAuthServer] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._lock = threading.RLock()  # the state of the world; never held while sending
        self.fault, self.clear_faults = self.faults.add, self.faults.clear
        self.advance, self.deliveries = self.clock.advance, self.queue.deliveries
        self.requests, self.connections = self.recorder.requests, self.recorder.connections
        self.clear_records, self.wait = self.recorder.clear, self.recorder.wait
        self.control = Control(self)
        self.control_url = "http://127.0.0.1:%d/control/" % self.listen(
            "control", self.control.serve, control_port).port
        self.pages = Pages(self)
        self.push.port = self.listen("push", self.push.serve).port
        self.bx24_url = "http://127.0.0.1:%d/api/v1/" % self.listen(
            "bx24", self.pages.serve_library).port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends all waiting, closes all ports, joins the threads."""
        self.clock.close()
        self.push.close()
        self.delays.ended.set()
        self.faults.clear()
        self.server.stop()

    def add_oauth(self, name: str = "") -> OAuthServer:
        """An OAuth server; all of them know all applications, each only its own tokens."""
        name = name or f"oauth{len(self.oauths) + 1}"
        oauth = self.oauths[name] = OAuthServer(name, self.clock, self.apps)

        def serve(request: Request) -> Response:
            with self._lock:
                return oauth.serve(request)
        oauth.port = self.listen(name, serve).port
        return oauth

    def add_app(self, client_id: str = "", client_secret: str = "", **fields: Any) -> App:
        """An application; further fields: name, scope, version."""
        app = App(client_id or f"local.{secrets.token_hex(7)}.{secrets.randbelow(10**8):08d}",
                  client_secret or secrets.token_hex(25), **fields)
        self.apps[app.client_id] = app
        return app

    def add_portal(self, name: str = "", oauth: OAuthServer | str = "", **fields: Any) -> Portal:
        """A portal with administrator 1 and employee 2; further fields: see state.Portal."""
        name = name or f"portal{len(self.portals) + 1}"
        if not oauth:
            oauth = next(iter(self.oauths.values()), None) or self.add_oauth()
        portal = Portal(name, self._find(self.oauths, oauth), **_typed(fields))
        self.portals[name] = portal
        portal.port = self.listen(name, lambda request: self._serve_portal(portal, request)).port
        return portal

    def add_user(self, portal: Portal | str, user_id: int, name: str = "Eve",
                 **fields: Any) -> User:
        """Further fields: admin, dismissed, app_access."""
        user = self._portal(portal).users[user_id] = User(user_id, name, **fields)
        return user

    def add_hook(self, portal: Portal | str, user_id: int = 1) -> str:
        """An incoming webhook; returns its URL, to which a method is appended."""
        portal, code = self._portal(portal), secrets.token_hex(8)
        portal.hooks[code] = user_id
        return f"{portal.client_endpoint}{user_id}/{code}/"

    def add_canary(self, name: str = "canary") -> Listener:
        """A port that must not be contacted: it records connections and closes them."""
        return self.listen(name, None)

    def set_portal(self, portal: Portal | str, **fields: Any) -> Portal:
        """Changes switches, for example error_status="docs", rule={"limit": 3, "resets": False}."""
        return _set(self._portal(portal), _typed(fields))

    def set_user(self, portal: Portal | str, user_id: int, **fields: Any) -> User:
        """Changes a user: admin, dismissed, app_access."""
        return _set(self._portal(portal).users[user_id], fields)

    def set_install(self, portal: Portal | str, app: App | str, **fields: Any) -> Install:
        """Changes an installation: installed, active, paid, status, application_token."""
        return _set(self._install(portal, app), fields)

    def demote(self, portal: Portal | str, user_id: int = 1) -> User:
        """The administrator becomes an ordinary employee; his tokens stay valid."""
        return self.set_user(portal, user_id, admin=False)

    def rename(self, portal: Portal | str, host: str = "") -> Portal:
        """New address, same member_id; the old one answers everything with 302."""
        portal = self._portal(portal)
        listener = self.listen(portal.name, lambda request: self._serve_portal(portal, request))
        with self._lock:
            portal.host, portal.port = host or portal.host, listener.port
        return portal

    def down(self, name: str) -> None:
        """Closes a listener's ports: connections are refused."""
        for listener in self._listeners[name]:
            self.server.down(listener)

    def up(self, name: str) -> None:
        """Opens them again."""
        for listener in self._listeners[name]:
            self.server.up(listener)

    def notice(self, portal: Portal | str, app: App | str, url: str, variant: str = "B",
               description: str = messages.DESCRIPTION, method: str = "GET",
               **queue: Any) -> Delivery:
        """An error callback to any URL, also one that the portal never sent (forged)."""
        portal = self._portal(portal)
        auth = {"domain": portal.domain, "client_endpoint": portal.client_endpoint,
                "server_endpoint": portal.oauth.server_endpoint, "member_id": portal.member_id,
                "application_token": self._install(portal, app).application_token}
        def tell(delivery: Delivery) -> None:
            self.activity.add("notice", portal.name, status=delivery.status,
                              error=delivery.errors[-1] if delivery.status is None else "")
        return self.queue.send(messages.notice(url, variant, int(self.clock.now()), auth,
                                               description, method), then=tell, **queue)

    def signal(self, portal: Portal | str, app: App | str, command: str,
               params: dict[str, Any] | None = None, user_id: int = 0,
               module_id: str = "application") -> None:
        """What pull.application.event.add does: to one user's pages, or (0) to everybody's."""
        portal, app = self._portal(portal), self._app(app)
        self.push.send(rest.channel(portal, app, user_id),
                       {"module_id": module_id, "command": command, "params": params or {}})
        self.activity.add("signal", portal.name, app=app.name, command=command, params=params or {})

    def rows(self, portal: Portal | str) -> list[Row]:
        """The registrations, in the order of their ids."""
        return list(self._portal(portal).rows)

    def describe(self) -> dict[str, Any]:
        """Where everything listens, and what is in it."""
        return plain({"control": self.control_url, "oauth": self.oauths, "apps": self.apps,
                      "portals": self.portals, "bx24": self.bx24_url,
                      "ports": {n: [one.port for one in all_]
                                for n, all_ in self._listeners.items()}})

    def listen(self, name: str, serve: Serve | None, port: int = 0) -> Listener:
        """Any other server of this world, recorded and open to faults like the rest."""
        listener = self.server.listen(name, serve, port)
        self._listeners.setdefault(name, []).append(listener)
        return listener

    def _find(self, known: dict[str, Any], ref: Any) -> Any:
        if not isinstance(ref, str):
            return ref
        if ref not in known:
            raise ValueError(f"{ref!r} is not one of {', '.join(known)}")
        return known[ref]

    def _portal(self, ref: Portal | str) -> Portal:
        return self._find(self.portals, ref)

    def _app(self, ref: App | str) -> App:
        return self._find(self.apps, ref)

    def _install(self, portal: Portal | str, app: App | str) -> Install:
        return self._portal(portal).installs[self._app(app).client_id]

    def _report(self, portal: Portal, row: Row) -> bool:
        """One slow report; a deletion queues the notice as the portal's policy says."""
        with self._lock:
            if row not in portal.rows:
                return False
            deleted = overtime.report(portal, row, self.clock.now())
            count = row.options.get("maxTimeCount", 0) + deleted  # the 11th is not written back
            self.activity.add("report", portal.name, row=row.id, count=count, deleted=deleted)
            if deleted:
                self._tell_row("deleted", portal, row)
        if deleted and row.options["errorHandlerUrl"]:
            policy = vars(portal.notice)
            self.notice(portal, row.app, row.options["errorHandlerUrl"], **policy)
        return deleted

    def _serve_portal(self, portal: Portal, request: Request) -> Response:
        if request.port != portal.port:
            query = "?" + request.query if request.query else ""
            return Response(302, b"", {"Location": portal.url + request.path + query})
        if request.path.startswith("/rest/"):
            return self._serve_rest(portal, request)
        if (request.method, request.path, request.params.get("action")) == (
                "POST", _AJAX, "setLongLoad"):
            return self._long_load(portal, request)
        return self.pages.serve(portal, request)

    def _serve_rest(self, portal: Portal, request: Request) -> Response:
        with self._lock:
            before = list(portal.rows)
            response = rest.serve(self, portal, request)
            for row in portal.rows:
                if row not in before:
                    self._tell_row("bound", portal, row)
            for row in before:
                if row not in portal.rows:
                    self._tell_row("unbound", portal, row)
        return response

    def _tell_row(self, kind: str, portal: Portal, row: Row) -> None:
        self.activity.add(kind, portal.name, row=row.id, title=row.title, user_id=row.user_id)

    def _long_load(self, portal: Portal, request: Request) -> Response:
        """The report of the portal's page. The real one wants a session and its CSRF token of whoever
        sends it, and believes him; here nobody is logged in."""
        item = request.params.get("item", {})
        for row in self.rows(portal):
            key = {"PLACEMENT_ID": str(row.id), "PLACEMENT": row.placement,
                   "APP_ID": str(self._install(portal, row.app).id)}
            if key.items() <= item.items():
                self._report(portal, row)
        return json_response({"status": "success", "data": {"success": "Y"}, "errors": []})


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """Rules and notice policies may be given as plain dicts (JSON)."""
    types = {"rule": overtime.Rule, "notice": NoticePolicy}
    return {k: types[k](**v) if k in types and isinstance(v, dict) else v
            for k, v in fields.items()}


def _set(target: Any, fields: dict[str, Any]) -> Any:
    for name, value in fields.items():
        if not hasattr(target, name):
            raise ValueError(f"{type(target).__name__} has no {name!r}")
        setattr(target, name, value)
    return target
