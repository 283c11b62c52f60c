"""What a Bitrix24 portal knows: applications, users, registrations, switches."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .overtime import Rule

if TYPE_CHECKING:
    from .oauth import OAuthServer

PLACEMENT = "PAGE_BACKGROUND_WORKER"


@dataclass
class App:
    """An application as its vendor registered it; one client id serves many portals."""

    client_id: str
    client_secret: str
    name: str = "Telephony"
    scope: tuple[str, ...] = ("placement", "user_brief")
    version: int = 1
    url: str = ""  # of its own page, which openApplication shows


@dataclass
class Install:
    """An application on one portal; `active` ends with an uninstall, `paid` with the trial."""

    id: int
    app: App
    status: str = "L"
    installed: bool = True
    active: bool = True
    paid: bool = True
    application_token: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass
class User:
    id: int
    name: str
    admin: bool = False
    dismissed: bool = False
    app_access: bool = True


@dataclass
class Row:
    """One registration: what placement.bind makes. User 0 means everybody."""

    id: int
    app: App
    placement: str
    handler: str
    user_id: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    lang_all: dict[str, Any] = field(default_factory=dict)


@dataclass
class NoticePolicy:
    """How the event queue treats the notice that follows a deletion."""

    variant: str = "B"
    delay: float = 0.0
    drop: bool = False
    copies: int = 1


@dataclass(eq=False)
class Portal:
    """`port` is the current one: after a rename, requests to older ports are redirected."""

    name: str
    oauth: OAuthServer
    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    member_id: str = field(default_factory=lambda: secrets.token_hex(16))
    lang: str = "en"
    generation: str = "new"       # of the worker POST: new, old
    error_status: str = "code"    # HTTP statuses of REST errors: code, docs
    show_id: bool = True          # placement.get shows the row's id
    show_count: str = "number"    # ... and maxTimeCount as: number, string, absent
    commercial: bool = True       # False: REST is closed by the plan
    deleted: bool = False
    telephony: float | None = 0   # seconds after a page's start until it has call cards; None: never
    rule: Rule = field(default_factory=Rule)
    overtime_deadline: int = 0  # option rest/max_overtime_reset_count_time
    notice: NoticePolicy = field(default_factory=NoticePolicy)
    users: dict[int, User] = field(default_factory=lambda: {1: User(1, "Ada", admin=True),
                                                            2: User(2, "Bob")})
    installs: dict[str, Install] = field(default_factory=dict)
    hooks: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    binding: set[tuple[str, str, str]] = field(default_factory=set, repr=False)  # begun elsewhere
    ids: itertools.count = field(default_factory=lambda: itertools.count(345), repr=False)

    @property
    def domain(self) -> str:
        return self.host if self.port in (80, 443) else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.domain}"

    @property
    def client_endpoint(self) -> str:
        return f"{self.url}/rest/"

    def rows_of(self, app: App, placement: str = PLACEMENT) -> list[Row]:
        return [r for r in self.rows if r.app is app and r.placement == placement]

    def shows(self, row: Row, user_id: int) -> bool:
        """Whether this user gets the frame; others get a message in its place."""
        install = self.installs[row.app.client_id]
        return (row.user_id in (0, user_id) and install.active and install.installed
                and install.paid and self.users[user_id].app_access)

    def visible_rows(self, user_id: int) -> list[Row]:
        """The frames that this user's pages get (the list itself has no preference rule)."""
        return [r for r in self.rows if r.placement == PLACEMENT and self.shows(r, user_id)]
