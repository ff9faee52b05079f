"""The images of a large batch, in a browser: all of them, but few at a time, and light."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from benchmarks.drawn_batch import fill
from shared.db.outcomes import StoredImage
from shared.storage.base import image_key, sha256_of, thumbnail_key
from shared.thumbnail import CONTENT_TYPE, thumbnail_of
from support.api import ApiServer
from support.dashboard import headline, pause, submit, tiles
from support.drawn import arrive

IMAGES = 3_000
PICTURES = 8
SIDE = 512
"""In pixels; noise of this size is the heaviest that there is."""
A_PAGE = 100
MOST_BYTES = 1_500_000
"""Of the first hundred thumbnails."""
MOST_TILES = 500
"""In the document at any time: those near the window."""
LINKS = "all => all.map((one) => one.getAttribute('href'))"
POSITIONS = "all => all.map((one) => Number(one.textContent))"


@pytest.fixture(scope="module")
def drawn(api: ApiServer) -> UUID:
    """A batch at its end, whose images are noise."""
    stored = [store_noise(api, seed) for seed in range(PICTURES)]
    return fill(api.database, IMAGES, lambda position: stored[position % PICTURES])


def store_noise(api: ApiServer, seed: int) -> StoredImage:
    data = noise(seed)
    sha256 = sha256_of(data)
    api.store.put(image_key(sha256), data, "image/png")
    return StoredImage(image_key(sha256), sha256, len(data))


def noise(seed: int) -> bytes:
    """Draw a PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def shown(page: Page) -> Sequence[int]:
    """Return the positions of the images that are in the document, in its order."""
    found: list[int] = page.locator(".tiles span").evaluate_all(POSITIONS)
    return found


def older(page: Page) -> str | None:
    """Return where the older images are, or None once all have arrived.

    Asked for once: between two questions the page may have fetched the last of them.
    """
    links: list[str] = page.locator("[data-more]").evaluate_all(LINKS)
    return links[0] if links else None


def wait_for_first(page: Page, position: int) -> None:
    """Wait until an image is the first on the page, and in sight."""
    first = tiles(page).first
    expect(first).to_have_text(str(position))
    expect(first).to_be_in_viewport()


def test_all_images_arrive_in_order_while_one_scrolls_and_few_are_kept(
    page: Page, drawn: UUID
) -> None:
    page.goto(f"/batches/{drawn}")
    seen = dict.fromkeys(shown(page))
    assert list(seen) == list(range(IMAGES - 1, IMAGES - 1 - A_PAGE, -1))
    most = 0

    while link := older(page):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.locator(f"[data-more][href='{link}']")).to_have_count(0)
        now = shown(page)
        seen |= dict.fromkeys(now)
        most = max(most, len(now))
    # The link to the last of them may go a moment before they come.
    expect(page.locator(".tiles span").last).to_have_text("0")
    seen |= dict.fromkeys(shown(page))
    assert list(seen) == list(range(IMAGES - 1, -1, -1))
    assert most <= MOST_TILES
    expect(tiles(page).last).to_have_text("0")

    page.evaluate("scrollTo(0, 0)")
    expect(tiles(page).first).to_have_text(str(IMAGES - 1))
    assert len(shown(page)) <= MOST_TILES
    page.get_by_role("heading", name="Images").scroll_into_view_if_needed()
    tiles(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Job {IMAGES - 1}")


def test_the_first_page_of_images_is_light_even_where_they_are_noise(
    page: Page, drawn: UUID
) -> None:
    page.goto(f"/batches/{drawn}")
    images = tiles(page).locator("img")
    urls = images.evaluate_all("all => all.map((one) => one.getAttribute('src'))")
    assert len(urls) == A_PAGE

    answers = [page.request.get(url) for url in urls]

    assert all(answer.ok for answer in answers)
    assert sum(len(answer.body()) for answer in answers) < MOST_BYTES


def test_of_images_that_arrive_for_hours_few_are_kept(page: Page, api: ApiServer) -> None:
    count, early = 700, 50
    batch_id = submit(api, ["a red apple"] * count, tenant="default")
    api.store.put(thumbnail_key("ab" * 32), thumbnail_of(noise(0)), CONTENT_TYPE)
    with api.database.read() as session:
        begin = api.database.now(session)
    arrive(api, batch_id, early, begin)
    page.goto(f"/batches/{batch_id}")
    expect(tiles(page)).to_have_count(early)

    arrive(api, batch_id, count - early, begin + timedelta(hours=1))
    pause(api, batch_id)
    expect(headline(page)).to_contain_text("paused")
    wait_for_first(page, count - 1)
    assert len(shown(page)) <= MOST_TILES
