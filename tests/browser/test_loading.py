"""What counts as a slow load: measured by the portal's page in a real browser (protocol.md 2)."""

from __future__ import annotations

from typing import Any

from conftest import HTML, Chromium, World, wait_for
from portal.overtime import Rule
from portal.recorder import Request
from portal.response import Response

PAGE = "<!DOCTYPE html><title>worker</title>"
SLOW = 6.0  # seconds; Bitrix24 allows 5


def slow_script(world: World) -> str:
    """The URL of a script that takes so long."""
    return world.application(world.late(SLOW), name="script") + "/slow.js"


def test_a_fast_page_is_not_counted(chromium: Chromium, world: World) -> None:
    row = world.bind(PAGE)
    chromium.page(world.portal.url + "/company/personal/user/1/blog/?tab=%D1%84")
    load, = world.wait_loads(1)
    assert not load["slow"] and load["nth"] == 1 and load["user"] == 1
    post, = world.requests("application")
    assert post.method == "POST" and post.params["PLACEMENT"] == "PAGE_BACKGROUND_WORKER"
    assert '"URI":"\\/company\\/personal\\/user\\/1\\/blog\\/?tab=%D1%84"' in \
        post.params["PLACEMENT_OPTIONS"]
    assert post.headers["origin"] == world.portal.url
    assert post.headers["sec-fetch-dest"] == "iframe" and "cookie" not in post.headers
    assert not world.reports() and "maxTimeCount" not in row.options
    assert chromium.texts("#loads li")[0].startswith("worker loaded in")
    assert not chromium.errors()


def test_what_delays_the_load_is_counted(chromium: Chromium, world: World) -> None:
    """Protocol.md 2.2, all in one page: each of these is a frame with a row of its own."""
    script = slow_script(world)
    after = (PAGE + "<script>addEventListener('load', () => document.head.append(Object.assign("
             f"document.createElement('script'), {{src: '{script}'}})))</script>")
    pages: dict[str, tuple[Any, int]] = {
        "script in the markup": (PAGE + f"<script src='{script}'></script>", 1),
        "script after load": (after, 0),
        "late page": (world.late(SLOW), 1),
        "page that navigates": (
            PAGE + f"<script>setTimeout(() => location = '/again', {SLOW * 1000})</script>", 1),
        "no content": (lambda request: Response(204), 0),
        "may not be framed": (
            lambda request: Response(200, b"", HTML | {"X-Frame-Options": "DENY"}), 0),
    }
    rows = {world.bind(page).id: (name, count) for name, (page, count) in pages.items()}
    chromium.page(world.portal.url)
    wait_for(lambda: len(world.reports()) >= 3, "report the three slow ones")
    wait_for(lambda: len(world.page_loads()) >= 6, "load five frames, one of them twice")
    counts = {row.id: row.options.get("maxTimeCount", 0) for row in world.rows(world.portal)}
    assert {rows[row]: count for row, count in counts.items()} == {
        (name, count): count for name, count in rows.values()}
    navigated = [load for load in world.page_loads()
                 if rows[load["row"]][0] == "page that navigates"]
    assert [(load["nth"], load["slow"]) for load in navigated] == [(1, False), (2, True)]
    assert "no content" not in [rows[load["row"]][0] for load in world.page_loads()]


def test_the_library_after_load_costs_nothing_whatever_it_does(
        chromium: Chromium, world: World) -> None:
    page = (PAGE + "<script>addEventListener('load', () => {"
            "const script = document.createElement('script');"
            "script.src = '{bx24}?' + Math.random();"  # one does not wait for another that hangs
            "script.onload = () => fetch('/loaded'); script.onerror = () => fetch('/failed');"
            "document.head.append(script); })</script>")
    row = world.bind(page)
    world.fault("html", "bx24", status=404)
    chromium.page(world.portal.url)
    wait_for(lambda: world.requests("application", "failed"), "refuse the library")
    world.fault("hang", "bx24")
    chromium.page(world.portal.url)
    world.wait_loads(2)
    world.down("bx24")
    chromium.page(world.portal.url)
    wait_for(lambda: len(world.requests("application", "failed")) == 2, "miss the library")
    world.up("bx24")
    world.slow_bx24(SLOW)
    chromium.page(world.portal.url)
    wait_for(lambda: world.requests("application", "loaded"), "get the library late")
    assert [load["slow"] for load in world.wait_loads(4)] == [False] * 4
    assert "maxTimeCount" not in row.options


def test_two_tabs_load_one_frame_each(chromium: Chromium, world: World) -> None:
    world.bind(PAGE)
    for _ in range(2):
        chromium.page(world.portal.url)
    loads = world.wait_loads(2)
    assert loads[0]["page"] != loads[1]["page"]
    sids = [request.params["APP_SID"] for request in world.requests("application")]
    assert len(sids) == len(set(sids)) == 2


def test_others_get_no_frame_of_a_personal_registration(chromium: Chromium, world: World) -> None:
    world.bind(PAGE, user_id=2)
    chromium.page(world.portal.url + "/?user=1")
    wait_for(lambda: world.happened(kind="refused"), "refuse the frame")
    chromium.page(world.portal.url + "/?user=2")
    assert world.wait_loads(1)[0]["user"] == 2
    assert len(world.requests("application")) == 1


def test_the_eleventh_report_deletes_and_the_notice_arrives(
        chromium: Chromium, world: World) -> None:
    world.set_portal(world.portal, rule=Rule(delay_ms=300))
    error = world.application("", name="error") + "/error/k7Qm"
    row = world.bind(world.late(0.5), error_url=error)
    for count in range(1, 12):
        chromium.page(world.portal.url)
        wait_for(lambda: len(world.reports()) >= count, f"report {count}")
        assert (row in world.rows(world.portal)) == (count < 11)
    notice, = wait_for(lambda: world.requests("error"), "send the notice")
    assert notice.params["error"] == "ERROR_PLACEMENT_LOADING_OVERTIME"
    wait_for(lambda: world.happened(kind="notice"), "be answered")
    assert [report["count"] for report in world.reports()] == [*range(1, 12)]
    assert [entry.kind for entry in world.happened() if entry.kind in ("bound", "deleted", "notice")
            ] == ["bound", "deleted", "notice"]
    chromium.page(world.portal.url)
    assert chromium.texts("#loads li") == ["no worker is registered"]
    assert len(world.page_loads()) == 11


class Pace:
    """An application's server that a test makes late and fast again."""

    def __init__(self, world: World) -> None:
        self.world, self.seconds = world, 0.0

    def __call__(self, request: Request) -> Response:
        return self.world.late(self.seconds)(request)


def test_all_rows_share_one_deadline(chromium: Chromium, world: World) -> None:
    world.set_portal(world.portal, rule=Rule(delay_ms=1000))
    first, second = Pace(world), Pace(world)
    rows = world.bind(first), world.bind(second)

    def open_page(slow: Pace) -> list[int]:
        for pace in first, second:
            pace.seconds = 1.5 if pace is slow else 0
        seen, reports = len(world.page_loads()), len(world.reports())
        chromium.page(world.portal.url)
        world.wait_loads(seen + 2)
        wait_for(lambda: len(world.reports()) > reports, "report the slow one")
        return [row.options.get("maxTimeCount", 0) for row in rows]

    assert open_page(first) == [1, 0]
    world.advance(23 * 3600)
    assert open_page(second) == [1, 1]  # moves the deadline of both
    world.advance(2 * 3600)
    assert open_page(first) == [2, 1]  # a day after its own first, and still not reset
    world.advance(25 * 3600)
    assert open_page(first) == [1, 1]  # after the common deadline: this one alone is reset
    assert open_page(second) == [1, 2]


def test_the_relay_makes_a_good_application_slow(chromium: Chromium, world: World) -> None:
    world.set_portal(world.portal, rule=Rule(delay_ms=1000))
    relay = world.add_relay(world.application(PAGE + "<p>as it was</p>"))
    world.bind_row(world.portal, world.app, relay + "/worker")
    for switch, slow in ((None, False), (world.slow_server, True), (world.slow_script, True)):
        if switch:
            switch(1.5)
        seen = len(world.page_loads())
        chromium.page(world.portal.url)
        assert world.wait_loads(seen + 1)[-1]["slow"] == slow
        if switch:
            switch(0)
    assert len(world.requests("application")) == 3
