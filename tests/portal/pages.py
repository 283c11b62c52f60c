"""The portal's pages: what an employee's browser gets, and what its scripts send back.

An employee is logged in by ?user=<id> on any page, the first user without it. A page's session id
names the page and its user in all that follows. Paths that Bitrix24 does not have: /demo/, /simulator/
(what pages tell of themselves, and what the demo shows) and /control/ (the control API).
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import worker
from .activity import FROM_PAGES
from .php import json_encode, parse_query, to_int
from .recorder import Request
from .response import Response
from .state import PLACEMENT, App, Portal, Row

if TYPE_CHECKING:
    from .simulator import Simulator

LAZYLOAD = "/bitrix/components/bitrix/app.layout/lazyload.ajax.php"
APP_PATH = "/marketplace/app/"
_WWW = Path(__file__).parent / "www"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_PREFIX = "BackgroundCallCard::"


@dataclass(frozen=True)
class Session:
    """One rendered page: `id` is its session id, `slider` a document within another page."""

    id: str
    portal: Portal
    user_id: int
    slider: bool


class Pages:
    """Belongs to the simulator, and knows every page that it has rendered."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._sessions: dict[str, Session] = {}
        self._cards: dict[str, str] = {}  # portal -> the page that shows the call card

    def serve(self, portal: Portal, request: Request) -> Response:
        query, path = parse_query(request.query), request.path
        if path.startswith("/bitrix/js/"):
            return _file(path.removeprefix("/bitrix/js/"))
        if path.startswith("/control/"):
            return self._simulator.control.serve(request)
        if path == "/simulator/state":
            return _json(self._state(portal, to_int(query.get("since", 0))))
        if request.method == "POST" and path in (LAZYLOAD, "/simulator/record"):
            session = self._sessions.get(str(query.get("sessid")))
            if session is None or session.portal is not portal:
                return Response(403, b"no session", {"Content-Type": "text/plain"})
            return (self._lazyload if path == LAZYLOAD else self._record)(session, request)
        if request.method not in ("GET", "HEAD") or "." in path.rpartition("/")[2]:
            return Response(404, b"<html>404</html>", {"Content-Type": "text/html"})
        return self._page(portal, request)

    def serve_library(self, request: Request) -> Response:
        """BX24.js, and the pull client beside it."""
        names = {"/api/v1/": "bx24.js", "/api/v1/pull/": "pull.js"}
        self._simulator.delays.pause(self._simulator.delays.bx24)
        return _file(names.get(request.path, ""))

    def open_call(self, portal: Portal, page: str, call: dict[str, Any]) -> str:
        pages = [s.id for s in list(self._sessions.values()) if s.portal is portal and not s.slider]
        page = self._cards[portal.name] = page or pages[-1]
        self.card_event(portal, "initialized", {
            "CALL_ID": "externalCall." + secrets.token_hex(8), "PHONE_NUMBER": "+123456",
            "LINE_NUMBER": "", "LINE_NAME": "", "CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": 15,
            "CRM_BINDINGS": [{"ENTITY_TYPE": "CONTACT", "ENTITY_ID": 15}],
            "CALL_DIRECTION": "incoming", "CALL_STATE": "idle", "CALL_LIST_MODE": False} | call)
        return page

    def card_event(self, portal: Portal, event: str, payload: Any = None) -> None:
        page, event = self._cards[portal.name], _PREFIX + event.removeprefix(_PREFIX)
        self._simulator.push.send(portal.name, {"card": event, "payload": payload, "page": page})
        self._simulator.activity.add("card", portal.name, page=page, event=event, payload=payload)

    # Pages

    def _page(self, portal: Portal, request: Request) -> Response:
        path, query = request.path, parse_query(request.query)
        user = portal.users.get(to_int(query.pop("user", 0))) or next(iter(portal.users.values()))
        slider = query.get("IFRAME") == "Y"
        session = Session(secrets.token_hex(16), portal, user.id, slider)
        self._sessions[session.id] = session
        rest = re.sub(r"(^|&)user=\w*", "", request.query).lstrip("&")
        uri = path + ("?" + rest if rest else "")  # as it is in the request, not decoded
        content = self._application(session, path, query) if path.startswith(APP_PATH) else ""
        text = (_WWW / ("demo.html" if path == "/demo/" else "page.html")).read_text()
        facts = {"title": escape(_title(path)), "user": escape(user.name), "portal": portal.name,
                 "kind": "slider" if slider else "page", "content": content,
                 "config": _script_json(self._config(session, uri))}
        text = re.sub(r"\{\{(\w+)\}\}", lambda match: facts[match[1]], text)
        return Response(200, text.encode(), {"Content-Type": "text/html; charset=utf-8",
                                             "Cache-Control": "no-store"})

    def _config(self, session: Session, uri: str) -> dict[str, Any]:
        portal = session.portal
        push = self._simulator.push
        return {"containerId": "intranet-placement-" + PLACEMENT, "placementCode": PLACEMENT,
                "maxLoadDelay": portal.rule.delay_ms,
                "serviceUrl": f"{LAZYLOAD}?sessid={session.id}&site=s1",
                "signedParameters": secrets.token_urlsafe(24),
                "items": [self._item(portal, row, uri) for row in self._simulator.rows(portal)
                          if row.placement == PLACEMENT],
                "sessid": session.id, "portal": portal.name, "user": session.user_id,
                "uri": uri, "slider": session.slider,
                "telephony": None if session.slider else portal.telephony,
                "push": push.url(portal.name), "mid": push.last()}

    def _item(self, portal: Portal, row: Row, uri: str) -> dict[str, Any]:
        return {"ID": f"placement_rest_{row.id}", "PLACEMENT": row.placement,
                "PLACEMENT_OPTIONS": {"ID": row.placement, "URI": uri},
                "APP_ID": str(portal.installs[row.app.client_id].id), "PLACEMENT_ID": str(row.id)}

    def _application(self, session: Session, path: str, query: dict[str, Any]) -> str:
        """The application's own page, visible in a slider; its query holds the options."""
        install_id = to_int(path.removeprefix(APP_PATH).strip("/"))
        install = next((i for i in session.portal.installs.values() if i.id == install_id), None)
        if install is None or not install.active or not install.app.url:
            return '<p class="note">This application has no page of its own.</p>'
        options = {k: v for k, v in query.items() if k not in ("IFRAME", "IFRAME_TYPE")}
        return self._layout(session, install.app, install.app.url, "DEFAULT", options)

    # app.layout

    def _lazyload(self, session: Session, request: Request) -> Response:
        params, portal = request.params, session.portal
        if params.get("action") == "access_refresh":
            app = self._simulator.apps[params["app"]]
            access, refresh = self._simulator.tokens(portal, app, session.user_id)
            return _json({"access_token": access, "expires_in": 3600, "refresh_token": refresh})
        wanted = params.get("PARAMS", {}).get("params", {})
        row = next((r for r in self._simulator.rows(portal)
                    if str(r.id) == wanted.get("PLACEMENT_ID")), None)
        if row is None or not portal.shows(row, session.user_id):
            text = "<div class='app-error'>The application is not available.</div>"
        else:
            options = wanted.get("PLACEMENT_OPTIONS") or {}
            text = self._layout(session, row.app, row.handler, PLACEMENT, options)
        return Response(200, text.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _layout(self, session: Session, app: App, handler: str, placement: str,
                options: dict[str, Any]) -> str:
        """The frame, and the script that posts a hidden form into it."""
        portal = session.portal
        render = self._simulator.render(portal, app, session.user_id, placement=placement,
                                        options=json_encode(options) if options else None)
        name = f"{render.domain}|{render.protocol}|{render.app_sid}"
        parts = urlsplit(handler)
        layout = {
            "sid": render.app_sid, "frame": "appframe_" + render.app_sid, "name": name,
            "origin": f"{parts.scheme}://{parts.netloc}", "placement": placement,
            "app": app.client_id, "appId": portal.installs[app.client_id].id,
            "action": worker.action_url(handler, render), "fields": worker.fields(render),
            "init": {"LANG": render.lang, "DOMAIN": render.domain, "PROTOCOL": int(render.protocol),
                     "PATH": "/rest", "AUTH_ID": render.auth_id,
                     "AUTH_EXPIRES": render.auth_expires, "REFRESH_ID": render.refresh_id,
                     "MEMBER_ID": render.member_id, "FIRST_RUN": False,
                     "IS_ADMIN": portal.users[session.user_id].admin, "INSTALL": False,
                     "USER_OPTIONS": [], "APP_OPTIONS": [], "PLACEMENT": placement,
                     "PLACEMENT_OPTIONS": options or []}}
        return (f'<iframe id="{layout["frame"]}" name="{escape(name)}" class="app-frame app-loading"'
                ' frameborder="0" allow="geolocation *; microphone *; camera *; autoplay *;">'
                f"</iframe><script>AppLayout.start({_script_json(layout)});</script>")

    # What pages tell, and what the demo shows

    def _record(self, session: Session, request: Request) -> Response:
        facts = json.loads(request.body)
        kind = facts.pop("kind")
        if kind not in FROM_PAGES:
            return Response(400, b"unknown kind", {"Content-Type": "text/plain"})
        page = {"page": session.id, "user": session.user_id}
        self._simulator.activity.add(kind, session.portal.name, **page, **facts)
        return Response(200)

    def _state(self, portal: Portal, since: int) -> dict[str, Any]:
        delays = self._simulator.delays
        rows = [{"id": r.id, "title": r.title, "handler": r.handler, "user_id": r.user_id,
                 "count": r.options.get("maxTimeCount", 0)}
                for r in self._simulator.rows(portal) if r.placement == PLACEMENT]
        news = self._simulator.activity.entries(portal.name, since=since)
        return {"now": self._simulator.clock.now(), "deadline": portal.overtime_deadline,
                "limit": portal.rule.limit, "delay_ms": portal.rule.delay_ms, "rows": rows,
                "switches": {"server": delays.server, "script": delays.script,
                             "bx24": delays.bx24},
                "users": {user.id: user.name for user in portal.users.values()},
                "news": [vars(entry) for entry in news]}


def _title(path: str) -> str:
    words = [word for word in path.split("/") if word and not word.isdigit()]
    return words[-1].capitalize() if words else "Activity stream"


def _file(name: str) -> Response:
    path = _WWW / name
    if path.parent != _WWW or path.suffix not in (".js", ".css"):
        return Response(404, b"<html>404</html>", {"Content-Type": "text/html"})
    return Response(200, path.read_bytes(), {"Content-Type": _TYPES[path.suffix],
                                             "Cache-Control": "no-store"})


def _script_json(value: Any) -> str:
    """JSON that is safe within a script element."""
    return json.dumps(value).replace("<", "\\u003C")


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value).encode(), {"Content-Type": "application/json",
                                                      "Cache-Control": "no-store"})
