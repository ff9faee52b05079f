"""The dashboard without scripts: every page reads, and every form works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from shared.domain.access import Scope
from support.api import ApiServer
from support.browser_fixtures import NewVisitor
from support.commands import wait_until
from support.dashboard import A_BATCH, counts, headline, set_price, sign_in, submit, tiles
from support.drawn import fail_first

DRAWN = 130
"""More than a page of images."""


@pytest.fixture(scope="module")
def drawn(api: ApiServer) -> Iterator[UUID]:
    """A batch at its end: all but its first image is drawn."""
    set_price(api)
    batch_id = submit(api, [f"apple {number}" for number in range(DRAWN + 1)], name="apples")
    fail_first(api, batch_id, ["content_flagged"])
    with api.drawing():
        wait_until(lambda: counts(api, batch_id) == {"done": DRAWN, "failed": 1})
        yield batch_id


@pytest.fixture(scope="module")
def admin_key(api: ApiServer) -> str:
    return api.new_key("operator", Scope.ADMIN)


@pytest.fixture
def plain(new_visitor: NewVisitor, api: ApiServer, admin_key: str, drawn: UUID) -> Page:
    """The window of somebody who may do all with all, without scripts."""
    del drawn
    page = new_visitor(api.url, javascript=False).page
    sign_in(page, admin_key)
    return page


def test_every_page_reads(plain: Page, drawn: UUID) -> None:
    plain.goto("/batches")
    row = plain.get_by_role("row").filter(has_text="apples")
    expect(row).to_contain_text("130 of 131 · 1 failed")
    row.get_by_role("link").click()

    expect(headline(plain)).to_have_text(re.compile(r"finished\s+130\s+of 131 images"))
    expect(tiles(plain)).to_have_count(100)
    plain.get_by_text("The same as a table").click()
    table = plain.get_by_role("region", name="Images and cost over time")
    expect(table.get_by_role("row").nth(1)).to_be_visible()
    plain.get_by_role("link", name="Older images").click()
    expect(tiles(plain)).to_have_count(DRAWN - 100)
    position = int(tiles(plain).last.inner_text())
    tiles(plain).last.click()

    expect(plain.get_by_role("heading", level=1)).to_have_text(f"Job {position}")
    plain.get_by_role("link", name="Next").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text(f"Job {position + 1}")
    expect(plain.get_by_role("heading", name="1. done")).to_be_visible()
    for path, title in (("/fleet", "Fleet"), ("/costs", "Costs"), ("/plan", "Plan")):
        plain.goto(path)
        expect(plain.get_by_role("heading", level=1)).to_have_text(title)
    plain.goto("/fleet")
    expect(plain.get_by_role("table")).to_contain_text("idle")


def test_batches_and_jobs_are_looked_for(plain: Page, api: ApiServer, drawn: UUID) -> None:
    submit(api, ["a pear"], name="pears", hold=True)
    plain.goto("/batches")
    plain.get_by_label("Search").fill("pear")
    plain.get_by_role("button", name="Show").click()
    expect(plain.get_by_role("rowheader")).to_have_count(1)
    expect(plain.get_by_label("Search")).to_have_value("pear")

    plain.goto(f"/batches/{drawn}/jobs")
    plain.get_by_label("State").select_option("failed")
    plain.get_by_role("button", name="Show").click()
    expect(plain.get_by_role("rowheader")).to_have_text(["0"])


def test_a_batch_is_submitted_held_approved_and_drawn(plain: Page, api: ApiServer) -> None:
    plain.goto("/batches/new")
    plain.get_by_label("Paste them here").fill("a red apple\na green pear")
    plain.get_by_text("More", exact=True).click()
    plain.get_by_label("Hold it").check()
    plain.get_by_role("button", name="Preview and quote").click()
    expect(plain.get_by_role("region", name=re.compile("Its first 2"))).to_contain_text(
        "a green pear"
    )
    plain.get_by_role("button", name="Submit 2 images, held").click()
    plain.wait_for_url(A_BATCH)
    batch_id = UUID(plain.url.rpartition("/")[2])

    approve = plain.get_by_role("button", name="Draw the 2 held")
    wait_until(lambda: reloaded(plain) and approve.count() == 1)
    approve.click()
    # A page that is still on its way to the next one cannot be loaded again.
    expect(approve).to_have_count(0)
    wait_until(lambda: reloaded(plain) and tiles(plain).count() == 2)
    assert counts(api, batch_id) == {"done": 2}


def reloaded(page: Page) -> bool:
    """Load a page again, as one does without scripts; what it shows is half a second old."""
    return page.reload() is not None


def test_a_batch_is_paused_resumed_and_cancelled(plain: Page, api: ApiServer) -> None:
    batch_id = submit(api, ["a red apple"], hold=True)
    plain.goto(f"/batches/{batch_id}")
    plain.get_by_role("button", name="Pause").click()
    expect(headline(plain)).to_contain_text("paused")
    plain.get_by_role("button", name="Resume").click()
    expect(headline(plain)).to_contain_text("held")
    plain.get_by_role("button", name="Cancel").click()
    expect(headline(plain)).to_contain_text("cancelled")
    assert counts(api, batch_id) == {"cancelled": 1}


def test_what_failed_is_tried_again(plain: Page, api: ApiServer) -> None:
    with_faults = submit(api, ["a red apple", "simulate: fail"])
    wait_until(lambda: counts(api, with_faults) == {"done": 1, "failed": 1})
    plain.goto(f"/batches/{with_faults}")
    plain.get_by_role("link", name="job 1").click()
    failures = plain.get_by_role("heading", name=re.compile(r"^\d\. failed"))
    expect(failures).to_have_count(1)
    plain.go_back()
    with plain.expect_navigation():
        plain.get_by_role("button", name="Try again").click()
    expect(plain.get_by_role("alert")).to_have_count(0)
    plain.goto(f"/batches/{with_faults}/jobs/1")
    wait_until(lambda: reloaded(plain) and failures.count() == 2)


def test_a_worker_is_drained_and_resumed(plain: Page) -> None:
    plain.goto("/fleet")
    plain.get_by_role("button", name="Drain").click()
    plain.get_by_role("button", name="Resume").click()
    expect(plain.get_by_role("button", name="Drain")).to_be_visible()


def test_one_signs_out(plain: Page) -> None:
    plain.get_by_role("button", name="Sign out").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Sign in")
    plain.goto("/batches")
    expect(plain.get_by_role("heading", level=1)).to_have_text("Sign in")
