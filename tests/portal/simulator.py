"""The world in motion: installations, page views, slow loads and what is sent because of them.

The control API offers the same methods to other processes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

from . import messages, overtime, worker
from .activity import Entry
from .events import Delivery
from .messages import Message
from .oauth import Token
from .relay import Relay
from .state import PLACEMENT, App, Install, Portal, Row
from .world import World


@dataclass(frozen=True)
class Load:
    """What one frame did: status None means that no answer came."""

    row: int
    status: int | None
    elapsed_ms: float
    slow: bool


class Simulator(World):
    """A Bitrix24 to test against: `with Simulator() as bitrix: ...`."""

    def install(self, portal: Portal | str, app: App | str, **fields: Any) -> Install:
        """Installs, or re-installs with a new application token; nothing is sent."""
        portal, app = self._portal(portal), self._app(app)
        with self._lock:
            if app.client_id in portal.installs:
                portal.installs[app.client_id].active = False  # and with it the tokens given to it
            made = portal.installs[app.client_id] = Install(next(portal.ids), app, **fields)
        return made

    def send_install(self, portal: Portal | str, app: App | str, url: str, kind: str = "event",
                     user_id: int = 1, **queue: Any) -> Delivery:
        """Installs if need be and tells `url`: kind "event" (ONAPPINSTALL) or "page" (a browser's
        form). `queue`: delay, drop, copies."""
        portal, app = self._portal(portal), self._app(app)
        if app.client_id not in portal.installs or not self._install(portal, app).active:
            self.install(portal, app)
        if kind == "page":
            return self.queue.send(self.worker(portal, app, url, user_id, placement="DEFAULT",
                                               options=None), **queue)
        data = {"VERSION": app.version, "ACTIVE": "Y", "INSTALLED": "Y", "LANGUAGE_ID": portal.lang}
        return self._send_event(portal, app, url, "ONAPPINSTALL", data, user_id, queue)

    def send_update(self, portal: Portal | str, app: App | str, url: str, user_id: int = 1,
                    **queue: Any) -> Delivery:
        """A new version: ONAPPUPDATE with fresh tokens; rows survive."""
        portal, app = self._portal(portal), self._app(app)
        app.version += 1
        data = {"VERSION": app.version, "PREVIOUS_VERSION": app.version - 1,
                "LANGUAGE_ID": portal.lang}
        return self._send_event(portal, app, url, "ONAPPUPDATE", data, user_id, queue)

    def uninstall(self, portal: Portal | str, app: App | str, url: str = "", clean: int = 0,
                  **queue: Any) -> Delivery | None:
        """Removes rows and access; ONAPPUNINSTALL carries no tokens but the application token."""
        portal, app = self._portal(portal), self._app(app)
        with self._lock:
            self._install(portal, app).active = False
            portal.rows = [row for row in portal.rows if row.app is not app]
        data = {"LANGUAGE_ID": portal.lang, "CLEAN": clean}
        return self._send_event(portal, app, url, "ONAPPUNINSTALL", data, 0, queue) if url else None

    def tokens(self, portal: Portal | str, app: App | str, user_id: int = 1) -> tuple[str, str]:
        """A fresh access and refresh token."""
        portal = self._portal(portal)
        with self._lock:
            access, refresh = portal.oauth.issue(portal, self._install(portal, app), user_id)
        return access.value, refresh.value

    def revoke(self, portal: Portal | str, app: App | str, access: bool = True,
               refresh: bool = True) -> int:
        """Kills the tokens issued so far; the number of them."""
        tokens = self._tokens(portal, app, access, refresh)
        for token in tokens:
            token.dead = True
        return len(tokens)

    def expire(self, portal: Portal | str, app: App | str, access: bool = True,
               refresh: bool = False) -> int:
        """Lets the tokens issued so far run out, without moving the clock for others."""
        tokens = self._tokens(portal, app, access, refresh)
        for token in tokens:
            token.expires = self.clock.now()
        return len(tokens)

    def render(self, portal: Portal | str, app: App | str, user_id: int = 1,
               **fields: Any) -> worker.Render:
        """What the portal puts into a frame's form, with fresh tokens; fields override."""
        portal, install = self._portal(portal), self._install(portal, app)
        access, refresh = self.tokens(portal, app, user_id)
        return replace(worker.Render(
            domain=portal.domain, member_id=portal.member_id, auth_id=access, refresh_id=refresh,
            protocol="1" if portal.scheme == "https" else "0", lang=portal.lang,
            server_endpoint=portal.oauth.server_endpoint, scope=",".join(install.app.scope),
            application_token=install.application_token, status=install.status,
            generation=portal.generation), **fields)

    def worker(self, portal: Portal | str, app: App | str, handler: str, user_id: int = 1,
               **fields: Any) -> Message:
        """The worker POST of one render, not sent; fields as in worker.Render."""
        return worker.worker_post(handler, self.render(portal, app, user_id, **fields))

    def load(self, portal: Portal | str, user_id: int = 1, extra_ms: float = 0,
             timeout: float = 30) -> list[Load]:
        """A page view: every visible row is loaded, timed to the last byte, reported if slow.
        `extra_ms` stands for the network between the handler and a far browser."""
        portal = self._portal(portal)
        return [self._load_row(portal, row, user_id, extra_ms, timeout)
                for row in portal.visible_rows(user_id)]

    def slow(self, portal: Portal | str, app: App | str, times: int = 1,
             user_id: int = 0) -> dict[str, Any]:
        """Slow-load reports for a row (user 0: the general one), until it is deleted."""
        portal, app = self._portal(portal), self._app(app)
        row = next(r for r in portal.rows_of(app) if r.user_id == user_id)
        deleted = any(self._report(portal, row) for _ in range(times))
        return {"row": row.id, "deleted": deleted, "count": row.options["maxTimeCount"]}

    def bind_row(self, portal: Portal | str, app: App | str, handler: str, error_url: str = "",
                 user_id: int = 0) -> Row:
        """A registration as placement.bind would leave it, without asking anybody."""
        portal, app = self._portal(portal), self._app(app)
        texts = {portal.lang: {"TITLE": app.name, "DESCRIPTION": "", "GROUP_NAME": ""}}
        with self._lock:
            row = Row(next(portal.ids), app, PLACEMENT, handler, user_id,
                      {"errorHandlerUrl": error_url}, app.name, texts)
            portal.rows.append(row)
            self._tell_row("bound", portal, row)
        return row

    def add_relay(self, upstream: str) -> str:
        """The URL of a proxy in front of an application's server, which slow_server and slow_script
        then concern."""
        relay = Relay(upstream, self.delays)
        return f"http://127.0.0.1:{self.listen('relay', relay.serve).port}"

    def slow_server(self, seconds: float = 6) -> None:
        """Loads reach the application's server so much later; 0 ends it."""
        self.delays.server = float(seconds)

    def slow_script(self, seconds: float = 6) -> None:
        """The application's page gets a script into its markup that takes so long; 0 ends it."""
        self.delays.script = float(seconds)

    def slow_bx24(self, seconds: float = 6) -> None:
        """BX24.js takes so long; 0 ends it."""
        self.delays.bx24 = float(seconds)

    def open_call(self, portal: Portal | str, page: str = "", **call: Any) -> str:
        """A call card opens in one page, the newest unless told; returns the page. `call`: fields
        of the event `initialized`."""
        return self.pages.open_call(self._portal(portal), page, call)

    def card_event(self, portal: Portal | str, event: str, payload: Any = None) -> None:
        """What the operator does with the card, for example muteButtonClick, True."""
        self.pages.card_event(self._portal(portal), event, payload)

    def happened(self, portal: Portal | str = "", kind: str = "", since: int = 0) -> list[Entry]:
        """What the pages did and what came of it, as activity.Entry lists it."""
        name = self._portal(portal).name if portal else ""
        return self.activity.entries(name, kind, since)

    def page_loads(self, portal: Portal | str = "") -> list[dict[str, Any]]:
        """Each load event of a frame, as its page measured it."""
        return self._facts(portal, "load")

    def reports(self, portal: Portal | str = "") -> list[dict[str, Any]]:
        """Slow loads that reached the portal."""
        return self._facts(portal, "report")

    def commands(self, portal: Portal | str = "", command: str = "") -> list[dict[str, Any]]:
        """Messages of frames that a page carried out."""
        return [c for c in self._facts(portal, "command") if command in ("", c["command"])]

    def sliders(self, portal: Portal | str = "") -> list[dict[str, Any]]:
        """What openApplication and openPath opened."""
        return self._facts(portal, "slider")

    def _facts(self, portal: Portal | str, kind: str) -> list[dict[str, Any]]:
        return [entry.facts for entry in self.happened(portal, kind)]

    def _tokens(self, portal: Portal | str, app: App | str, access: bool,
                refresh: bool) -> list[Token]:
        portal, app = self._portal(portal), self._app(app)
        with self._lock:
            stores = [portal.oauth.access] * access + [portal.oauth.refresh] * refresh
            return [t for store in stores for t in store.values()
                    if t.portal is portal and t.install.app is app]

    def _send_event(self, portal: Portal, app: App, url: str, name: str, data: dict[str, Any],
                    user_id: int, queue: dict[str, Any]) -> Delivery:
        """User 0: an event without tokens."""
        install, now = self._install(portal, app), int(self.clock.now())
        place = {"domain": portal.domain, "server_endpoint": portal.oauth.server_endpoint}
        client = {"client_endpoint": portal.client_endpoint, "member_id": portal.member_id}
        token = {"application_token": install.application_token}
        if not user_id:
            return self.queue.send(messages.event(url, name, data, now, place | client | token),
                                   **queue)
        access, refresh = self.tokens(portal, app, user_id)
        auth = {"access_token": access, "expires": now + 3600, "expires_in": 3600,
                "scope": ",".join(app.scope)} | place | {"status": install.status} | client | {
                "user_id": user_id, "refresh_token": refresh} | token
        return self.queue.send(messages.event(url, name, data, now, auth), **queue)

    def _load_row(self, portal: Portal, row: Row, user_id: int, extra_ms: float,
                  timeout: float) -> Load:
        message = self.worker(portal, row.app, row.handler, user_id)
        started = time.monotonic()
        try:
            status: int | None = message.send(timeout)[0]
        except (OSError, HTTPException):
            status = None  # a frame that never loads is never reported
        elapsed = (time.monotonic() - started) * 1000 + extra_ms
        loaded = status not in (None, 204, 205)  # those have no load event
        slow = loaded and overtime.is_slow(elapsed, portal.rule)
        if slow:
            self._report(portal, row)
        return Load(row.id, status, elapsed, slow)
