"""What buttons of the dashboard decide, in a browser, while a worker draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from support.api import ApiServer
from support.commands import wait_until
from support.dashboard import (
    PATIENCE_MILLISECONDS,
    counts,
    headline,
    is_marked,
    mark,
    pause,
    press,
    set_price,
    submit,
    tiles,
)
from support.drawn import fail_first

MANY = 5_000
GOES_ON = re.compile("working|waiting")
"""A quick device has images in hand at moments only."""
"""Images that take minutes, so that there is something to decide."""


@pytest.fixture(scope="module")
def troubled(api: ApiServer) -> UUID:
    """A batch of six, paused when three had failed: nobody draws the rest yet."""
    batch_id = submit(api, prompts(6))
    fail_first(api, batch_id, ["content_flagged", "bad_settings", "content_flagged"])
    pause(api, batch_id)
    return batch_id


@pytest.fixture(scope="module", autouse=True)
def _drawing(api: ApiServer, troubled: UUID) -> Iterator[None]:
    del troubled  # is made before somebody draws
    set_price(api)
    with api.drawing():
        yield


def prompts(count: int) -> list[str]:
    return [f"a red apple, number {number}" for number in range(count)]


def progress(page: Page) -> int:
    """Return how many images of the batch the page says are done."""
    return int(headline(page).locator("strong").inner_text().replace(",", ""))


def test_a_batch_that_goes_on_is_paused_resumed_and_cancelled(page: Page, api: ApiServer) -> None:
    batch_id = submit(api, prompts(MANY), name="many apples")
    page.goto(f"/batches/{batch_id}")
    expect(headline(page)).to_contain_text(GOES_ON, timeout=PATIENCE_MILLISECONDS)
    wait_until(lambda: progress(page) > 0)

    press(page, "Pause")
    expect(headline(page)).to_contain_text("paused")
    expect(page.get_by_text("being drawn")).to_have_count(0)  # what was begun has ended
    still = progress(page)
    press(page, "Resume")
    expect(headline(page)).to_contain_text(GOES_ON)
    mark(page)
    wait_until(lambda: progress(page) > still)
    assert is_marked(page)

    press(page, "Cancel")
    expect(headline(page)).to_contain_text("cancelled")
    expect(page.get_by_text("being drawn")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("Pause|Resume|Cancel"))).to_have_count(0)
    ended = counts(api, batch_id)
    assert ended["done"] == progress(page)
    assert ended["done"] + ended["cancelled"] == MANY


def test_who_is_asked_whether_to_cancel_and_says_no_has_cancelled_nothing(
    page: Page, api: ApiServer
) -> None:
    batch_id = submit(api, prompts(2), hold=True)
    page.goto(f"/batches/{batch_id}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    assert counts(api, batch_id) == {"held": 2}


def test_a_sample_is_drawn_and_looked_at_and_the_rest_approved(page: Page, api: ApiServer) -> None:
    batch_id = submit(api, prompts(9), hold=True, sample=3)
    page.goto(f"/batches/{batch_id}")
    expect(tiles(page)).to_have_count(3, timeout=PATIENCE_MILLISECONDS)
    expect(headline(page)).to_contain_text("held")

    press(page, "Draw the 6 held")

    expect(headline(page)).to_contain_text("finished", timeout=PATIENCE_MILLISECONDS)
    expect(tiles(page)).to_have_count(9)
    assert counts(api, batch_id) == {"done": 9}


def test_the_held_rest_is_called_off(page: Page, api: ApiServer) -> None:
    batch_id = submit(api, prompts(5), hold=True, sample=1)
    page.goto(f"/batches/{batch_id}")
    expect(tiles(page)).to_have_count(1, timeout=PATIENCE_MILLISECONDS)

    press(page, "Call off the held")

    expect(page.get_by_role("listitem").filter(has_text="4 cancelled")).to_be_visible()
    assert counts(api, batch_id) == {"done": 1, "cancelled": 4}


def test_failures_are_tried_again_by_reason_and_drawn(
    page: Page, api: ApiServer, troubled: UUID
) -> None:
    page.goto(f"/batches/{troubled}")
    row = page.get_by_role("row").filter(has_text="content_flagged")
    expect(row).to_contain_text("2")
    expect(page.get_by_role("button", name="Try all 3 again")).to_be_visible()

    with page.expect_navigation():
        row.get_by_role("button", name="Try again").click()
    expect(row).to_have_count(0)
    assert counts(api, troubled) == {"pending": 5, "failed": 1}
    press(page, "Resume")

    expect(tiles(page)).to_have_count(5, timeout=PATIENCE_MILLISECONDS)
    assert counts(api, troubled) == {"done": 5, "failed": 1}
    page.get_by_role("link", name="job 1").click()
    expect(page.get_by_role("article").get_by_text("it broke")).to_be_visible()
    press(page, "Try again")
    wait_until(lambda: counts(api, troubled) == {"done": 6})
    page.reload()
    expect(page.get_by_role("img", name=prompts(2)[1])).to_be_visible()


def test_a_job_is_called_off_on_its_own_page(page: Page, api: ApiServer) -> None:
    batch_id = submit(api, prompts(2), hold=True)
    page.goto(f"/batches/{batch_id}/jobs/1")
    press(page, "Cancel")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert counts(api, batch_id) == {"held": 1, "cancelled": 1}


def test_the_focus_stays_on_what_a_button_does_while_the_page_changes(
    page: Page, api: ApiServer
) -> None:
    batch_id = submit(api, prompts(MANY), max_cost_usd="0.0000002", name="soon too dear")
    page.goto(f"/batches/{batch_id}")
    button = page.get_by_role("button", name="Pause")
    button.focus()

    expect(page.get_by_role("button", name=re.compile("Draw the"))).to_be_visible(
        timeout=PATIENCE_MILLISECONDS
    )
    expect(button).to_be_focused()
    press(page, "Cancel")
    expect(headline(page)).to_contain_text("cancelled")
