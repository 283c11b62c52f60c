"""The simulator against the wire protocol: golden vectors, tables, tokens, faults, records."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal import OPTION_VARIANTS, Clock, Render, Simulator, messages, overtime, php, worker
from portal.recorder import Request
from portal.response import Response
from portal.state import App, Portal

NOW = 1761990000
ACCESS = "4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60"
REFRESH = "31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac"
MEMBER = "da45a03b265edd8787f8a258d793cc5d"
APP_TOKEN = "ec1b2074a9d3f5c81b6e40d27a95cf38"
GOLDEN = Render("xxx.bitrix24.com", MEMBER, ACCESS, REFRESH, application_token=APP_TOKEN,
                app_sid="588b8a98e848778a4ffb38fbcf70f2b9")
WORKER, ERROR = "https://app.example.com/b24/worker", "https://app.example.com/b24/error/k7Qm"
BIND = {"PLACEMENT": "PAGE_BACKGROUND_WORKER", "HANDLER": WORKER,
        "OPTIONS": {"errorHandlerUrl": ERROR}}


def ask(url: str, params: Any = None, headers: dict[str, str] | None = None,
        method: str = "POST") -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own; dicts go as JSON, text as a form."""
    parts, headers = urlsplit(url), headers or {}
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        body = json.dumps(params) if isinstance(params, dict) else params
        kind = "application/json" if isinstance(params, dict) else messages.FORM
        connection.request(method, url[len(f"http://{parts.netloc}"):], body,
                           {"Content-Type": kind} | headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@dataclass
class World:
    """A portal with an application whose client calls REST."""

    sim: Simulator
    portal: Portal
    app: App

    def call(self, method: str, params: dict[str, Any] | None = None, user: int = 1,
             token: str | None = None) -> tuple[int, Any]:
        token = token or self.sim.tokens(self.portal, self.app, user)[0]
        params = {**(params or {}), "auth": token}
        status, _, body = ask(self.portal.client_endpoint + method, params)
        return status, json.loads(body)

    def bind(self, **changes: Any) -> tuple[int, Any]:
        params = {k: v for k, v in (BIND | changes).items() if v is not None}
        return self.call("placement.bind", params)

    def refresh(self, token: str, **changes: str) -> tuple[int, Any]:
        query = {"grant_type": "refresh_token", "client_id": self.app.client_id,
                 "client_secret": self.app.client_secret, "refresh_token": token} | changes
        status, _, body = ask(self.portal.oauth.url + "/oauth/token/", php.build_query(query))
        return status, json.loads(body)


@pytest.fixture
def w() -> Iterator[World]:
    with Simulator(Clock(NOW)) as sim:
        portal, app = sim.add_portal(), sim.add_app()
        sim.install(portal, app)
        yield World(sim, portal, app)


class Handler:
    """Stands for the application's server: answers 200 and keeps what it got."""

    def __init__(self, sim: Simulator) -> None:
        port = sim.listen("handler", lambda request: Response(200, b"ok")).port
        self.sim, self.url = sim, f"http://127.0.0.1:{port}/b24"

    @property
    def got(self) -> list[Request]:
        return self.sim.requests("handler")


@pytest.fixture
def handler(w: World) -> Handler:
    return Handler(w.sim)


# ---- golden vectors ----

def test_v1_v2_worker_bodies() -> None:
    post = worker.worker_post(WORKER + "?type=1", GOLDEN)
    assert len(post.body) == 533 and post.headers["Content-Length"] == "533"
    assert post.target == ("/b24/worker?type=1&DOMAIN=xxx.bitrix24.com&PROTOCOL=1&LANG=en"
                           "&APP_SID=588b8a98e848778a4ffb38fbcf70f2b9")
    assert post.body.endswith(b"&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22"
                              b"URI%22%3A%22%5C%2Fcompany%5C%2Fpersonal%5C%2Fuser%5C%2F1%5C%2Fblog"
                              b"%5C%2F%22%7D")
    assert post.headers["Origin"] == "https://xxx.bitrix24.com"
    old = Render("portal.example.local:8080", MEMBER, ACCESS, REFRESH, "0", "ru", generation="old")
    assert len(worker.body(old)) == 396
    assert "?DOMAIN=portal.example.local:8080&PROTOCOL=0&LANG=ru&" in worker.action_url(WORKER, old)


def test_v3_v4_options() -> None:
    assert json.loads(OPTION_VARIANTS["normal"]) == {
        "ID": "PAGE_BACKGROUND_WORKER", "URI": "/company/personal/user/1/blog/"}
    assert OPTION_VARIANTS["slider"].endswith(r"\/15\/?IFRAME=Y\u0026IFRAME_TYPE=SIDE_SLIDER" '"}')
    assert json.loads(OPTION_VARIANTS["slider"])["URI"] == worker.SLIDER
    assert r"\ud83d\ude00" in OPTION_VARIANTS["surrogates"]
    assert len(OPTION_VARIANTS["long"]) > 20480


def test_action_url_is_concatenated() -> None:
    assert worker.action_url("https://h/w?", GOLDEN).startswith("https://h/w?&DOMAIN=")
    assert worker.action_url("https://h/w#x", GOLDEN) == "https://h/w"
    assert worker.worker_post("https://h", GOLDEN).target.startswith("/?DOMAIN")


def test_browser_headers_and_charset() -> None:
    bare = worker.worker_post(WORKER, GOLDEN, origin=None, sec_fetch=False)
    assert "Origin" not in bare.headers and not any(h.startswith("Sec-") for h in bare.headers)
    cyrillic = Render("d", MEMBER, options="ф", charset="windows-1251")
    assert worker.body(cyrillic).endswith(b"PLACEMENT_OPTIONS=%F4")
    assert b"PLACEMENT_OPTIONS" not in worker.body(Render("d", MEMBER, options=None))


AUTH = {"domain": "xxx.bitrix24.com", "client_endpoint": "https://xxx.bitrix24.com/rest/",
        "server_endpoint": "https://oauth.bitrix.info/rest/", "member_id": MEMBER,
        "application_token": APP_TOKEN}


def test_v5_notices() -> None:
    made = {v: messages.notice(ERROR, v, NOW, AUTH) for v in "ABCDE"}
    assert len(made["A"].body) == 127
    assert len(made["B"].body) == 363
    assert list(made["B"].headers) == ["Host", "User-Agent", "Content-Type", "Content-Length"]
    assert made["C"].body == made["B"].body + b"&auth%5Bapplication_token%5D=" + APP_TOKEN.encode()
    assert made["D"].method == "GET"
    assert made["D"].target.partition("?")[2].encode() == made["B"].body
    assert json.loads(made["E"].body)["auth"]["member_id"] == MEMBER


def test_v6_install_event() -> None:
    auth = {"access_token": ACCESS, "expires": NOW + 3600, "expires_in": 3600,
            "scope": "placement,user_brief", "domain": AUTH["domain"],
            "server_endpoint": AUTH["server_endpoint"], "status": "L",
            "client_endpoint": AUTH["client_endpoint"], "member_id": MEMBER, "user_id": 1,
            "refresh_token": REFRESH, "application_token": APP_TOKEN}
    data = {"VERSION": 1, "ACTIVE": "Y", "INSTALLED": "Y", "LANGUAGE_ID": "en"}
    assert len(messages.event(ERROR, "ONAPPINSTALL", data, NOW, auth).body) == 711


def test_install_event_on_the_wire_has_the_documented_order(w: World, handler: Handler) -> None:
    assert w.sim.send_install(w.portal, w.app, handler.url).wait().status == 200
    request, = handler.got
    assert request.headers["user-agent"] == "Bitrix24 Webhook Engine"
    assert [n for n, _ in parse_qsl(request.body.decode())] == [
        "event", "data[VERSION]", "data[ACTIVE]", "data[INSTALLED]", "data[LANGUAGE_ID]", "ts",
        *(f"auth[{n}]" for n in ("access_token", "expires", "expires_in", "scope", "domain",
                                 "server_endpoint", "status", "client_endpoint", "member_id",
                                 "user_id", "refresh_token", "application_token"))]
    token = request.params["auth"]["access_token"]
    assert w.call("profile", token=token)[1]["result"]["ADMIN"] is True


# ---- 2.4: the counter ----

def test_v7_the_eleventh_report_deletes(w: World, handler: Handler) -> None:
    w.bind(OPTIONS={"errorHandlerUrl": handler.url})
    for n in range(1, 11):
        assert w.sim.slow(w.portal, w.app) == {"row": w.portal.rows[0].id, "deleted": False,
                                               "count": n}
        assert w.portal.overtime_deadline == NOW + 86400
    assert w.sim.slow(w.portal, w.app)["deleted"] and not w.portal.rows
    assert w.sim.wait(lambda: handler.got)
    assert handler.got[0].params["error"] == "ERROR_PLACEMENT_LOADING_OVERTIME"
    assert w.bind()[0] == 200 and "maxTimeCount" not in w.portal.rows[0].options
    assert not overtime.is_slow(5000, w.portal.rule) and overtime.is_slow(5001, w.portal.rule)


def test_reset_after_the_deadline_only(w: World) -> None:
    w.bind()
    w.sim.slow(w.portal, w.app, 9)
    w.sim.advance(86400)
    assert w.sim.slow(w.portal, w.app)["count"] == 10  # the deadline itself is not past
    w.sim.advance(1)
    assert w.sim.slow(w.portal, w.app)["count"] == 1
    assert w.portal.overtime_deadline == NOW + 86401 + 86400


def test_the_deadline_is_in_whole_seconds(w: World) -> None:
    w.bind()
    w.sim.advance(0.9)
    w.sim.slow(w.portal, w.app)
    assert w.portal.overtime_deadline == NOW + 86400
    w.sim.advance(86400)
    assert w.sim.slow(w.portal, w.app)["count"] == 2  # the same second is not past
    w.sim.advance(0.1)
    assert w.sim.slow(w.portal, w.app)["count"] == 1


def test_two_rows_share_the_deadline(w: World) -> None:
    w.bind(USER_ID=2, HANDLER=WORKER + "?u=2")
    w.bind()
    w.sim.slow(w.portal, w.app, 9, user_id=2)
    w.sim.advance(80000)
    w.sim.slow(w.portal, w.app)  # the other row's first slow load pushes the common deadline
    w.sim.advance(80000)
    assert w.sim.slow(w.portal, w.app, user_id=2)["count"] == 10
    w.sim.advance(10000)
    assert w.sim.slow(w.portal, w.app)["count"] == 1  # past it: this row alone starts anew
    assert w.sim.slow(w.portal, w.app, user_id=2)["deleted"]


def test_older_rule_deletes_on_the_fourth_and_never_resets(w: World) -> None:
    w.sim.set_portal(w.portal, rule={"limit": 3, "resets": False})
    w.bind()
    for _ in range(3):
        assert not w.sim.slow(w.portal, w.app)["deleted"]
        w.sim.advance(100000)
    assert w.sim.slow(w.portal, w.app)["deleted"]


def test_report_of_the_portals_page(w: World) -> None:
    w.bind()
    item = {"ID": "placement_rest_1", "PLACEMENT": "PAGE_BACKGROUND_WORKER",
            "APP_ID": w.portal.installs[w.app.client_id].id, "PLACEMENT_ID": w.portal.rows[0].id}
    url = f"{w.portal.url}/bitrix/services/main/ajax.php?mode=class&action=setLongLoad"
    answer = ask(url, php.build_query({"item": item, "SITE_ID": "s1"}))
    assert answer[2] == b'{"status":"success","data":{"success":"Y"},"errors":[]}'
    ask(url, php.build_query({"item": item | {"APP_ID": 999}}))
    ask(f"{url}&{php.build_query({'item': item})}", method="GET")
    assert w.portal.rows[0].options["maxTimeCount"] == 1


def test_page_view_loads_visible_rows_and_reports_slow_ones(w: World, handler: Handler) -> None:
    w.bind(USER_ID=2, HANDLER=handler.url + "?u=2")
    w.bind(HANDLER=handler.url)
    assert [one.status for one in w.sim.load(w.portal, 1)] == [200]
    loads = w.sim.load(w.portal, 2, extra_ms=5001)
    assert [one.slow for one in loads] == [True, True] and len(handler.got) == 3
    assert [r.options["maxTimeCount"] for r in w.portal.rows] == [1, 1]
    w.sim.set_install(w.portal, w.app, installed=False)
    assert w.sim.load(w.portal, 1) == []


def test_an_answer_without_a_load_event_is_not_reported(w: World) -> None:
    port = w.sim.listen("nothing", lambda request: Response(204)).port
    w.bind(HANDLER=f"http://127.0.0.1:{port}/b24")
    load, = w.sim.load(w.portal, extra_ms=9000)
    assert (load.status, load.slow) == (204, False)
    assert "maxTimeCount" not in w.portal.rows[0].options


# ---- 4: REST ----

SENTENCE = "Argument '%s' is null or empty"
TYPE = "The value of an argument 'PLACEMENT' must be of type string"
CASES = [  # changes to a good bind, error, description, HTTP as the code, HTTP as documented
    ({"PLACEMENT": None}, "ERROR_ARGUMENT", TYPE, 400, 200),
    ({"PLACEMENT": 5}, "ERROR_ARGUMENT", TYPE, 400, 200),
    ({"PLACEMENT": ""}, "ERROR_ARGUMENT",
     SENTENCE % "The placement code is not specified", 400, 200),
    ({"PLACEMENT": "default"}, "ERROR_ARGUMENT",
     SENTENCE % "The placement code has an incorrect value", 400, 200),
    ({"HANDLER": None}, "ERROR_ARGUMENT",
     SENTENCE % "The URL of the placement handler is not specified", 400, 200),
    *(({"HANDLER": url}, "ERROR_WRONG_HANDLER_URL", "Wrong handler URL", 400, 400)
      for url in ("https://localhost/x", "https://.com/", "host.tld/x", "http://a.b:port/")),
    *(({"HANDLER": url}, "ERROR_UNSUPPORTED_PROTOCOL", "Unsupported handler protocol", 400, 400)
      for url in ("ftp://a.b/", "//host.tld/x")),
    *(({"PLACEMENT": code}, "ERROR_PLACEMENT_NOT_FOUND", "Placement not found", 400, 400)
      for code in ("NOWHERE", "CRM_DEAL_DETAIL_TAB")),
    ({"PLACEMENT": "LEFT_MENU", "USER_ID": 7}, "ERROR_PLACEMENT_USER_MODE",
     "User mode is not available.", 400, 200),
    *(({"OPTIONS": options}, "EMPTY_ERROR_HANDLER_URL", "Field errorHandlerUrl is empty.", 200, 200)
      for options in (None, "text", {"errorHandlerUrl": ""}, {"maxTimeCount": 3})),
]


@pytest.mark.parametrize("mode", ["code", "docs"])
@pytest.mark.parametrize(("changes", "error", "text", "code", "docs"), CASES)
def test_bind_errors(w: World, changes: dict[str, Any], error: str, text: str, code: int,
                     docs: int, mode: str) -> None:
    w.sim.set_portal(w.portal, error_status=mode)
    status, answer = w.bind(**changes)
    assert (status, answer["error"]) == (code if mode == "code" else docs, error)
    if mode == "docs" and text.endswith("is null or empty"):
        text = SENTENCE % next(iter(changes))  # the documentation has the argument's name there
    assert answer["error_description"] == text
    assert "time" not in answer and not w.portal.rows  # V10 among them


def test_bind_errors_come_in_order(w: World) -> None:
    """Every fault at once; each correction uncovers the next."""
    hook = w.sim.add_hook(w.portal)
    bad = {"HANDLER": "ftp://localhost/", "PLACEMENT": None, "USER_ID": 7, "OPTIONS": {}}
    assert json.loads(ask(hook + "placement.bind", bad)[2])["error"] == "WRONG_AUTH_TYPE"
    assert w.call("placement.bind", bad, user=2)[1]["error"] == "ACCESS_DENIED"
    w.bind(USER_ID=7)
    w.portal.binding.add((w.app.client_id, "PAGE_BACKGROUND_WORKER", WORKER))
    steps = [({}, "type string"), ({"PLACEMENT": ""}, "not specified"),
             ({"PLACEMENT": "DEFAULT", "HANDLER": ""}, "incorrect value"),
             ({"PLACEMENT": "NOWHERE"}, "URL of the placement handler"),
             ({"HANDLER": "ftp://localhost/"}, "Wrong handler URL"),
             ({"HANDLER": "ftp://a.b/"}, "Unsupported"), ({"HANDLER": WORKER}, "not found"),
             ({"PLACEMENT": "LEFT_MENU"}, "User mode"),
             ({"PLACEMENT": "PAGE_BACKGROUND_WORKER"}, "max count: 1"),
             ({"USER_ID": 8}, "errorHandlerUrl is empty"),
             ({"OPTIONS": {"errorHandlerUrl": ERROR}}, "already started")]
    for change, text in steps:
        bad |= change
        assert text in w.bind(**bad)[1]["error_description"]
    w.portal.binding.clear()
    assert w.bind(**bad)[1]["error_description"].endswith("Handler already binded")
    assert w.bind(**bad | {"HANDLER": WORKER + "?u=8"})[1]["result"] is True


def test_v9_v11_bind_twice_and_ip_handler(w: World) -> None:
    status, answer = w.bind(HANDLER="https://10.0.0.1:8443/x", placement=None)
    assert status == 200 and answer["result"] is True and "operating" in answer["time"]
    assert w.bind()[1]["error"] == "ERROR_PLACEMENT_MAX_COUNT"


def test_order_trap_of_personal_rows(w: World) -> None:
    w.bind()
    assert w.bind(USER_ID=7, HANDLER=WORKER + "?u=7")[1]["error"] == "ERROR_PLACEMENT_MAX_COUNT"
    assert w.call("placement.unbind", {"PLACEMENT": "PAGE_BACKGROUND_WORKER",
                                       "USER_ID": 0})[1]["result"] == {"count": 2}  # V8
    for user, url in ((7, WORKER + "?u=7"), (8, WORKER + "?u=8"), (0, WORKER)):
        assert w.bind(USER_ID=user, HANDLER=url)[1]["result"] is True
    assert w.bind(USER_ID=9, HANDLER=WORKER)[1]["error"] == "ERROR_PLACEMENT_MAX_COUNT"
    assert w.call("placement.unbind", {"placement": "page_background_worker"})[1]["result"] == {
        "count": 6}
    assert w.call("placement.unbind", {"PLACEMENT": "NOWHERE"})[1]["result"] == {"count": 0}


def test_get_shows_options_as_the_portal_stores_them(w: World) -> None:
    w.bind(TITLE="My & worker", OPTIONS={"errorHandlerUrl": ERROR, "other": 1})
    w.sim.slow(w.portal, w.app, 3)
    row, = w.call("placement.get")[1]["result"]
    assert row["options"] == {"errorHandlerUrl": ERROR, "maxTimeCount": 3}
    assert row["handler"] == WORKER and row["title"] == "My & worker"
    w.sim.set_portal(w.portal, show_count="string", show_id=False)
    row, = w.call("placement.get")[1]["result"]
    assert row["options"]["maxTimeCount"] == "3" and "id" not in row
    w.sim.set_portal(w.portal, show_count="absent")
    assert "maxTimeCount" not in w.call("placement.get")[1]["result"][0]["options"]
    raw = ask(w.portal.client_endpoint + "placement.get",
              {"auth": w.sim.tokens(w.portal, w.app)[0]})
    assert rb"https:\/\/app.example.com\/b24\/worker" in raw[2] and rb"My \u0026 worker" in raw[2]
    assert raw[1]["content-type"] == "application/json; charset=utf-8"
    w.call("placement.bind", {"PLACEMENT": "LEFT_MENU", "HANDLER": WORKER})
    assert w.call("placement.get")[1]["result"][1]["options"] == []


def test_input_forms(w: World) -> None:
    token, _ = w.sim.tokens(w.portal, w.app)
    url = w.portal.client_endpoint + "Placement.Bind.json/"
    form = php.build_query(BIND | {"auth": token})
    assert "OPTIONS%5BerrorHandlerUrl%5D" in form and b'"result":true' in ask(url, form)[2]
    profile = w.portal.client_endpoint + "profile"
    bearer = {"Authorization": f"Bearer {token}"}
    assert ask(profile, {"auth": "wrong"}, bearer)[0] == 200
    assert ask(profile, {"access_token": token})[0] == 200
    assert b"invalid_token" in ask(profile, {"auth": "wrong", "access_token": token})[2]
    assert ask(f"{profile}?auth={token}", method="GET")[0] == 200
    assert ask(f"{profile}?auth=wrong", {"auth": token})[0] == 200  # the body wins
    broken = ask(profile, '{"auth":"' + token, {"Content-Type": "application/json"})
    assert (broken[0], json.loads(broken[2])["error"]) == (401, "NO_AUTH_FOUND")


def test_identity_methods_and_webhook(w: World) -> None:
    assert w.call("profile", user=2)[1]["result"] == {
        "ID": "2", "ADMIN": False, "NAME": "Bob", "LAST_NAME": "", "PERSONAL_GENDER": "",
        "TIME_ZONE": ""}
    assert w.call("app.info")[1]["result"]["CODE"] == w.app.client_id
    assert w.call("placement.list", user=2)[1]["result"] == ["PAGE_BACKGROUND_WORKER", "LEFT_MENU"]
    hook = w.sim.add_hook(w.portal)
    assert list(json.loads(ask(hook + "app.info")[2])["result"]) == ["SCOPE", "LICENSE"]
    for method in ("bind", "unbind", "get", "list"):
        assert ask(hook + "placement." + method)[0] == 403
    foreign = ask(hook.replace("/rest/1/", "/rest/2/") + "profile")
    assert json.loads(foreign[2])["error"] == "NO_AUTH_FOUND"
    assert w.call("placement.nothing") == (404, {"error": "ERROR_METHOD_NOT_FOUND",
                                                 "error_description": "Method not found!"})


def test_access_errors(w: World) -> None:
    def error(mode: str = "code", user: int = 1) -> tuple[int, str]:
        w.sim.set_portal(w.portal, error_status=mode)
        status, answer = w.call("placement.get", user=user)
        return status, answer["error"]

    w.sim.set_user(w.portal, 2, app_access=False)
    assert error(user=2) == (401, "user_access_error") and error("docs", 2)[0] == 403
    w.sim.set_user(w.portal, 2, dismissed=True)
    assert error(user=2) == (401, "INVALID_CREDENTIALS")
    w.sim.demote(w.portal)
    assert error() == (403, "ACCESS_DENIED")
    w.app.scope = ("user_brief",)
    assert error() == (401, "insufficient_scope") and error("docs")[0] == 403
    w.sim.set_install(w.portal, w.app, paid=False)
    assert error() == (401, "PAYMENT_REQUIRED")
    w.sim.set_portal(w.portal, deleted=True)
    assert error() == (403, "PORTAL_DELETED") and error("docs")[0] == 500


def test_rename_answers_302_and_keeps_the_member(w: World) -> None:
    old = w.portal.client_endpoint
    token, _ = w.sim.tokens(w.portal, w.app)
    w.sim.rename(w.portal)
    status, headers, _ = ask(old + "profile?x=1", {"auth": token})
    assert (status, headers["location"]) == (302, w.portal.client_endpoint + "profile?x=1")
    assert w.call("profile", token=token)[0] == 200 and w.portal.client_endpoint != old


# ---- 5: tokens ----

def test_refresh_is_single_use(w: World) -> None:
    access, refresh = w.sim.tokens(w.portal, w.app)
    status, pair = w.refresh(refresh)
    assert status == 200 and pair["refresh_token"] != refresh and pair["expires"] == NOW + 3600
    assert pair["client_endpoint"] == w.portal.client_endpoint
    assert w.portal.oauth.url.endswith(pair["domain"])
    assert w.call("profile", token=pair["access_token"])[0] == 200
    status, answer = w.refresh(refresh)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert w.refresh(pair["refresh_token"])[0] == 200


def test_of_many_refreshers_one_wins(w: World) -> None:
    _, refresh = w.sim.tokens(w.portal, w.app)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: w.refresh(refresh)[0], range(16)))
    assert sorted(statuses) == [200] + [400] * 15


def test_expiry_follows_the_clock(w: World) -> None:
    access, refresh = w.sim.tokens(w.portal, w.app)
    w.sim.advance(3599)
    assert w.call("profile", token=access)[0] == 200
    w.sim.advance(1)
    status, answer = w.call("profile", token=access)
    assert (status, answer["error"]) == (401, "expired_token")
    w.sim.advance(180 * 86400)
    assert w.refresh(refresh)[1]["error"] == "invalid_grant"


def test_refresh_errors(w: World) -> None:
    _, refresh = w.sim.tokens(w.portal, w.app)
    other = w.sim.add_app()
    wrong = {"client_id": other.client_id, "client_secret": other.client_secret}
    assert w.refresh(refresh, **wrong)[1]["error"] == "invalid_grant"
    assert w.refresh(refresh, client_secret="x")[0] == 200
    assert w.refresh(refresh, client_secret="x")[1]["error"] == "wrong_client"
    assert w.refresh(refresh, client_id="x")[1]["error"] == "invalid_client"
    assert w.refresh("")[1]["error"] == "invalid_request"
    w.sim.set_install(w.portal, w.app, paid=False)
    assert w.refresh(refresh)[1]["error"] == "PAYMENT_REQUIRED"
    w.sim.set_install(w.portal, w.app, paid=True)
    assert w.refresh(refresh)[0] == 200  # none of the refusals used it up


def test_oauth_app_info(w: World) -> None:
    def info(token: str) -> tuple[int, Any]:
        status, _, body = ask(w.portal.oauth.server_endpoint + "app.info", {"auth": token})
        return status, json.loads(body)

    token, _ = w.sim.tokens(w.portal, w.app, 2)
    result = info(token)[1]["result"]
    assert result["client_id"] == w.app.client_id and result["user_id"] == 2
    assert result["install"]["member_id"] == w.portal.member_id
    assert result["install"]["domain"] == w.portal.domain and result["install"]["installed"] is True
    assert info("foreign")[1]["error"] == "invalid_client" and info("foreign")[0] == 400
    w.sim.expire(w.portal, w.app)
    assert info(token)[1]["error"] == "expired_token"
    token, _ = w.sim.tokens(w.portal, w.app)
    w.sim.revoke(w.portal, w.app)
    assert info(token)[1]["error"] == "invalid_client"


def test_install_page_update_and_uninstall(w: World, handler: Handler) -> None:
    sim, before = w.sim, w.portal.installs[w.app.client_id].application_token
    assert sim.send_install(w.portal, w.app, handler.url, "page").wait().status == 200
    page = handler.got[0]
    assert page.params["PLACEMENT"] == "DEFAULT" and page.headers["sec-fetch-dest"] == "iframe"
    assert page.params["DOMAIN"] == w.portal.domain and page.params["APPLICATION_TOKEN"] == before
    w.bind()
    assert sim.send_update(w.portal, w.app, handler.url).wait().status == 200 and w.portal.rows
    assert handler.got[1].params["data"] == {"VERSION": "2", "PREVIOUS_VERSION": "1",
                                             "LANGUAGE_ID": "en"}
    token, refresh = sim.tokens(w.portal, w.app)
    assert sim.uninstall(w.portal, w.app, handler.url, clean=1).wait().status == 200
    params = handler.got[2].params
    assert params["data"]["CLEAN"] == "1" and list(params["auth"]) == [
        "domain", "server_endpoint", "client_endpoint", "member_id", "application_token"]
    assert not w.portal.rows and w.refresh(refresh)[1]["error"] == "NOT_INSTALLED"
    assert w.call("profile", token=token)[1]["error"] == "APPLICATION_NOT_FOUND"
    sim.send_install(w.portal, w.app, handler.url).wait()
    assert handler.got[3].params["auth"]["application_token"] != before


# ---- queue, faults, records ----

def test_queue_delays_drops_duplicates_and_never_retries(w: World, handler: Handler) -> None:
    sim = w.sim
    late = sim.notice(w.portal, w.app, handler.url, "A", delay=600)
    assert sim.notice(w.portal, w.app, handler.url, "E", drop=True).wait().statuses == []
    assert sim.notice(w.portal, w.app, handler.url, "D", copies=2).wait().statuses == [200, 200]
    assert [r.method for r in handler.got] == ["GET", "GET"] and not late.done.is_set()
    sim.advance(600)
    assert late.wait().status == 200 and len(handler.got) == 3
    sim.fault("html", "handler")
    assert sim.notice(w.portal, w.app, handler.url).wait().statuses == [500]
    sim.down("handler")
    refused = sim.notice(w.portal, w.app, handler.url).wait()
    assert refused.statuses == [None] and "refused" in refused.errors[0].lower()


def test_counted_faults_spare_others(w: World) -> None:
    w.sim.fault("query_limit", w.portal.name, "placement.get", count=2, skip=1)
    statuses = [w.call("placement.get")[0] for _ in range(4)]
    assert statuses == [200, 503, 503, 200] and w.call("profile")[0] == 200
    fault = w.sim.fault("error", endpoint="profile", count=-1, error="OVERLOAD_LIMIT", status=401)
    assert [w.call("profile")[1]["error"] for _ in range(3)] == ["OVERLOAD_LIMIT"] * 3
    assert fault.hits == 3
    w.sim.clear_faults()
    assert w.call("profile")[0] == 200
    with pytest.raises(ValueError, match="one of hang"):
        w.sim.fault("nonsense")


@pytest.mark.parametrize("kind", ["lost", "cut", "reset"])
def test_answers_that_never_arrive(w: World, kind: str) -> None:
    w.sim.fault(kind, endpoint="placement.bind")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        w.bind()
    assert len(w.portal.rows) == (kind != "reset")
    if kind != "reset":
        assert w.bind()[1]["error"] == "ERROR_PLACEMENT_MAX_COUNT"


@pytest.mark.parametrize(("kind", "status", "check"), [
    ("html", 500, lambda b: b.startswith(b"<html>")), ("garbage", 200, lambda b: b"not json" in b),
    ("truncated", 200, lambda b: b.startswith(b'{"result"') and not b.endswith(b"}")),
    ("empty", 200, lambda b: b == b""), ("bom", 200, lambda b: b.startswith(b"\xef\xbb\xbf{")),
    ("null", 200, lambda b: b == b'{"result":null}'),
    ("operation_time", 429, lambda b: b"OPERATION_TIME_LIMIT" in b),
    ("chunked", 200, lambda b: json.loads(b)["result"]["ID"] == "1"),
    ("redirect", 302, lambda b: b == b""), ("huge", 200, lambda b: len(b) == 100013),
    ("drip", 200, lambda b: json.loads(b)["result"]["ID"] == "1"),
])
def test_spoilt_answers(w: World, kind: str, status: int, check: Any) -> None:
    w.sim.fault(kind, endpoint="profile", location="http://new/", seconds=0,
                **({"bytes": 100000} if kind == "huge" else {}))
    answer = ask(w.portal.client_endpoint + "profile", {"auth": w.sim.tokens(w.portal, w.app)[0]})
    assert answer[0] == status and check(answer[2])


def test_slow_and_hang_last_until_they_are_cleared(w: World) -> None:
    w.sim.fault("slow", endpoint="placement.bind", seconds=600)
    hang = w.sim.fault("hang", endpoint="placement.bind", seconds=600)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(w.bind)
        assert w.sim.wait(lambda: w.sim.rows(w.portal))  # a slow answer is committed at once
        second = pool.submit(w.bind)
        assert w.sim.wait(lambda: hang.hits)
        assert w.call("profile")[0] == 200 and not first.done() and not second.done()
        w.sim.clear_faults()
        assert first.result(10)[1]["result"] is True
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            second.result(10)


def test_recorder_and_canary(w: World) -> None:
    canary = w.sim.add_canary()
    w.call("profile")
    w.refresh(w.sim.tokens(w.portal, w.app)[1])
    assert [(r.listener, r.method, r.endpoint) for r in w.sim.requests()] == [
        ("portal1", "POST", "profile"), ("oauth1", "POST", "oauth/token")]
    assert {c.listener for c in w.sim.connections()} == {"portal1", "oauth1"}
    assert w.sim.requests(endpoint="profile")[0].headers["content-type"] == "application/json"
    with socket.create_connection(("127.0.0.1", canary.port)) as probe:
        assert probe.recv(1) == b""
    assert len(w.sim.connections("canary")) == 1
    w.sim.clear_records()
    assert not w.sim.requests() and not w.sim.connections()


def test_down_refuses_and_up_returns_to_the_same_port(w: World) -> None:
    w.sim.down("oauth1")
    with pytest.raises(ConnectionRefusedError):
        w.refresh("x")
    w.sim.up("oauth1")
    assert w.refresh("x")[1]["error"] == "invalid_grant"


# ---- control API, program, size ----

def control(api: str, verb: str, /, **arguments: Any) -> Any:
    status, _, body = ask(api + verb, arguments)
    answer = json.loads(body)
    assert status == 200, answer
    return answer["result"]


def test_control_api(w: World, handler: Handler) -> None:
    def do(verb: str, **arguments: Any) -> Any:
        return control(w.sim.control_url, verb, **arguments)

    app = do("add_app", name="Second")["client_id"]
    portal = do("add_portal", name="far", error_status="docs", rule={"limit": 3, "resets": False})
    assert portal["domain"] in portal["client_endpoint"] and do("add_canary", name="trap")["port"]
    sent = do("send_install", portal="far", app=app, url=handler.url, wait=10)
    assert sent["status"] == 200 and sent["message"]["url"] == handler.url
    token, _ = do("tokens", portal="far", app=app)
    ask(portal["client_endpoint"] + "placement.bind", BIND | {"auth": token})
    assert do("slow", portal="far", app=app, times=3)["count"] == 3
    assert do("rows", portal="far")[0]["options"]["maxTimeCount"] == 3
    post = do("worker", portal="far", app=app, handler=WORKER)
    assert post["target"].startswith("/b24/worker?DOMAIN=")
    assert do("fault", kind="hang", listener="far", seconds=9)["count"] == 1
    assert do("demote", portal="far")["admin"] is False and do("advance", seconds=5) == NOW + 5
    assert do("rename", portal="far")["domain"] != portal["domain"]
    assert do("uninstall", portal="far", app=app) is None
    assert do("requests", endpoint="placement.bind")[0]["params"]["auth"] == token
    assert len(do("describe")["ports"]["far"]) == 2 and do("deliveries")[0]["finished"]
    assert "add_portal" in control(w.sim.control_url, "")
    assert ask(w.sim.control_url + "slow", {"portal": "none"})[0] == 400
    assert ask(w.sim.control_url + "nothing", {})[0] == 400


def test_program_prints_one_line_and_ends_on_sigterm() -> None:
    folder = str(Path(__file__).parent)
    assert "control" in subprocess.run([sys.executable, folder, "--help"], check=True, text=True,
                                       capture_output=True).stdout
    with subprocess.Popen([sys.executable, folder, "--portals", "2", "--client-id", "local.x.1"],
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        world = json.loads(process.stdout.readline())
        assert list(world["portals"]) == ["portal1", "portal2"] and "local.x.1" in world["apps"]
        assert control(world["control"], "advance", seconds=1) > NOW
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0 and process.stdout.read() == ""


def test_two_hundred_portals_and_hundreds_of_requests() -> None:
    before = threading.active_count()
    started = time.monotonic()
    with Simulator() as sim:
        app = sim.add_app()
        worlds = [World(sim, sim.add_portal(), app) for _ in range(200)]
        for one in worlds:
            sim.install(one.portal, app)
        with ThreadPoolExecutor(32) as pool:
            assert {s for s, _ in pool.map(lambda one: one.bind(), worlds)} == {200}
            rows = list(pool.map(lambda one: one.call("placement.get")[1]["result"], worlds * 3))
        assert [len(r) for r in rows] == [1] * 600 and len(sim.requests()) == 800
        idle = socket.create_connection(("127.0.0.1", worlds[0].portal.port))
    idle.close()
    assert sim.wait(lambda: threading.active_count() == before)
    assert time.monotonic() - started < 30
