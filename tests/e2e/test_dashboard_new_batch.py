"""A batch in a browser, from the prompts to the images of the small model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from shared.settings import Settings
from support.api import ApiServer
from support.browser import Watch
from support.commands import wait_until
from support.dashboard import (
    A_BATCH,
    PATIENCE_MILLISECONDS,
    counts,
    headline,
    is_marked,
    mark,
    set_price,
    submit,
    tiles,
)

SUBJECTS = ("a red apple", "a panda", "a rocket", "a sunflower", "a red heart")
STYLES = ("glossy 3d style", "flat twemoji style", "noto style")
PROMPTS = [f"{subject}, {style}" for subject in SUBJECTS for style in STYLES]
FEW = PROMPTS[:2]
IMAGES_A_PAGE, MOST_BYTES = 100, 1_500_000
THUMBNAIL_BYTES = """() => performance.getEntriesByType("resource")
    .filter((one) => one.name.includes("/thumbnail.webp"))
    .reduce((sum, one) => sum + one.transferSize, 0)"""


@pytest.fixture(scope="module")
def api_settings(api_settings: Settings) -> Settings:
    """The model draws on one core, beside the server and the browser."""
    return api_settings.model_copy(update={"cpu_threads": 1})


@pytest.fixture(scope="module", autouse=True)
def _drawing(api: ApiServer) -> Iterator[None]:
    """The small model draws, and has drawn, so that there are quotes."""
    set_price(api)
    first = submit(api, FEW)
    with api.drawing(device="cpu"):
        wait_until(lambda: counts(api, first) == {"done": len(FEW)})
        yield


def test_a_batch_is_pasted_quoted_confirmed_and_watched_to_its_end(
    page: Page, api: ApiServer
) -> None:
    bad = json.dumps({"prompt": PROMPTS[0], "steps": "many"})
    lines = [json.dumps({"prompt": prompt}) for prompt in PROMPTS]
    page.goto("/batches")
    page.get_by_role("link", name="New batch").click()
    page.get_by_label("Paste them here").fill("\n".join([*lines, bad]))
    page.get_by_label("Name", exact=True).fill("fifteen emoji")
    page.get_by_role("button", name="Preview and quote").click()

    rows = page.get_by_role("region", name=re.compile("Its first"))
    expect(rows.get_by_role("rowheader").first).to_have_text(PROMPTS[0])
    rejected = page.get_by_role("region", name="Bad lines").get_by_role("row").nth(1)
    expect(rejected).to_contain_text("16")
    expect(rejected).to_contain_text("steps")
    quote = page.get_by_role("region", name="What it would cost")
    expect(quote.get_by_role("table")).to_contain_text("measured on 2 images")
    expect(quote.locator(".figures")).to_contain_text("$0.0000")

    page.get_by_role("button", name="Submit 15 images").click()
    page.wait_for_url(A_BATCH)
    expect(page.get_by_role("heading", level=1)).to_have_text("fifteen emoji")
    expect(page.get_by_role("heading", name="Images")).to_be_visible()
    mark(page)
    expect(headline(page)).to_have_text(
        re.compile(r"finished\s+15\s+of 15 images"), timeout=PATIENCE_MILLISECONDS
    )
    expect(page.get_by_role("img", name="15 of 15 done")).to_be_visible()
    expect(tiles(page)).to_have_count(15)
    expect(page.locator(".chart canvas")).to_have_count(2)
    assert is_marked(page)
    check_pictures(page)
    weight = page.evaluate(THUMBNAIL_BYTES)
    assert 0 < weight / 15 * IMAGES_A_PAGE < MOST_BYTES


ALL_HAVE_ARRIVED = "[...document.images].every((one) => one.complete && one.naturalWidth > 0)"


def check_pictures(page: Page) -> None:
    """Check that all that are in sight have arrived."""
    # To wait within the page would take a script that its policy forbids.
    wait_until(lambda: page.evaluate(ALL_HAVE_ARRIVED))


def test_an_image_tells_what_its_attempt_cost_and_is_the_start_of_another(
    page: Page, api: ApiServer
) -> None:
    batch_id = submit(api, ["a panda, noto style"], seed=7)
    wait_until(lambda: counts(api, batch_id) == {"done": 1})
    page.goto(f"/batches/{batch_id}")
    tiles(page).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Job 0")
    expect(page.get_by_role("img", name="a panda, noto style")).to_be_visible()
    check_pictures(page)
    attempt = page.get_by_role("region", name="Attempts").get_by_role("article")
    expect(attempt.get_by_role("heading")).to_have_text("1. done")
    expect(attempt.get_by_role("img", name=re.compile("How its time was spent"))).to_be_visible()
    # Text that was encoded while the device drew something else took no time of it.
    for phase in ("denoise", "decode", "png encode", "upload"):
        expect(attempt.get_by_role("listitem").filter(has_text=phase).first).to_have_text(
            re.compile(r"\d\s+m?s")
        )
    cost = page.get_by_role("region", name="What was asked for").locator("dd strong")
    expect(cost).to_have_text(re.compile(r"^\$0\.0000\d{5}$"))
    expect(attempt.locator(".figures dd").first).to_have_text(cost.inner_text())

    page.get_by_role("link", name="Render again with…").click()
    expect(page.get_by_label("Paste them here")).to_have_value("a panda, noto style")
    expect(page.get_by_label("First seed")).to_have_value("7")
    expect(page.get_by_label("Model")).to_have_value("emoji-64")


def test_a_file_is_uploaded_and_quoted(page: Page, tmp_path: Path) -> None:
    prompts = tmp_path / "two emoji.txt"
    prompts.write_text("\n".join(FEW))
    page.goto("/batches/new")
    page.get_by_label("Choose a file").set_input_files(prompts)
    page.get_by_role("button", name="Preview and quote").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("two emoji.txt")
    page.get_by_role("button", name="Submit 2 images").click()
    page.wait_for_url(A_BATCH)
    expect(tiles(page)).to_have_count(2, timeout=PATIENCE_MILLISECONDS)


def test_an_option_that_is_wrong_is_told_beside_its_field(page: Page, watch: Watch) -> None:
    watch.expect(422, "/batches/new/preview")
    page.goto("/batches/new")
    page.get_by_label("Paste them here").fill("a red apple")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill("ten")
    page.get_by_role("button", name="Preview and quote").click()

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Steps")).to_have_value("ten")
    expect(page.get_by_label("Steps")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Paste them here")).to_have_value("a red apple")
