"""The message bridge between a worker's frame and the portal's page (protocol.md 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Chromium, World, wait_for

# A worker as the tests want it: BX24.js after load, then `code`, with say(name, value) to tell us.
# One thing is said at a time: requests that are under way together arrive in any order.
WORKER = """<!DOCTYPE html><title>worker</title><script>
let last = Promise.resolve();
function say(name, value) {{
    const body = JSON.stringify({{name, value}});
    last = last.then(() => fetch("/said", {{method: "POST", body}}));
}}
function attach(url, then) {{
    const script = document.createElement("script");
    Object.assign(script, {{src: url, onload: then}});
    document.head.append(script);
}}
addEventListener("load", () => attach("{{bx24}}", () => BX24.init(() => {{ {code} }})));
</script>"""


def worker(code: str) -> str:
    return WORKER.format(code=code)


def said(world: World, name: str, count: int = 1) -> list[Any]:
    """What the worker said under this name, once it has said so much."""
    def all_() -> list[Any]:
        bodies = [json.loads(r.body) for r in world.requests("application", "said")]
        return [body.get("value") for body in bodies if body["name"] == name]
    wait_for(lambda: len(all_()) >= count, f"say {name}")
    return all_()


def test_the_handshake(chromium: Chromium, world: World) -> None:
    world.bind(worker("""say("domain", BX24.getDomain()); say("lang", BX24.getLang());
        say("admin", BX24.isAdmin()); say("info", BX24.placement.info());
        BX24.placement.getInterface((list) => say("interface", list));"""))
    chromium.page(world.portal.url + "/company/?user=1")
    assert said(world, "domain") == [world.portal.domain]
    assert said(world, "lang") == ["en"] and said(world, "admin") == [True]
    assert said(world, "info") == [{"placement": "PAGE_BACKGROUND_WORKER", "options": {
        "ID": "PAGE_BACKGROUND_WORKER", "URI": "/company/"}}]
    shown, = said(world, "interface")
    assert len(shown["command"]) == 9 and len(shown["event"]) == 17
    assert {"CallCardSetMute", "CallCardClose"} < set(shown["command"])
    assert "BackgroundCallCard::initialized" in shown["event"]
    asked = wait_for(lambda: world.commands(command="getInitData"), "record it")
    assert asked[0]["result"] is None and "AUTH_ID" not in json.dumps(world.commands())
    assert not chromium.errors()


def test_the_library_refuses_to_start_outside_of_a_portal(
        chromium: Chromium, world: World) -> None:
    chromium.page(world.application(worker("say('never')")))
    wait_for(lambda: chromium.script("return window.BX24 === null"), "give up")
    assert "Unable to initialize" in chromium.errors()[0]


def test_rest_as_the_user_with_a_refresh(chromium: Chromium, world: World) -> None:
    world.bind(worker("""window.onmessage = (event) => { if (event.data === "again") {
        BX24.callMethod("profile", {}, (result) => say("profile", result.data().NAME)); } };
        postMessage("again"); setTimeout(() => say("ready"), 0);"""))
    chromium.page(world.portal.url + "/?user=2")
    assert said(world, "profile") == ["Bob"]
    world.expire(world.portal, world.app)
    chromium.script("document.querySelector('.app-frame').contentWindow.postMessage('again', '*')")
    assert said(world, "profile", 2) == ["Bob", "Bob"]
    command, = world.wait_commands("refreshAuth")
    assert command["result"] is None


# What a worker does by hand, and why the portal drops it; None: it is carried out.
MESSAGES: dict[str, tuple[str, str | None]] = {
    "four parts, with colons": ("`openPath:{\"path\":\"no:path\"}:cb:${sid}`", None),
    "three parts": ("`getInterface:cb:${sid}`", None),
    "object": ("({method: 'getInterface', params: {}, callback: 'cb', appSid: sid})", None),
    "another frame's sid": ("`getInterface::cb:${'0'.repeat(32)}`", "sid"),
    "unknown command": ("`noSuchThing::cb:${sid}`", "unknown"),
    "denied command": ("`setTitle:{\"title\":\"x\"}:cb:${sid}`", "denied"),
    "broken JSON": ("`getInterface:{:cb:${sid}`", "malformed"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_forms_of_messages(chromium: Chromium, world: World, name: str) -> None:
    message, reason = MESSAGES[name]
    world.bind(worker(f"""const sid = window.name.split("|")[2];
        window.addEventListener("message", (event) => {{
            if (event.data.startsWith("cb:")) {{ say("answer", event.data); }} }});
        parent.postMessage({message}, "*");"""))
    chromium.page(world.portal.url)
    if reason:
        dropped = wait_for(lambda: world.happened(kind="dropped"), "drop it")
        assert dropped[0].facts["reason"] == reason
        assert not [r for r in world.requests("application", "said")]
    else:
        assert said(world, "answer")[0].startswith("cb:{")


def test_a_frame_that_left_its_origin_is_not_heard(chromium: Chromium, world: World) -> None:
    """The origin is the registered handler's: a redirect to another one breaks the bridge."""
    other = world.application("<!DOCTYPE html><script>parent.postMessage(`getInterface::cb:${"
                              "window.name.split('|')[2]}`, '*')</script>", name="other")
    world.bind(worker(f"location = '{other}'"))
    chromium.page(world.portal.url)
    dropped = wait_for(lambda: world.happened(kind="dropped"), "drop it")
    assert dropped[0].facts["reason"] == "origin"


def test_the_call_card(chromium: Chromium, world: World) -> None:
    world.bind(worker("""const call = (command, params) => BX24.placement.call(command, params,
            (answer) => say(command, answer));
        call("CallCardSetMute", {muted: true});
        BX24.placement.bindEvent("BackgroundCallCard::initialized", (data) => {
            say("initialized", data.PHONE_NUMBER);
            call("CallCardSetUiState", {uiState: "connected"});
            call("CallCardSetUiState", {uiState: "idle"});
            call("CallCardSetCardTitle", {title: "Ada Lovelace"});
            call("CallCardGetListUiStates");
            call("CallCardStartTimer"); });
        BX24.placement.bindEvent("BackgroundCallCard::muteButtonClick", (muted) => {
            say("mute", muted); call("CallCardSetHold", {held: muted}); });
        BX24.placement.bindEvent("BackgroundCallCard::hangupButtonClick", () => {
            say("hangup"); call("CallCardClose"); });"""))
    chromium.page(world.portal.url)
    assert said(world, "CallCardSetMute") == [[{"result": "error",
                                               "errorCode": "Call card is undefined"}]]
    world.wait_commands("placementBindEvent", 3)
    world.open_call(world.portal, PHONE_NUMBER="+4930123")
    assert said(world, "initialized") == ["+4930123"]
    assert said(world, "CallCardSetUiState", 2) == [
        [], [{"result": "error", "errorCode": "Invalid ui state"}]]
    assert len(said(world, "CallCardGetListUiStates")[0]) == 12
    assert chromium.find(".card[data-state=connected] h2").text == "Ada Lovelace"
    chromium.find(".card button:nth-of-type(2)").click()
    assert said(world, "mute") == [True]
    wait_for(lambda: chromium.texts(".card button.on") == ["Hold"], "show that it is held")
    world.card_event(world.portal, "hangupButtonClick")
    said(world, "hangup")
    assert said(world, "CallCardClose") == [[]]
    wait_for(lambda: not chromium.texts(".card"), "close the card")
    world.wait_commands("CallCardStartTimer")
    assert not [r for r in world.requests("application", "said") if b"StartTimer" in r.body]


def test_only_the_page_with_the_card_gets_its_events(chromium: Chromium, world: World) -> None:
    world.bind(worker("""const { APP_SID } = Object.fromEntries(new URLSearchParams(location.search));
        BX24.placement.bindEvent("BackgroundCallCard::initialized", () => say("card", APP_SID));"""))
    first = chromium.page(world.portal.url)
    page = world.wait_commands("placementBindEvent")[0]["page"]
    chromium.page(world.portal.url)
    world.wait_commands("placementBindEvent", 2)
    world.open_call(world.portal, page)
    assert len(said(world, "card")) == 1
    assert not chromium.texts(".card")
    chromium.driver.switch_to.window(first)
    chromium.find(".card")


@pytest.mark.parametrize("telephony", [None, 0.5])
def test_a_page_whose_telephony_is_not_there(
        chromium: Chromium, world: World, telephony: float | None) -> None:
    """Binding too early is lost without a word; a robust worker asks until the event is listed."""
    world.set_portal(world.portal, telephony=telephony)
    world.bind(worker("""const name = "BackgroundCallCard::initialized";
        BX24.placement.bindEvent(name, () => say("early"));
        (function ask() { BX24.placement.getInterface((list) => {
            say("events", list.event.length);
            if (list.event.includes(name)) {
                BX24.placement.bindEvent(name, () => say("late"));
            } else { setTimeout(ask, 100); } }); }());"""))
    chromium.page(world.portal.url)
    if telephony is None:
        assert set(said(world, "events", 5)) == {0}
        return
    wait_for(lambda: 17 in said(world, "events"), "list the events")
    world.wait_commands("placementBindEvent", 2)
    world.open_call(world.portal)
    said(world, "late")
    assert b'"early"' not in b"".join(r.body for r in world.requests("application", "said"))


def test_open_application(chromium: Chromium, world: World) -> None:
    world.app.url = world.application("<!DOCTYPE html><h1>the application</h1>", name="own page")
    world.bind(worker("""if (!BX24.placement.info().options.URI.includes("IFRAME=Y")) {
        BX24.openApplication({call: "17", bx24_width: 700}, () => say("closed")); }"""))
    chromium.page(world.portal.url)
    slider, = wait_for(world.sliders, "open the slider")
    assert slider["what"] == "application"
    assert slider["params"] == {"call": "17", "bx24_width": 700}
    post, = wait_for(lambda: world.requests("own page"), "load the application")
    assert post.method == "POST" and post.params["PLACEMENT"] == "DEFAULT"
    assert json.loads(post.params["PLACEMENT_OPTIONS"]) == {"call": "17"}
    loads = world.wait_loads(2)
    assert "IFRAME=Y&IFRAME_TYPE=SIDE_SLIDER" in loads[1]["uri"] and not world.reports()
    chromium.find(".slider .close").click()
    said(world, "closed")
    wait_for(lambda: world.happened(kind="closed"), "record that it is closed")


def test_open_path_also_from_within_a_slider(chromium: Chromium, world: World) -> None:
    world.bind(worker("""const uri = BX24.placement.info().options.URI;
        const next = {"/": "/crm/deal/details/15/", "/crm/": "/company/"}[uri.slice(0, 5)];
        if (next) {
            BX24.openPath(next, (answer) => say(next, answer));
            BX24.openPath("https://elsewhere.example/", (answer) => say("other", answer)); }"""))
    chromium.page(world.portal.url)
    assert said(world, "other", 2) == [
        {"result": "error", "errorCode": "PATH_NOT_AVAILABLE"}] * 2
    wait_for(lambda: len(world.sliders()) >= 2, "open two sliders")
    assert [s["path"] for s in world.sliders()] == ["/crm/deal/details/15/", "/company/"]
    uri = world.wait_loads(3)[1]["uri"]
    assert "IFRAME=Y" in uri and f"from=rest_placement&from_app={world.app.client_id}" in uri
    assert len(chromium.texts(".slider")) == 2  # both on the outermost page
    for path in "/company/", "/crm/deal/details/15/":
        chromium.find(".slider:last-of-type .close").click()
        assert said(world, path) == [{"result": "close"}]


@pytest.mark.parametrize("way", ["control", "rest"])
def test_a_signal_from_the_application(chromium: Chromium, world: World, way: str) -> None:
    world.bind(worker("""attach("{bx24}pull/", () => {
        const client = new BX.PullClient({restApplication: "t", restClient: BX24, userId: 1});
        client.subscribe({moduleId: "application", callback: (message) => say("signal", message)});
        client.start().then(() => say("listening")); });""").replace("{{bx24}}", "{bx24}"))
    chromium.page(world.portal.url)
    said(world, "listening")
    wait_for(lambda: [r for r in world.requests("push") if "/" in r.params["CHANNEL_ID"]], "listen")
    if way == "control":
        world.signal(world.portal, world.app, "openDeal", {"id": 15})
    else:
        chromium.script("""
            const body = new URLSearchParams({auth: arguments[0], COMMAND: "openDeal",
                                              PARAMS: '{"id":15}'});
            return fetch("/rest/pull.application.event.add", {method: "POST", body});""",
                        world.tokens(world.portal, world.app)[0])
    assert said(world, "signal") == [{"command": "openDeal", "params": {"id": 15}}]
