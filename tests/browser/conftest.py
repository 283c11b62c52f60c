"""Headless Chromium, simulated portals, and plain application servers written in Python."""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
from portal import Simulator  # noqa: E402
from portal.recorder import Request  # noqa: E402
from portal.response import Response  # noqa: E402

PICTURES = ROOT / "build" / "browser"
PATIENCE = 40.0  # seconds until what does not happen is a failure; never a measurement
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=1360,900")
HTML = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    """The first true value of ready(); fails saying that nothing did `what`."""
    end = time.monotonic() + PATIENCE
    while not (value := ready()):
        assert time.monotonic() < end, f"did not {what}"
        time.sleep(0.02)
    return value


class Chromium:
    """One browser; `page` opens tabs, which the end of the test closes."""

    def __init__(self, folder: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.base = self.driver.current_window_handle

    def page(self, url: str) -> str:
        """Opens a tab and stays in it; returns its handle."""
        self.driver.switch_to.window(self.base)
        self.driver.switch_to.new_window("tab")
        self.driver.get(url)
        return self.driver.current_window_handle

    def script(self, text: str, *arguments: Any) -> Any:
        """Runs a function body in the page."""
        return self.driver.execute_script(text, *arguments)

    def find(self, css: str) -> Any:
        """The first such element, once it is there."""
        return wait_for(lambda: self.driver.find_elements(By.CSS_SELECTOR, css), f"show {css}")[0]

    def texts(self, css: str) -> list[str]:
        return self.script("return [...document.querySelectorAll(arguments[0])]"
                           ".map((node) => node.textContent.trim())", css)

    def picture(self, name: str) -> pathlib.Path:
        """A screenshot that is kept."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        assert self.driver.save_screenshot(str(path))
        return path

    def errors(self, level: str = "SEVERE") -> list[str]:
        """What the console got at this level since the last call."""
        return [line["message"] for line in self.driver.get_log("browser")
                if line["level"] == level]

    def in_frame(self, text: str) -> Any:
        """Runs a function body in the worker's frame of the page."""
        self.driver.switch_to.frame(self.find(".app-frame"))
        try:
            return self.script(text)
        finally:
            self.driver.switch_to.default_content()

    def close_pages(self) -> None:
        for handle in self.driver.window_handles:
            if handle != self.base:
                self.driver.switch_to.window(handle)
                self.driver.close()
        self.driver.switch_to.window(self.base)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    with tempfile.TemporaryDirectory(prefix="b24bg-chromium-", ignore_cleanup_errors=True) as path:
        browser = Chromium(path)
        try:
            yield browser
        finally:
            browser.driver.quit()


@pytest.fixture
def chromium(browser: Chromium) -> Iterator[Chromium]:
    """The session's browser without a page of another test."""
    browser.errors()
    yield browser
    browser.close_pages()


class World(Simulator):
    """One portal with one application, whose server is what a test makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.portal, self.app = self.add_portal(), self.add_app(
            scope=("placement", "user_brief", "pull"))
        self.install(self.portal, self.app)

    def application(self, *pages: str | Callable[[Request], Response],
                    name: str = "application") -> str:
        """A server; the last page is repeated. {bx24} in a page is the library's URL."""
        answers = list(pages)

        def serve(request: Request) -> Response:
            page = answers.pop(0) if len(answers) > 1 else answers[0]
            if callable(page):
                return page(request)
            text = page.replace("{bx24}", self.bx24_url)
            return Response(200, text.encode(), dict(HTML))
        return f"http://127.0.0.1:{self.listen(name, serve).port}"

    def late(self, seconds: float) -> Callable[[Request], Response]:
        """A page that comes so late."""
        def serve(request: Request) -> Response:
            self.delays.pause(seconds)
            return Response(200, b"late", dict(HTML))
        return serve

    def bind(self, *pages: Any, error_url: str = "", user_id: int = 0, name: str = "application"):
        """Registers a worker that answers with `pages`."""
        return self.bind_row(self.portal, self.app, self.application(*pages, name=name) + "/worker",
                             error_url, user_id)

    def wait_loads(self, count: int) -> list[dict[str, Any]]:
        """What the pages measured, once there are so many loads."""
        wait_for(lambda: len(self.page_loads()) >= count, f"load {count} frames")
        return self.page_loads()

    def wait_commands(self, command: str, count: int = 1) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.commands(command=command)) >= count, f"carry out {command}")
        return self.commands(command=command)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world
