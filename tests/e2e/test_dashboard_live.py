"""Pages that go on by themselves: through a restart, out of sight, with their charts."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from shared.settings import Settings
from support.api import LOOPBACK, ApiServer, run_api
from support.browser import Visitor, visiting
from support.commands import wait_until
from support.dashboard import (
    PATIENCE_MILLISECONDS,
    counts,
    headline,
    is_marked,
    mark,
    pause,
    set_price,
    submit,
    tiles,
)
from support.servers import free_port

HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""A browser without a window shows all its pages: their scripts are told otherwise."""
A_WHILE = "00:10"
"""Longer than a page out of sight keeps its stream."""
INK = """(canvas) => {
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return all.filter((value, index) => index % 4 === 3 && value > 0).length;
}"""
"""Counts the pixels of a canvas that are not clear."""
MANY = 60


class Streams:
    """Counts the event streams that a page has asked for, and those of them that have ended."""

    def __init__(self, page: Page) -> None:
        self.asked = 0
        self._ended = 0
        self._page = page
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def are(self, wanted: int) -> bool:
        """Tell whether so many are open at present."""
        self._page.title()  # a round trip: what has happened is told
        return self.asked - self._ended == wanted

    def _begin(self, request: Request) -> None:
        self.asked += _is_stream(request)

    def _end(self, request: Request) -> None:
        self._ended += _is_stream(request)


def _is_stream(request: Request) -> bool:
    return urlsplit(request.url).path.endswith("/live")


def test_a_page_goes_on_when_the_server_was_away(browser: Browser, api_settings: Settings) -> None:
    port = free_port()
    with visiting(browser, f"http://{LOOPBACK}:{port}") as visitor:
        page = visitor.page
        for outcome in ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED"):
            visitor.watch.expect(outcome, "/batches/live")
        streams = Streams(page)
        with run_api(api_settings, port=port) as server:
            batch_id = submit(server, ["a red apple"], tenant="default", name="apples")
            page.goto("/batches")
            row = page.get_by_role("row").filter(has_text="apples")
            expect(row).to_contain_text("waiting")
            mark(page)
        wait_until(lambda: streams.are(0) and streams.asked > 1)

        with run_api(api_settings, port=port) as server:
            pause(server, batch_id)
            expect(row).to_contain_text("paused", timeout=PATIENCE_MILLISECONDS)
            assert is_marked(page)
            page.evaluate(HIDE, arg=True)
            page.evaluate(HIDE, arg=False)
            wait_until(lambda: streams.are(1))
            page.goto("about:blank")


@pytest.fixture(scope="module", autouse=True)
def _price(api: ApiServer) -> None:
    set_price(api)


@pytest.mark.parametrize("path", ["/batches", "/batches/{batch_id}", "/fleet"])
def test_a_page_out_of_sight_gives_up_its_stream_and_takes_it_up_again(
    page: Page, api: ApiServer, path: str
) -> None:
    batch_id = submit(api, ["a red apple"], tenant="default")
    page.clock.install()
    streams = Streams(page)
    page.goto(path.format(batch_id=batch_id))
    wait_until(lambda: streams.are(1))

    page.evaluate(HIDE, arg=True)
    page.evaluate(HIDE, arg=False)
    page.clock.fast_forward(A_WHILE)
    assert streams.are(1)
    assert streams.asked == 1  # it was out of sight for a moment only
    page.evaluate(HIDE, arg=True)
    page.clock.fast_forward(A_WHILE)
    wait_until(lambda: streams.are(0))
    page.evaluate(HIDE, arg=False)
    wait_until(lambda: streams.are(1))


def test_what_happened_out_of_sight_is_shown_when_one_comes_back(
    page: Page, api: ApiServer
) -> None:
    batch_id = submit(api, ["a red apple"], tenant="default")
    page.clock.install()
    streams = Streams(page)
    page.goto(f"/batches/{batch_id}")
    page.evaluate(HIDE, arg=True)
    page.clock.fast_forward(A_WHILE)
    wait_until(lambda: streams.are(0))

    pause(api, batch_id)
    page.evaluate(HIDE, arg=False)

    expect(headline(page)).to_contain_text("paused")


def test_a_page_that_opens_out_of_sight_keeps_no_stream(page: Page, api: ApiServer) -> None:
    page.add_init_script(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
    )
    page.clock.install()
    streams = Streams(page)
    page.goto("/batches")
    page.clock.fast_forward(A_WHILE)
    wait_until(lambda: streams.asked == 1 and streams.are(0))


def test_images_come_and_charts_are_drawn_and_the_table_says_the_same(
    page: Page, api: ApiServer
) -> None:
    batch_id = submit(api, [f"apple {number}" for number in range(MANY)], tenant="default")
    here = f"/batches/{batch_id}"
    page.goto(here)
    charts = page.locator(".chart canvas")
    expect(charts).to_have_count(0)
    mark(page)
    with api.drawing():
        expect(headline(page)).to_contain_text("finished", timeout=PATIENCE_MILLISECONDS)
    expect(charts).to_have_count(2)
    positions = tiles(page).locator("span")
    expect(positions).to_have_count(MANY)
    assert sorted(map(int, positions.all_inner_texts())) == list(range(MANY))
    assert is_marked(page)

    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(charts).to_have_count(2)
    assert all(charts.nth(number).evaluate(INK) > 1_000 for number in range(2))
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("region", name="Images and cost over time")
    cells = table.locator("tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((one) => one.textContent))"
    )
    told = page.request.get(f"{here}/series").json()
    assert [int(done) for _, done, *_ in cells] == told["done"]
    assert sum(told["done"]) == counts(api, batch_id)["done"]
    cost = sum(round(float(amount.removeprefix("$")) * 10**9) for *_, amount in cells)
    assert cost == sum(told["nanodollars"]) > 0


def test_the_focus_stays_on_a_batch_while_others_come(page: Page, api: ApiServer) -> None:
    submit(api, ["a red apple"], tenant="default", name="the first")
    page.goto("/batches")
    link = page.get_by_role("link", name="the first")
    link.focus()

    submit(api, ["a red apple"], tenant="default", name="the second")
    expect(page.get_by_role("link", name="the second")).to_be_visible()
    expect(link).to_be_focused()


def test_an_image_that_does_not_arrive_leaves_its_words(visitor: Visitor, api: ApiServer) -> None:
    page = visitor.page
    batch_id = submit(api, ["a pear on a plate"], tenant="default")
    with api.drawing():
        wait_until(lambda: counts(api, batch_id) == {"done": 1})
    page.goto(f"/batches/{batch_id}/jobs/0")
    image = urlsplit(page.url).path
    for path in (f"{image}/image.png", f"{image}/thumbnail.webp"):
        visitor.watch.expect("net::ERR_FAILED", path)
    page.route("**/*.png", lambda route: route.abort())
    page.route("**/*.webp*", lambda route: route.abort())

    for path in (image, f"/batches/{batch_id}"):
        page.goto(path)
        broken = page.get_by_role("img", name="a pear on a plate")
        expect(broken).to_be_visible()
        assert broken.evaluate("(one) => one.naturalWidth") == 0
