"""The dashboard by the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import Page, expect

from support.api import ApiServer
from support.browser import Visitor
from support.dashboard import PATIENCE_MILLISECONDS, headline, mark, sign_in, tiles
from support.dashboard_scene import DashboardScene, dashboard_scene

PAGES = ("batches", "finished batch", "held batch", "jobs", "drawn job", "fleet", "costs", "plan")
CAN_BE_PRESSED = "a[href], button, input:not([type=hidden]), select, textarea, summary"
MOST = 400
"""Tabs; then something holds the focus and does not let it go."""
NUMBER_ALL = """(all) => {
    window.numbered = all.filter((one) => one.checkVisibility() && !one.disabled);
    return window.numbered.map((one) => one.outerHTML.slice(0, 120));
}"""
FOCUSED = """() => {
    const one = document.activeElement;
    if (one === document.body) return null;
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    return {
        number: window.numbered.indexOf(one),
        what: one.outerHTML.slice(0, 120),
        isSeen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
            && box.width > 0 && box.bottom > 0 && box.top < innerHeight,
    };
}"""


@pytest.fixture(scope="module")
def scene(api: ApiServer) -> Iterator[DashboardScene]:
    with dashboard_scene(api) as scene:
        yield scene


@pytest.fixture
def page(visitor: Visitor, scene: DashboardScene) -> Page:
    """The window of somebody who may do all with all."""
    sign_in(visitor.page, scene.admin_key)
    return visitor.page


def tab_through(page: Page) -> Sequence[int]:
    """Press Tab until one is around; returns the numbers of what had the focus.

    Raises:
        AssertionError: it did not show where it was.
    """
    passed: list[int] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (len(passed) > 1 and focused["number"] == passed[0]):
            return passed
        assert focused["isSeen"], focused["what"]
        if focused["number"] not in passed[-1:]:  # a field for a date has several parts
            passed.append(focused["number"])
    raise AssertionError("the focus does not come around")


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_all_that_can_be_pressed(page: Page, scene: DashboardScene, name: str) -> None:
    page.goto(scene.pages[name])
    wanted = page.locator(CAN_BE_PRESSED).evaluate_all(NUMBER_ALL)

    passed = [number for number in tab_through(page) if number >= 0]

    assert [wanted[number] for number in passed] == wanted


def test_the_first_thing_leads_past_the_menu(page: Page) -> None:
    page.goto("/batches")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New batch")).to_be_focused()


def test_arrow_keys_lead_to_the_neighbouring_images(page: Page, scene: DashboardScene) -> None:
    page.goto(f"/batches/{scene.finished}/jobs/0")
    title = page.get_by_role("heading", level=1)
    for key, position in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.wait_for_load_state()  # before that no script hears keys
        page.keyboard.press(key)
        expect(title).to_have_text(f"Job {position}")
    page.wait_for_load_state()
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("Job 0")
    page.wait_for_load_state()
    mark(page)
    page.keyboard.press("ArrowLeft")  # there is none
    page.keyboard.press("Control+ArrowRight")  # is the browser's
    expect(title).to_have_text("Job 0")


def test_arrow_keys_in_a_field_move_in_its_text(page: Page, scene: DashboardScene) -> None:
    page.goto(f"/batches/{scene.finished}/jobs")
    search = page.get_by_label("Search")
    search.fill("ab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("-")
    expect(search).to_have_value("a-b")


def test_a_batch_is_found_approved_and_its_image_opened(page: Page, scene: DashboardScene) -> None:
    page.goto("/batches")
    page.get_by_label("Search").focus()
    page.keyboard.type("drafts")
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader")).to_have_count(1)
    page.get_by_role("link", name="drafts").press("Enter")
    page.get_by_role("button", name="Draw the 4 held").press("Space")
    expect(headline(page)).to_contain_text("finished", timeout=PATIENCE_MILLISECONDS)
    expect(tiles(page)).to_have_count(6)
    tiles(page).first.press("Enter")
    expect(page.get_by_role("heading", name="1. done")).to_be_visible()
