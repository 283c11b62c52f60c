"""The control API: POST /control/<verb> with a JSON object of arguments calls the simulator's
method of that name; GET /control/ lists the verbs. Answers are JSON: {"result": ...} or, with
status 400, {"error": "..."}."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from .events import Delivery
from .php import parse_query
from .recorder import Request
from .response import Response

if TYPE_CHECKING:
    from .simulator import Simulator

VERBS = ("describe", "add_oauth", "add_app", "add_portal", "add_user", "add_hook", "add_canary",
         "set_portal", "set_user", "set_install", "demote", "rename", "down", "up", "install",
         "send_install", "send_update", "uninstall", "tokens", "revoke", "expire", "worker", "load",
         "slow", "bind_row", "add_relay", "slow_server", "slow_script", "slow_bx24", "open_call",
         "card_event", "signal", "happened", "page_loads", "reports", "commands", "sliders",
         "notice", "fault", "clear_faults", "advance", "rows", "requests", "connections",
         "deliveries", "clear_records")


class Control:
    """Turns requests into calls; what a call returns is described in JSON."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def serve(self, request: Request) -> Response:
        verb = request.path.removeprefix("/control/").strip("/")
        if not verb:
            return _json({"result": self._help()})
        if verb not in VERBS:
            return _json({"error": f"unknown verb {verb!r}; GET /control/ lists them"}, 400)
        try:
            arguments = parse_query(request.query) | json.loads(request.body or b"{}")
            return _json({"result": self._call(verb, arguments)})
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)

    def _call(self, verb: str, arguments: dict[str, Any]) -> Any:
        """A `wait` argument (seconds) lets a delivery finish before it is described."""
        wait = float(arguments.pop("wait", 0))
        result = getattr(self._simulator, verb)(**arguments)
        if isinstance(result, Delivery) and wait:
            result.wait(wait)
        return plain(result)

    def _help(self) -> dict[str, str]:
        methods = {verb: getattr(self._simulator, verb) for verb in VERBS}
        return {verb: f"{inspect.signature(method)} {inspect.getdoc(method) or ''}"
                for verb, method in methods.items()}


def plain(value: Any) -> Any:
    """JSON form of anything: shown fields and properties; latin-1 keeps every byte of a body."""
    if is_dataclass(value):
        names = [f.name for f in fields(value) if f.repr]
        names += [n for n, a in vars(type(value)).items() if isinstance(a, property)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _json(value: Any, status: int = 200) -> Response:
    """Ordinary JSON: the control API is no part of Bitrix24."""
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
