"""The demo page, as a person uses it; its pictures are kept in build/browser/."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import HTML, PATIENCE, ROOT, Chromium, World, wait_for
from portal.overtime import Rule
from portal.recorder import Request
from portal.response import Response

sys.path.append(str(ROOT / "tests" / "http"))
from httpd import free_port  # noqa: E402
from tree import copy_tree  # noqa: E402

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


class Run:
    """`tests/run` in a copy of the tree: the module in Apache, and the demo beside it."""

    def __init__(self, tree: pathlib.Path) -> None:
        self.log = tree / "output"
        with open(self.log, "w") as output:
            self.process = subprocess.Popen([tree / "tests/run", str(free_port())], cwd=tree,
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.demo = wait_for(lambda: re.search(r"demo page +(\S+)", self.output()),
                             "print the demo's address")[1]

    def output(self) -> str:
        return self.log.read_text()

    def control(self, verb: str, **arguments: Any) -> None:
        url = self.demo.replace("/demo/", f"/control/{verb}")
        urllib.request.urlopen(url, json.dumps(arguments).encode(), timeout=PATIENCE).close()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="b24bg-demo-") as folder:
        pathlib.Path(folder).chmod(0o755)  # the server's User looks into it
        run = Run(copy_tree(folder))
        try:
            yield run
        finally:
            code = run.stop()
        assert code == 0 and run.output().endswith("stopped\n")


def logged(run: Run, *tags: str) -> list[dict[str, str]]:
    """The fields of the error log's lines with one of these tags."""
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in run.output().splitlines()
            if any(f"{tag}:" in line for tag in tags)]


def test_the_module_brings_the_registration_back(chromium: Chromium, run: Run) -> None:
    """At Bitrix24's real limit: the warnings, the 11th slow load, the notice, and the rebind."""
    chromium.page(run.demo)
    wait_for(lambda: news(chromium, "bound"), "register")
    wait_for(lambda: len(news(chromium, "load")) >= 4, "load without a delay")
    assert used(chromium) == 0 and len(logged(run, "B24BG0320")) == 1
    chromium.picture("demo-module-fast")
    run.control("slow_server", seconds=6)
    for warned, tight in (1, 5), (2, 8):
        wait_for(lambda: used(chromium) >= tight, f"use {tight} of the budget")
        wait_for(lambda: len(logged(run, "B24BG0108", "B24BG0333")) >= warned, f"warn at {tight}")
        chromium.picture(f"demo-module-{tight}")
    assert not news(chromium, "deleted")
    wait_for(lambda: news(chromium, "deleted"), "show the deletion")
    run.control("slow_server", seconds=0)
    wait_for(lambda: len(news(chromium, "bound")) == 2, "register again")
    assert news(chromium, "notice") == ["notice sent, the application answered 200"]
    # Pages that were open tell of their loads a moment later than the portal counts them.
    first, second = logged(run, "B24BG0108", "B24BG0333")
    assert 5 <= int(first["used"]) < 8 <= int(second["used"]) <= 11
    assert first["app"] == second["app"] == "demo" and first["portal"] == second["portal"]
    for tag in "B24BG0201", "B24BG0322", "B24BG0321":  # the notice, lost, registered again
        line, = wait_for(lambda tag=tag: logged(run, tag), f"log {tag}")
        assert line["app"] == "demo" and line["portal"] == first["portal"]
    seen = len(news(chromium, "load"))
    wait_for(lambda: len(news(chromium, "load")) >= seen + 6, "load the new one")
    assert used(chromium) <= 4  # one page each was under way
    chromium.picture("demo-module")
    assert not chromium.errors()
