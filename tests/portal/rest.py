"""The portal's REST methods, with its errors in its order (protocol.md 4)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .php import to_int
from .recorder import Request
from .response import Response, json_response
from .state import PLACEMENT, App, Install, Portal, Row, User

if TYPE_CHECKING:
    from .world import World

# Statuses that are not 400: as the code answers, as the documentation says.
_STATUSES = {
    "ERROR_ARGUMENT": (400, 200), "ERROR_PLACEMENT_MAX_COUNT": (400, 200),
    "ERROR_PLACEMENT_USER_MODE": (400, 200), "EMPTY_ERROR_HANDLER_URL": (200, 200),
    "WRONG_AUTH_TYPE": (403, 403), "ACCESS_DENIED": (403, 403), "NO_AUTH_FOUND": (401, 401),
    "expired_token": (401, 401), "invalid_token": (401, 401), "INVALID_CREDENTIALS": (401, 403),
    "insufficient_scope": (401, 403), "user_access_error": (401, 403),
    "APPLICATION_NOT_FOUND": (401, 401), "PAYMENT_REQUIRED": (401, 401),
    "PORTAL_DELETED": (403, 500), "ERROR_METHOD_NOT_FOUND": (404, 404),
    "INTERNAL_SERVER_ERROR": (500, 500),
}
# Placement codes and the scope that shows them; None is the global scope.
_PLACEMENTS = {PLACEMENT: None, "LEFT_MENU": None, "CRM_DEAL_DETAIL_TAB": "crm"}


class RestError(Exception):
    def __init__(self, code: str, description: str, argument: str = "") -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": description}
        if argument:
            self.body["argument"] = argument


@dataclass(frozen=True)
class Call:
    """An authorized call; a webhook has no application. Top-level names are in upper case."""

    world: World
    portal: Portal
    user: User
    install: Install | None
    params: dict[str, Any]

    @property
    def app(self) -> App:
        assert self.install
        return self.install.app


def serve(world: World, portal: Portal, request: Request) -> Response:
    now = world.clock.now()
    try:
        if request.endpoint not in _METHODS:
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!")
        method, scope = _METHODS[request.endpoint]
        result = method(_authorize(world, portal, request, scope))
    except RestError as error:
        statuses = _STATUSES.get(error.body["error"], (400, 400))
        return json_response(error.body, statuses[portal.error_status == "docs"])
    return json_response({"result": result, "time": _time(now)})


def _time(now: float) -> dict[str, Any]:
    date = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
    return {"start": now, "finish": now + 0.03, "duration": 0.03, "processing": 0.02,
            "date_start": date, "date_finish": date,
            "operating_reset_at": int(now) + 600, "operating": 0}


def _authorize(world: World, portal: Portal, request: Request, scope: str | None) -> Call:
    if portal.deleted:
        raise RestError("PORTAL_DELETED", "Portal was deleted")
    if not portal.commercial:
        raise RestError("ACCESS_DENIED", "REST API is available only on commercial plans")
    params = request.params
    named = {name.upper(): value for name, value in params.items()}
    hook = re.match(r"/rest/(\d+)/([^/]+)/", request.path)
    if hook:
        user_id = portal.hooks.get(hook[2])
        if user_id != int(hook[1]):
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data")
        return Call(world, portal, portal.users[user_id], None, named)
    user, install = _token_owner(portal, _token_value(request, params),
                                 world.clock.now())
    if scope and scope not in install.app.scope:
        raise RestError("insufficient_scope", "The request requires higher privileges than "
                                              "provided by the access token")
    return Call(world, portal, user, install, named)


def _token_value(request: Request, params: dict[str, Any]) -> str:
    bearer = re.fullmatch(r"Bearer\s+(\S+)", request.headers.get("authorization", ""), re.I)
    return bearer[1] if bearer else str(params.get("auth") or params.get("access_token") or "")


def _token_owner(portal: Portal, value: str, now: float) -> tuple[User, Install]:
    if not value:
        raise RestError("NO_AUTH_FOUND", "Wrong authorization data")
    token = portal.oauth.access.get(value)
    if token is None or token.dead or token.portal is not portal:
        raise RestError("invalid_token", "Unable to get application by token")
    if token.expires <= now:
        raise RestError("expired_token", "The access token provided has expired.")
    if not token.install.active:
        raise RestError("APPLICATION_NOT_FOUND", "Application not found")
    if not token.install.paid:
        raise RestError("PAYMENT_REQUIRED", "Payment required")
    user = portal.users[token.user_id]
    if user.dismissed:
        raise RestError("INVALID_CREDENTIALS", "Invalid request credentials")
    if not (user.app_access or user.admin):
        raise RestError("user_access_error", "The user does not have access to the application.")
    return user, token.install


def _require_app(call: Call) -> None:
    if call.install is None:
        raise RestError("WRONG_AUTH_TYPE", "Current authorization type is denied for this method "
                                           "Application context required")


def _require_admin_of_app(call: Call) -> None:
    _require_app(call)
    if not call.user.admin:
        raise RestError("ACCESS_DENIED", "Access denied!")


def _null_argument(portal: Portal, name: str, sentence: str) -> RestError:
    """The code puts a sentence where the documentation has the argument's name."""
    shown = name if portal.error_status == "docs" else sentence
    return RestError("ERROR_ARGUMENT", f"Argument '{shown}' is null or empty", shown)


def _placement_argument(call: Call) -> str:
    placement = call.params.get("PLACEMENT")
    if not isinstance(placement, str):
        raise RestError("ERROR_ARGUMENT", "The value of an argument 'PLACEMENT' must be of type "
                                          "string", "PLACEMENT")
    return placement.upper()


def _check_handler(url: Any) -> None:
    if not isinstance(url, str):
        raise RestError("INTERNAL_SERVER_ERROR", "Internal server error")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises when it is no number
    except ValueError:
        host = ""
    if host.find(".") < 1:
        raise RestError("ERROR_WRONG_HANDLER_URL", "Wrong handler URL")
    if parts.scheme not in ("http", "https"):
        raise RestError("ERROR_UNSUPPORTED_PROTOCOL", "Unsupported handler protocol")


def _bind(call: Call) -> bool:
    _require_admin_of_app(call)
    portal, params = call.portal, call.params
    placement = _placement_argument(call)
    if not placement:
        raise _null_argument(portal, "PLACEMENT", "The placement code is not specified")
    if placement == "DEFAULT":
        raise _null_argument(portal, "PLACEMENT", "The placement code has an incorrect value")
    handler = params.get("HANDLER")
    if not handler:
        raise _null_argument(portal, "HANDLER", "The URL of the placement handler is not specified")
    _check_handler(handler)
    if placement not in _visible_placements(call.app):
        raise RestError("ERROR_PLACEMENT_NOT_FOUND", "Placement not found")
    user_id = max(to_int(params.get("USER_ID", 0)), 0)
    options = _bind_options(call, placement, user_id)
    _check_unique(call, placement, handler)
    title = str(params.get("TITLE") or call.app.name)
    texts = {"TITLE": title, "DESCRIPTION": "", "GROUP_NAME": ""}
    portal.rows.append(Row(next(portal.ids), call.app, placement, handler, user_id, options, title,
                           params.get("LANG_ALL") or {portal.lang: texts}))
    return True


def _bind_options(call: Call, placement: str, user_id: int) -> dict[str, Any]:
    """Steps 10 to 12, which concern this placement alone; only errorHandlerUrl is kept."""
    if placement != PLACEMENT:
        if user_id:
            raise RestError("ERROR_PLACEMENT_USER_MODE", "User mode is not available.")
        return {}
    # A personal row also counts the general one, the general row only itself: bind personal first.
    if any(r.user_id in (0, user_id) for r in call.portal.rows_of(call.app)):
        raise RestError("ERROR_PLACEMENT_MAX_COUNT", "Placement max count: 1")
    options = call.params.get("OPTIONS")
    url = options.get("errorHandlerUrl") if isinstance(options, dict) else ""
    if not url:
        raise RestError("EMPTY_ERROR_HANDLER_URL", "Field errorHandlerUrl is empty.")
    return {"errorHandlerUrl": str(url)}


def _check_unique(call: Call, placement: str, handler: str) -> None:
    """Uniqueness ignores the user."""
    prefix = "Unable to set placement handler: "
    if (call.app.client_id, placement, handler) in call.portal.binding:
        raise RestError("ERROR_CORE", prefix + "Process of binding the handler has already started")
    if any(r.handler == handler for r in call.portal.rows_of(call.app, placement)):
        raise RestError("ERROR_CORE", prefix + "Handler already binded")


def _unbind(call: Call) -> dict[str, int]:
    """Counts every row twice: once found, once deleted."""
    _require_admin_of_app(call)
    placement = _placement_argument(call)
    if not placement:
        raise RestError("ERROR_ARGUMENT", "Argument 'PLACEMENT' is null or empty", "PLACEMENT")
    params = call.params
    found = [r for r in call.portal.rows_of(call.app, placement)
             if params.get("HANDLER") in (None, "", r.handler)
             and ("USER_ID" not in params or r.user_id == to_int(params["USER_ID"]))]
    for row in found:
        call.portal.rows.remove(row)
    return {"count": 2 * len(found)}


def _get(call: Call) -> list[dict[str, Any]]:
    _require_admin_of_app(call)
    return [_shown_row(call.portal, r) for r in call.portal.rows if r.app is call.app]


def _shown_row(portal: Portal, row: Row) -> dict[str, Any]:
    options = dict(row.options)
    if portal.show_count == "absent":
        options.pop("maxTimeCount", None)
    elif portal.show_count == "string" and "maxTimeCount" in options:
        options["maxTimeCount"] = str(options["maxTimeCount"])
    return ({"id": row.id} if portal.show_id else {}) | {
        "placement": row.placement, "userId": row.user_id, "handler": row.handler,
        "options": options, "title": row.title, "description": "", "langAll": row.lang_all}


def _visible_placements(app: App) -> list[str]:
    return [code for code, scope in _PLACEMENTS.items() if scope is None or scope in app.scope]


def _list(call: Call) -> list[str]:
    _require_app(call)
    wanted = call.params.get("SCOPE")
    visible = _visible_placements(call.app)
    return [c for c in visible if wanted is None or (_PLACEMENTS[c] or "") == wanted]


def _app_info(call: Call) -> dict[str, Any]:
    if call.install is None:
        return {"SCOPE": ["placement"], "LICENSE": "de_ent250"}
    return {"ID": call.install.id, "CODE": call.app.client_id, "VERSION": call.app.version,
            "STATUS": call.install.status, "INSTALLED": call.install.installed,
            "PAYMENT_EXPIRED": "N", "DAYS": None, "LANGUAGE_ID": call.portal.lang,
            "LICENSE": "de_ent250"}


def _profile(call: Call) -> dict[str, Any]:
    return {"ID": str(call.user.id), "ADMIN": call.user.admin, "NAME": call.user.name,
            "LAST_NAME": "", "PERSONAL_GENDER": "", "TIME_ZONE": ""}


def channel(portal: Portal, app: App, user_id: int = 0) -> str:
    """Of the push server, for an application's signals to one user, or (0) to all."""
    text = f"{portal.member_id} {app.client_secret} {user_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _pull_config(call: Call) -> dict[str, Any]:
    _require_app(call)
    poll = f"http://127.0.0.1:{call.world.push.port}/sub/"
    now = int(call.world.clock.now())

    def shown(user_id: int) -> dict[str, Any]:
        return {"id": channel(call.portal, call.app, user_id), "type": "private" if user_id else
                "shared", "start": now, "end": now + 43200}
    return {"server": {"version": 4, "server_enabled": True, "mode": "shared",
                       "hostname": "127.0.0.1", "long_polling": poll, "long_pooling_secure": poll,
                       "websocket_enabled": False, "config_timestamp": now},
            "api": {"revision_web": 19, "revision_mobile": 3}, "exp": now + 43200,
            "channels": {"shared": shown(0), "private": shown(call.user.id)}}


def _pull_event(call: Call) -> bool:
    """True also if nobody listens."""
    _require_app(call)
    command, module = call.params.get("COMMAND"), call.params.get("MODULE_ID", "application")
    if not isinstance(command, str) or not re.fullmatch(r"[\w:|.-]+", command):
        raise RestError("COMMAND_ERROR", "Command format error")
    if not isinstance(module, str) or not re.fullmatch(r"[a-z0-9._]+", module):
        raise RestError("MODULE_ID_ERROR", "Module ID format error")
    params = call.params.get("PARAMS") or {}
    try:
        params = json.loads(params) if isinstance(params, str) else params
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise RestError("PARAMS_ERROR", "Params format error")
    users = call.params.get("USER_ID") or [0]
    users = users if isinstance(users, list) else [users]
    if not call.user.admin and any(user not in (0, call.user.id) for user in users):
        raise RestError("USER_ID_ACCESS_ERROR", "Only admin can send notifications to other users")
    for user in users:
        call.world.signal(call.portal, call.app, command, params, to_int(user), module)
    return True


_METHODS: dict[str, tuple[Callable[[Call], Any], str | None]] = {
    "placement.bind": (_bind, "placement"), "placement.unbind": (_unbind, "placement"),
    "placement.get": (_get, "placement"), "placement.list": (_list, "placement"),
    "app.info": (_app_info, None), "profile": (_profile, None),
    "pull.application.config.get": (_pull_config, "pull"),
    "pull.application.event.add": (_pull_event, "pull"),
}
