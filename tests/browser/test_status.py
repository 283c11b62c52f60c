"""The status page as people meet it: with names that somebody made up, read aloud, on a phone."""

from __future__ import annotations

import base64
import pathlib
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PICTURES, ROOT, Chromium, wait_for
from selenium.webdriver.common.by import By

sys.path.append(str(ROOT / "tests" / "http"))
from httpd import PROBE_LOCATION, REGISTERING, Httpd  # noqa: E402
from samples import body, new_id, new_secret  # noqa: E402

APP = "telephony-" + "x" * 22  # the longest that may be
CONF = PROBE_LOCATION + REGISTERING.format(APP) + """
<Location "/b24/worker">
    SetHandler b24bg-worker
</Location>
<Location "/b24bg-status">
    SetHandler b24bg-status
</Location>
"""
# Each would run, were it markup: in the head, as text, in an attribute.
RUNS = ('"><script>document.title="ran"</script>',
        "'><img src=x: onerror=document.title='ran'>",
        '</span></title></style></svg><svg onload=document.title="ran">')
# These would make attributes, or show as something else.
OTHERS = ('"onfocus=document.title="ran"autofocus tabindex=1 x="', "&lt;b&gt;&amp;amp;&#39; \\ %22")
MEMBER_ID = '"><svg onload=document.title=1>_'  # shown as the title of a row
LONG = "x" * 63 + "." + "y" * 63 + ".example"
PHONE = 360


class Status(Httpd):
    def show(self, state: str, domain: str, member_id: str = "", **more: Any) -> None:
        query = {"show": state, "app": APP, "member_id": member_id or new_id(), "domain": domain}
        answer = self.request("GET", f"/probe?{urllib.parse.urlencode(query | more)}")[2]
        assert answer == b"done 1\n"

    def load(self, domain: str) -> None:
        query = f"DOMAIN={domain}&APP_SID={new_secret()}"
        assert self.post(f"/b24/worker?{query}", body(member_id=new_id()))[0] == 200

    def is_well(self) -> bool:
        return self.request("GET", "/b24bg-status?format=text")[2].startswith(b"OK ")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/b24bg-status"


@pytest.fixture
def status() -> Iterator[Status]:
    with tempfile.TemporaryDirectory(prefix="b24bg-status-") as folder:
        pathlib.Path(folder).chmod(0o755)  # the server's User looks into it
        with Status(folder, CONF) as server:
            wait_for(server.is_well, "read the store")
            yield server


def nodes(chromium: Chromium, css: str) -> list[Any]:
    return chromium.driver.find_elements(By.CSS_SELECTOR, css)


@pytest.mark.parametrize("domain", RUNS)
def test_what_would_run_if_it_were_markup(chromium: Chromium, domain: str) -> None:
    """That the next test can fail."""
    page = f'<title>{domain}</title><p title="{domain}">{domain}</p><p title=\'{domain}\'>'
    chromium.page("data:text/html," + urllib.parse.quote(page))
    wait_for(lambda: chromium.driver.title == "ran", "run")


def test_made_up_names_are_text(chromium: Chromium, status: Status) -> None:
    domains = [*RUNS, *OTHERS]
    for domain in domains:
        status.show("lost", domain, slow=6, events="installed,notice,disabled")
    status.show("bound", "a\nb\x01\N{CYRILLIC SMALL LETTER A}", MEMBER_ID)
    chromium.page(status.url)
    shown = chromium.texts(".cards:not(.counts) th[scope=row]")
    assert sorted(shown) == sorted([*domains, "a?b???"])
    assert chromium.driver.title == "CRITICAL - Bitrix24 background workers"
    assert MEMBER_ID in [node.get_attribute("title") for node in nodes(chromium, "th[title]")]
    named = {node.accessible_name for node in nodes(chromium, "meter")}
    assert {f"Slow loads of {domain}, counted by the browser" for domain in domains} < named
    # nothing stands there that could have run, so the policy had nothing to prevent
    assert not nodes(chromium, "script, img, iframe, [onerror], [onload], [onfocus], [autofocus]")
    assert not [line for line in chromium.errors() if "favicon" not in line]


def test_it_can_be_read_aloud(chromium: Chromium, status: Status) -> None:
    """Bars have roles, names and values; rows that look like cards are still a table's."""
    status.show("bound", "a.example", slow=6)
    status.show("suspect", "b.example")
    chromium.page(status.url)
    for width in 1360, PHONE:
        narrow(chromium, width)
        bars = [(bar.aria_role, bar.accessible_name, bar.get_attribute("value"))
                for bar in nodes(chromium, "meter")]
        assert sorted(bars) == [
            ("meter", "Slow loads of a.example, counted by the browser", "6"),
            ("meter", "Slow loads of b.example", "0")]
        pictures = [(picture.aria_role, picture.accessible_name)
                    for picture in nodes(chromium, "svg")]
        ending = f" of app {APP}, a bar for each range; the numbers follow"
        assert pictures == [("image", "Seconds until load in the browser" + ending),
                            ("image", "Milliseconds in the server" + ending)]
        for css, role in (".cards", "table"), (".cards tr", "row"), (".cards td", "cell"), \
                (".cards thead th", "columnheader"), (".cards tbody th", "rowheader"):
            assert {node.aria_role for node in nodes(chromium, css)} == {role}, css


def narrow(chromium: Chromium, width: int, height: int = 800) -> None:
    """The page is in a window of this size; a phone's, for what is narrow."""
    chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 1000})


def picture(chromium: Chromium, name: str) -> None:
    """The whole page, however long; it is kept."""
    shot = chromium.driver.execute_cdp_cmd("Page.captureScreenshot",
                                           {"captureBeyondViewport": True})
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def test_on_a_phone(chromium: Chromium, status: Status) -> None:
    """Nothing has to be moved sideways, with all that can be folded out."""
    status.show("lost", LONG, slow=10, events="installed,bound,notice,disabled,rebind-failed")
    status.show("blocked", "crm.example.com", reason="foreign-handler", slow=3)
    status.show("bound", "portal.example")
    status.load("unknown.example")
    status.load("u" * 63 + ".example")
    chromium.page(status.url)
    for width in 1360, PHONE:
        narrow(chromium, width)
        picture(chromium, f"status-{width}")
        for fold in (False, True):
            chromium.script("for (const part of document.querySelectorAll('details'))"
                            " part.open = arguments[0]", fold)
            wide = chromium.script(
                "return [...document.querySelectorAll('body *')].filter((node) =>"
                " node.getBoundingClientRect().right > arguments[0])"
                ".map((node) => node.outerHTML.slice(0, 100))", width)
            assert not wide
            assert chromium.script("return document.documentElement.scrollWidth") <= width
        picture(chromium, f"status-{width}-open")
        chromium.script("for (const part of document.querySelectorAll('details'))"
                        " part.open = false")
