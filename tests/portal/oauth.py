"""The OAuth server: token pairs, refresh, and the app.info that says whose a token is."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field
from typing import Any

from .clock import Clock
from .recorder import Request
from .response import Response, json_response
from .state import App, Install, Portal

ACCESS_LIFE = 3600
REFRESH_LIFE = 180 * 86400


class OAuthError(Exception):
    def __init__(self, code: str, status: int, description: str = "") -> None:
        super().__init__(code)
        self.response = json_response({"error": code, "error_description": description or code},
                                      status)


@dataclass
class Token:
    value: str
    portal: Portal
    install: Install
    user_id: int
    expires: float
    dead: bool = False  # revoked, or a refresh token that was used


def _new_value(user_id: int, expires: float) -> str:
    """64 hex digits laid out as real ones are: expiry first, user in bytes 12 to 15."""
    head = struct.pack("<I", int(expires)) + secrets.token_bytes(8) + struct.pack(">I", user_id)
    return (head + secrets.token_bytes(16)).hex()


@dataclass(eq=False)
class OAuthServer:
    """Knows every application, and the tokens it issued; one that refreshes, uses them up."""

    name: str
    clock: Clock = field(repr=False)
    apps: dict[str, App] = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    access: dict[str, Token] = field(default_factory=dict, repr=False)
    refresh: dict[str, Token] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def server_endpoint(self) -> str:
        return f"{self.url}/rest/"

    def issue(self, portal: Portal, install: Install, user_id: int) -> tuple[Token, Token]:
        """A fresh pair, as for every page render, event and refresh."""
        pair = []
        for life, store in ((ACCESS_LIFE, self.access), (REFRESH_LIFE, self.refresh)):
            expires = self.clock.now() + life
            token = Token(_new_value(user_id, expires), portal, install, user_id, expires)
            store[token.value] = token
            pair.append(token)
        return pair[0], pair[1]

    def serve(self, request: Request) -> Response:
        endpoints = {"oauth/token": self._token, "app.info": self._app_info}
        if request.endpoint not in endpoints:
            return json_response({"error": "ERROR_METHOD_NOT_FOUND",
                                  "error_description": "Method not found!"}, 404)
        try:
            return json_response(endpoints[request.endpoint](request.params))
        except OAuthError as error:
            return error.response

    def _token(self, params: dict[str, Any]) -> dict[str, Any]:
        names = ("client_id", "client_secret", "refresh_token")
        client_id, secret, value = (params.get(name, "") for name in names)
        if params.get("grant_type") != "refresh_token" or not (client_id and secret and value):
            raise OAuthError("invalid_request", 400)
        app = self.apps.get(client_id)
        if app is None:
            raise OAuthError("invalid_client", 400)
        if app.client_secret != secret:
            raise OAuthError("wrong_client", 200)
        old = self.refresh.get(value)
        if old is None or old.dead or old.expires <= self.clock.now() or old.install.app is not app:
            raise OAuthError("invalid_grant", 400)
        _require_live(old.install)
        old.dead = True
        access, refresh = self.issue(old.portal, old.install, old.user_id)
        return {"access_token": access.value, "client_endpoint": old.portal.client_endpoint,
                "domain": f"{self.host}:{self.port}", "expires": int(access.expires),
                "expires_in": ACCESS_LIFE, "member_id": old.portal.member_id,
                "refresh_token": refresh.value, "scope": ",".join(app.scope),
                "server_endpoint": self.server_endpoint, "status": old.install.status,
                "user_id": old.user_id}

    def _app_info(self, params: dict[str, Any]) -> dict[str, Any]:
        token = self.access.get(str(params.get("auth", "")))
        if token is None or token.dead:
            raise OAuthError("invalid_client", 400)
        if token.expires <= self.clock.now():
            raise OAuthError("expired_token", 401, "The access token provided has expired.")
        _require_live(token.install)
        portal, install, scope = token.portal, token.install, ",".join(token.install.app.scope)
        return {"result": {
            "client_id": install.app.client_id, "scope": scope, "expires": int(token.expires),
            "install": {"installed": install.installed, "version": str(install.app.version),
                        "status": install.status, "scope": scope, "domain": portal.domain,
                        "uri": portal.url, "client_endpoint": portal.client_endpoint,
                        "member_id": portal.member_id, "member_type": "bitrix24"},
            "user_id": token.user_id}}


def _require_live(install: Install) -> None:
    if not install.active:
        raise OAuthError("NOT_INSTALLED", 401, "Application is not installed")
    if not install.paid:
        raise OAuthError("PAYMENT_REQUIRED", 401, "Payment required")
