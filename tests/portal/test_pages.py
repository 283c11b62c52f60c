"""The portal's pages without a browser: what they are given, refused, and told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from portal import Simulator, php
from portal.pages import LAZYLOAD
from portal.state import Row
from portal.test_portal import World, ask

HANDLER = "https://app.example.com/b24/worker?type=1"


@pytest.fixture
def w() -> Iterator[World]:
    with Simulator() as sim:
        portal, app = sim.add_portal(), sim.add_app(scope=("placement", "pull"))
        sim.install(portal, app)
        yield World(sim, portal, app)


def config(w: World, path: str = "/") -> dict[str, Any]:
    """What the page gives to its scripts."""
    status, headers, page = ask(w.portal.url + path, method="GET")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    return json.loads(re.search(r'id="config">(.*?)</script>', page.decode())[1])


def lazyload(w: World, row: Row, user: int = 1, **more: Any) -> tuple[int, str]:
    page = config(w, f"/?user={user}")
    params = {"PARAMS": {"params": {"ID": "12", "PLACEMENT": row.placement, "PLACEMENT_ID": row.id,
                                    "PLACEMENT_OPTIONS": {"ID": row.placement, "URI": "/</script>"}
                                    }}} | more
    status, _, text = ask(w.portal.url + page["serviceUrl"], php.build_query(params))
    return status, text.decode()


def test_a_page_lists_all_rows() -> None:
    with Simulator() as sim:
        w = World(sim, sim.add_portal(), sim.add_app())
        install = sim.install(w.portal, w.app)
        rows = [sim.bind_row(w.portal, w.app, HANDLER, user_id=user) for user in (2, 0)]
        page = config(w, "/crm/deal/?user=1&IFRAME=Y&a=%D1%84")
        assert page["maxLoadDelay"] == 5000 and page["slider"] and page["telephony"] is None
        assert page["containerId"] == "intranet-placement-PAGE_BACKGROUND_WORKER"
        assert page["serviceUrl"].startswith(LAZYLOAD + "?sessid=")
        assert page["items"] == [{
            "ID": f"placement_rest_{row.id}", "PLACEMENT": "PAGE_BACKGROUND_WORKER",
            "PLACEMENT_OPTIONS": {"ID": "PAGE_BACKGROUND_WORKER",
                                  "URI": "/crm/deal/?IFRAME=Y&a=%D1%84"},
            "APP_ID": str(install.id), "PLACEMENT_ID": str(row.id)} for row in rows]


def test_the_frame_has_the_documented_attributes_and_form(w: World) -> None:
    row = w.sim.bind_row(w.portal, w.app, HANDLER)
    status, text = lazyload(w, row, user=2)
    tag = re.match(r"<iframe ([^>]*)></iframe><script>", text)[1]
    attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
    layout = json.loads(re.search(r"AppLayout.start\((.*)\);</script>$", text)[1])
    assert status == 200 and text.count("</script>") == 1
    assert attributes == {
        "id": f"appframe_{layout['sid']}", "name": f"{w.portal.domain}|0|{layout['sid']}",
        "class": "app-frame app-loading", "frameborder": "0",
        "allow": "geolocation *; microphone *; camera *; autoplay *;"}
    assert layout["action"] == (f"{HANDLER}&DOMAIN={w.portal.domain}&PROTOCOL=0&LANG=en"
                                f"&APP_SID={layout['sid']}")
    assert layout["origin"] == "https://app.example.com"
    assert [name for name, _ in layout["fields"]] == [
        "AUTH_ID", "AUTH_EXPIRES", "REFRESH_ID", "SERVER_ENDPOINT", "APPLICATION_TOKEN",
        "APPLICATION_SCOPE", "member_id", "status", "PLACEMENT", "PLACEMENT_OPTIONS"]
    assert dict(layout["fields"])["PLACEMENT_OPTIONS"].endswith(r'"URI":"\/\u003C\/script\u003E"}')
    assert not layout["init"]["IS_ADMIN"] and layout["init"]["PROTOCOL"] == 0


@pytest.mark.parametrize("change", [
    lambda w: w.sim.set_user(w.portal, 2, app_access=False),
    lambda w: w.sim.set_install(w.portal, w.app, paid=False),
    lambda w: w.sim.set_install(w.portal, w.app, active=False),
    lambda w: w.sim.set_install(w.portal, w.app, installed=False),
    lambda w: w.portal.rows.clear(),
])
def test_others_get_a_message_and_no_frame(w: World, change: Any) -> None:
    row = w.sim.bind_row(w.portal, w.app, HANDLER)
    assert "<iframe" in lazyload(w, row, user=2)[1]
    change(w)
    status, text = lazyload(w, row, user=2)
    assert status == 200 and "<iframe" not in text


def test_nothing_without_a_page(w: World) -> None:
    for path in LAZYLOAD, "/simulator/record":
        assert ask(f"{w.portal.url}{path}?sessid=made-up", "a=b")[0] == 403
    for path in "/bitrix/js/../pages.py", "/bitrix/js/demo.html", "/favicon.ico":
        assert ask(w.portal.url + path, method="GET")[0] == 404
    assert ask(w.portal.url + "/", "a=b")[0] == 404


def test_pages_tell_only_what_pages_see(w: World) -> None:
    page = config(w)
    url = f"{w.portal.url}/simulator/record?sessid={page['sessid']}"
    assert ask(url, {"kind": "deleted", "row": 1})[0] == 400
    assert ask(url, {"kind": "load", "row": 1, "elapsed_ms": 17, "slow": False})[0] == 200
    assert w.sim.page_loads(w.portal) == [{"page": page["sessid"], "user": 1, "row": 1,
                                           "elapsed_ms": 17, "slow": False}]


def test_rows_that_come_and_go_are_told(w: World) -> None:
    bind = {"PLACEMENT": "PAGE_BACKGROUND_WORKER", "HANDLER": HANDLER,
            "OPTIONS": {"errorHandlerUrl": "https://app.example.com/b24/error"}}
    assert w.call("placement.bind", bind)[0] == 200
    assert w.call("placement.unbind", {"PLACEMENT": "PAGE_BACKGROUND_WORKER"})[0] == 200
    w.sim.bind_row(w.portal, w.app, HANDLER)
    w.sim.slow(w.portal, w.app, 11)
    kinds = [entry.kind for entry in w.sim.happened(w.portal)]
    assert kinds == ["bound", "unbound", "bound", *["report"] * 11, "deleted"]
    assert [report["count"] for report in w.sim.reports()] == [*range(1, 12)]
    assert [report["deleted"] for report in w.sim.reports()] == [False] * 10 + [True]
    state = json.loads(ask(w.portal.url + "/simulator/state?since=13", method="GET")[2])
    assert [entry["kind"] for entry in state["news"]] == ["report", "deleted"] and not state["rows"]


# ---- pull ----

SIGNAL = {"COMMAND": "openDeal", "PARAMS": {"id": 15}}


@pytest.mark.parametrize("change, code", [
    ({"COMMAND": "no blanks"}, "COMMAND_ERROR"), ({"COMMAND": None}, "COMMAND_ERROR"),
    ({"MODULE_ID": "Upper"}, "MODULE_ID_ERROR"), ({"PARAMS": "{"}, "PARAMS_ERROR"),
    ({"PARAMS": "[]"}, "PARAMS_ERROR"), ({"USER_ID": 1}, "USER_ID_ACCESS_ERROR"),
    ({"USER_ID": "2"}, "USER_ID_ACCESS_ERROR"),
])
def test_signals_that_are_refused(w: World, change: dict[str, Any], code: str) -> None:
    params = {k: v for k, v in (SIGNAL | change).items() if v is not None}
    status, answer = w.call("pull.application.event.add", params, user=2)
    assert status == 400 and answer["error"] == code
    assert not w.sim.happened(kind="signal")


def test_signals_reach_the_channels_of_those_meant(w: World) -> None:
    channels = {user: w.call("pull.application.config.get", user=user)[1]["result"]["channels"]
                for user in (1, 2)}
    assert channels[1]["shared"]["id"] == channels[2]["shared"]["id"]
    assert channels[1]["private"]["id"] != channels[2]["private"]["id"]
    assert w.call("pull.application.event.add", SIGNAL, user=2)[1]["result"] is True
    assert w.call("pull.application.event.add", SIGNAL | {"USER_ID": 2})[1]["result"] is True
    for user, count in (1, 1), (2, 2):
        ids = "/".join(channel["id"] for channel in channels[user].values())
        url = f"{w.sim.push.url(ids)}&mid=0"
        text = ask(url, method="GET")[2].decode()
        found = re.findall(r"#!NGINXNMS!#(.*?)#!NGINXNME!#", text)
        assert len(found) == count
        assert json.loads(found[0])["text"] == {"module_id": "application", "command": "openDeal",
                                                "params": {"id": 15}}


def test_a_hook_may_not_send_signals(w: World) -> None:
    status, _, body = ask(w.sim.add_hook(w.portal) + "pull.application.event.add", SIGNAL)
    assert status == 403 and json.loads(body)["error"] == "WRONG_AUTH_TYPE"
