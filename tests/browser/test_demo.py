"""The demo page, as a person uses it; its pictures are kept in build/browser/."""

from __future__ import annotations

from conftest import HTML, Chromium, World, wait_for
from portal.overtime import Rule
from portal.recorder import Request
from portal.response import Response

PAGE = "<!DOCTYPE html><title>worker</title>"


def switch(chromium: Chromium, verb: str, on: bool) -> None:
    chromium.find(f"[data-verb={verb}]").click()
    chromium.find(f"[data-verb={verb}][aria-pressed={str(on).lower()}]")


def news(chromium: Chromium, kind: str) -> list[str]:
    return chromium.texts(f"#news .{kind}")


def used(chromium: Chromium) -> int:
    return len(chromium.texts("#rows .budget .used"))


def test_the_life_of_a_registration(chromium: Chromium, world: World) -> None:
    """Fast loads, a slow server until the portal deletes the row, the notice, and the rebind, which
    here is the notice's handler's."""
    world.set_portal(world.portal, rule=Rule(delay_ms=1500))
    for user_id, name in (3, "Eve"), (4, "Max"):
        world.add_user(world.portal, user_id, name)
    url = world.add_relay(world.application(PAGE)) + "/worker"

    def rebind(request: Request) -> Response:
        world.slow_server(0)
        world.bind_row(world.portal, world.app, url, error)
        return Response(200, b"", dict(HTML))

    error = world.application(rebind, name="error") + "/error"
    chromium.page(world.portal.url + "/demo/")
    wait_for(lambda: chromium.texts("#rows .none"), "say that nothing is registered")
    world.bind_row(world.portal, world.app, url, error)
    wait_for(lambda: len(news(chromium, "load")) >= 4, "show fast loads")
    assert used(chromium) == 0 and not news(chromium, "slow")
    assert len(chromium.texts("#browsers .browser")) == 4

    switch(chromium, "slow_server", True)
    world.slow_server(2)
    wait_for(lambda: used(chromium) >= 5, "use half of the budget")
    chromium.find("#rows .budget.tight, #rows .budget.gone")
    chromium.picture("demo-slow")
    wait_for(lambda: news(chromium, "deleted"), "show the deletion")
    wait_for(lambda: len(news(chromium, "bound")) == 2, "show the rebind")
    assert news(chromium, "notice") == ["notice sent, the application answered 200"]
    seen = len(world.page_loads())
    wait_for(lambda: used(chromium) == 0 and len(world.page_loads()) >= seen + 5, "be fast again")
    chromium.find("#call").click()
    wait_for(lambda: "call card: initialized" in news(chromium, "card"), "show the call")
    chromium.picture("demo")
    assert not chromium.errors()


def test_the_switches(chromium: Chromium, world: World) -> None:
    chromium.page(world.portal.url + "/demo/")
    for verb, delay in (("slow_server", "server"), ("slow_script", "script"), ("slow_bx24", "bx24")):
        switch(chromium, verb, True)
        assert getattr(world.delays, delay) == 6
        switch(chromium, verb, False)
        assert getattr(world.delays, delay) == 0
