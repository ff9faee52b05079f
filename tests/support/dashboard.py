"""What browser tests of the dashboard have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from producer.batch_options import BatchOptions
from producer.inline_batches import submit_inline
from shared.db.batches import count_jobs, set_control
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from support.api import ApiServer
from support.browser import HEIGHT
from support.factories import add_price

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (1440, 360)
NANODOLLARS_PER_HOUR = 76_500_000
TENANT = "studio"
A_BATCH = re.compile(r"/batches/[0-9a-f]{8}-[0-9a-f-]{27}$")
PATIENCE_MILLISECONDS = 30_000
"""For what a worker has to do first."""
MARK = "tenstepIsTheSamePage"


def set_price(server: ApiServer) -> None:
    """Have an hour of a cpu cost something since yesterday."""
    with server.database.write() as session:
        yesterday = server.database.now(session) - timedelta(days=1)
        add_price(session, nanodollars_per_hour=NANODOLLARS_PER_HOUR, effective_from=yesterday)


def submit(
    server: ApiServer, prompts: Sequence[str], *, tenant: str = TENANT, **options: object
) -> UUID:
    """Submit prompts; returns the batch."""
    chosen = BatchOptions.model_validate(options)
    return submit_inline(server.services, chosen, prompts, tenant=tenant, key=None).batch_id


def counts(server: ApiServer, batch_id: UUID) -> dict[str, int]:
    """Count the jobs of a batch in each state that some are in."""
    with server.database.read() as session:
        found = count_jobs(session, batch_id)
    return {state.value: count for state, count in found.items() if count}


def pause(server: ApiServer, batch_id: UUID) -> None:
    """Pause a batch, as somebody elsewhere would."""
    with server.database.write() as session:
        set_control(session, session.get_one(Batch, batch_id), BatchControl.PAUSED)


def sign_in(page: Page, secret: str) -> None:
    """Sign in with a key, by the form; ends at the batches, or wherever one was going."""
    page.goto("/signin")
    page.get_by_label("Key").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def press(page: Page, name: str | re.Pattern[str]) -> None:
    """Press a button that asks whether one is sure, and say yes; ends on the page it leads to."""
    page.once("dialog", lambda dialog: dialog.accept())
    with page.expect_navigation():
        page.get_by_role("button", name=name).click()


def headline(page: Page) -> Locator:
    """Find what tells how far a batch is."""
    return page.locator(".headline")


def tiles(page: Page) -> Locator:
    """Find the images of a batch that are in the document."""
    return page.locator(".tiles a")


def mark(page: Page) -> None:
    """Leave a mark that is gone when the page is loaded anew."""
    page.evaluate(f"window.{MARK} = true")


def is_marked(page: Page) -> bool:
    """Tell whether the page is the one that was marked."""
    return bool(page.evaluate(f"window.{MARK} === true"))


def show(page: Page, path: str, scheme: Scheme, width: int) -> None:
    """Go to a page in a colour scheme and a width, in pixels."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.goto(path)


def check_width(page: Page) -> None:
    """Check that the document is not to be scrolled sideways.

    Raises:
        AssertionError: it is; it names what reaches too far.
    """
    too_wide = page.evaluate(
        """() => {
            const root = document.documentElement;
            if (root.scrollWidth <= root.clientWidth) return [];
            return [...document.querySelectorAll("body *")]
                .filter((one) => one.getBoundingClientRect().right > root.clientWidth)
                .map((one) => one.outerHTML.slice(0, 120));
        }"""
    )
    assert not too_wide, "\n".join([f"{page.url} is too wide:", *too_wide])
