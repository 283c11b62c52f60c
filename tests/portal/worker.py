"""The worker POST: what an employee's browser sends when a portal page loads the hidden frame."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .messages import FORM, Message
from .php import form_encode, json_encode
from .state import PLACEMENT


def options_json(uri: str | None, ascii_only: bool = False) -> str:
    """PLACEMENT_OPTIONS as the portal writes it, the URI only if there is one."""
    return json_encode({"ID": PLACEMENT} | ({} if uri is None else {"URI": uri}), ascii_only)


BLOG = "/company/personal/user/1/blog/"
SLIDER = "/crm/deal/details/15/?IFRAME=Y&IFRAME_TYPE=SIDE_SLIDER"

# Everything that a handler must survive in PLACEMENT_OPTIONS; None leaves the field out.
OPTION_VARIANTS: dict[str, str | None] = {
    "normal": options_json(BLOG),
    "slider": options_json(SLIDER),
    "no-uri": options_json(None),
    "empty-list": "[]",
    "percent": options_json("/crm/deal/%D1%84/"),
    "raw-utf8": options_json("/crm/deal/ф/"),
    "escaped-utf8": options_json("/crm/deal/ф/", True),
    "surrogates": options_json("/crm/\U0001f600/", True),
    "long": options_json("/crm/deal/list/?filter=" + "a/" * 10240),
    "null": "null",
    "empty": "",
    "undefined": "undefined",
    "absent": None,
    "truncated": options_json(BLOG)[:40],
    "double-escaped": options_json(BLOG).replace("\\", "\\\\").replace('"', '\\"'),
    "html-escaped": options_json(BLOG).replace('"', "&quot;"),
}


@dataclass(frozen=True)
class Render:
    """All that the portal knows when it renders one frame."""

    domain: str
    member_id: str
    auth_id: str = ""
    refresh_id: str = ""
    protocol: str = "1"
    lang: str = "en"
    app_sid: str = field(default_factory=lambda: secrets.token_hex(16))
    auth_expires: str = "3600"
    server_endpoint: str = "https://oauth.bitrix.info/rest/"
    application_token: str = ""
    scope: str = "placement"
    status: str = "L"
    placement: str = PLACEMENT
    options: str | None = OPTION_VARIANTS["normal"]
    generation: str = "new"
    charset: str = "utf-8"

    @property
    def origin(self) -> str:
        return f"{'https' if self.protocol == '1' else 'http'}://{self.domain}"


def action_url(handler: str, render: Render) -> str:
    """The form's action: concatenated, not built, so that a fragment swallows the query."""
    joint = "&" if "?" in handler else "?"
    query = (f"DOMAIN={render.domain}&PROTOCOL={render.protocol}&LANG={render.lang}"
             f"&APP_SID={render.app_sid}")
    return (handler + joint + query).partition("#")[0]


def fields(render: Render) -> list[tuple[str, str]]:
    """In the documented order; the old generation lacks three of them."""
    pairs = [("AUTH_ID", render.auth_id), ("AUTH_EXPIRES", render.auth_expires),
             ("REFRESH_ID", render.refresh_id)]
    if render.generation == "new":
        pairs += [("SERVER_ENDPOINT", render.server_endpoint),
                  ("APPLICATION_TOKEN", render.application_token),
                  ("APPLICATION_SCOPE", render.scope)]
    pairs += [("member_id", render.member_id), ("status", render.status),
              ("PLACEMENT", render.placement)]
    if render.options is not None:
        pairs.append(("PLACEMENT_OPTIONS", render.options))
    return pairs


def body(render: Render) -> bytes:
    """What a browser makes of the form."""
    return form_encode(fields(render), render.charset).encode()


def worker_post(handler: str, render: Render, origin: str | None = "portal",
                sec_fetch: bool = True) -> Message:
    """The browser's request. `origin`: "portal", "null", any other text, or None for absent."""
    url, data = action_url(handler, render), body(render)
    headers = {"Host": urlsplit(url).netloc, "Content-Type": FORM,
               "Content-Length": str(len(data))}
    if origin is not None:
        headers["Origin"] = render.origin if origin == "portal" else origin
    headers["Referer"] = render.origin + "/"
    if sec_fetch:
        headers |= {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
                    "Sec-Fetch-Dest": "iframe"}
    headers |= {"Upgrade-Insecure-Requests": "1",
                "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                "Accept-Language": "en-US,en;q=0.9", "User-Agent": "Mozilla/5.0"}
    return Message("POST", url, headers, data)
