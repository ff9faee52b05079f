"""Every page of the dashboard can be used by everybody: in each scheme, on narrow screens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from support.api import ApiServer
from support.browser import Visitor, check_accessibility
from support.dashboard import SCHEMES, WIDTHS, Scheme, check_width, show, sign_in
from support.dashboard_scene import LONG, DashboardScene, dashboard_scene

PAGES = (
    *("batches", "new batch", "finished batch", "held batch", "jobs", "failed job", "drawn job"),
    *("fleet", "costs", "plan", "plan made"),
)


@pytest.fixture(scope="module")
def scene(api: ApiServer) -> Iterator[DashboardScene]:
    with dashboard_scene(api) as scene:
        yield scene


@pytest.fixture
def page(visitor: Visitor, scene: DashboardScene) -> Page:
    """The window of somebody who may do all with all."""
    sign_in(visitor.page, scene.admin_key)
    return visitor.page


def check(page: Page) -> None:
    """Check what is shown, with all that can be unfolded."""
    folded = page.locator("details:not([open]) > summary")
    while folded.count():
        folded.first.click()
    check_width(page)
    check_accessibility(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_page(page: Page, scene: DashboardScene, name: str) -> None:
    for scheme in SCHEMES:
        for width in WIDTHS:
            show(page, scene.pages[name], scheme, width)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            check(page)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_what_comes_of_a_form(page: Page, scheme: Scheme, width: int) -> None:
    show(page, "/batches/new", scheme, width)
    page.get_by_label("Paste them here").fill(
        f'{{"prompt": "{LONG}"}}\n{{"prompt": "{LONG}", "steps": "{"y" * 60}"}}'
    )
    page.get_by_role("button", name="Preview and quote").click()
    expect(page.get_by_role("heading", name="Bad lines")).to_be_visible()
    check(page)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_who_is_refused(
    visitor: Visitor, scene: DashboardScene, scheme: Scheme, width: int
) -> None:
    page = visitor.page
    for status, path in ((401, "/signin"), (404, "/nowhere"), (422, "/batches/new/preview")):
        visitor.watch.expect(status, path)
    show(page, "/signin", scheme, width)
    check(page)
    page.get_by_label("Key").fill("tsk_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)

    sign_in(page, scene.admin_key)
    page.goto("/nowhere")
    check(page)
    page.goto("/batches/new")
    page.get_by_role("button", name="Preview and quote").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)
