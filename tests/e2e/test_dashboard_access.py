"""Who sees what of the dashboard, in browsers of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from shared.db.tables import Job
from shared.domain.access import Scope
from support.api import ApiServer
from support.browser import Visitor
from support.browser_fixtures import NewVisitor
from support.commands import wait_until
from support.dashboard import counts, set_price, sign_in, submit, tiles

OWNER, OTHER = "studio", "atelier"
IMAGES = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """A batch of each of two tenants, drawn, and their keys."""

    owned: UUID
    others: UUID
    owner_key: str
    other_key: str
    reading_key: str
    """The owner's too."""
    admin_key: str
    image: UUID
    """A job of `owned`."""


@pytest.fixture(scope="module")
def scene(api: ApiServer) -> Iterator[Scene]:
    set_price(api)
    owned, others = (
        submit(api, [f"a {tenant}"] * IMAGES, tenant=tenant, name=f"of the {tenant}")
        for tenant in (OWNER, OTHER)
    )
    with api.drawing():
        for batch_id in (owned, others):
            wait_until(lambda wanted=batch_id: counts(api, wanted) == {"done": IMAGES})
        with api.database.read() as session:
            image = session.scalars(select(Job.id).where(Job.batch_id == owned)).first()
        assert image is not None
        yield Scene(
            owned=owned,
            others=others,
            owner_key=api.new_key(OWNER),
            other_key=api.new_key(OTHER),
            reading_key=api.new_key(OWNER, Scope.READ),
            admin_key=api.new_key("operator", Scope.ADMIN),
            image=image,
        )


def signed_in(new_visitor: NewVisitor, api: ApiServer, secret: str) -> Visitor:
    visitor = new_visitor(api.url)
    sign_in(visitor.page, secret)
    return visitor


def batches(page: Page) -> list[str]:
    page.goto("/batches")
    return page.get_by_role("rowheader").get_by_role("link").all_inner_texts()


def test_one_signs_in_where_one_was_going_and_out_again(
    page: Page, api: ApiServer, scene: Scene
) -> None:
    page.goto(f"/batches/{scene.owned}")
    expect(page.get_by_label("Key")).to_be_focused()
    page.keyboard.type(scene.owner_key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/batches/{scene.owned}")
    expect(tiles(page)).to_have_count(IMAGES)

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/signin")
    page.goto(f"/jobs/{scene.image}")
    expect(page).to_have_url(f"{api.url}/signin?next=/jobs/{scene.image}")


def test_a_key_that_is_not_known_lets_nobody_in(visitor: Visitor, scene: Scene) -> None:
    page = visitor.page
    visitor.watch.expect(401, "/signin")
    page.goto("/signin")
    page.get_by_label("Key").fill(f"{scene.owner_key[:-1]}!")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_have_text("This key is not known, or no longer.")
    expect(page.get_by_label("Key")).to_have_value("")
    page.goto("/batches")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_session_that_ends_elsewhere_asks_for_the_key_at_the_next_button(
    new_visitor: NewVisitor, api: ApiServer, scene: Scene
) -> None:
    visitor = signed_in(new_visitor, api, scene.owner_key)
    page = visitor.page
    held = submit(api, ["a panda"], tenant=OWNER, hold=True)
    with page.expect_response("**/live"):
        page.goto(f"/batches/{held}")
    visitor.watch.expect(401, f"/batches/{held}/approve")
    page.context.clear_cookies()
    page.get_by_role("button", name="Draw the 1 held").click()

    expect(page.get_by_label("Key")).to_be_visible()
    assert counts(api, held) == {"held": 1}


def test_neither_tenant_sees_what_is_the_others(
    new_visitor: NewVisitor, api: ApiServer, scene: Scene
) -> None:
    owner = signed_in(new_visitor, api, scene.owner_key)
    other = signed_in(new_visitor, api, scene.other_key)

    assert f"of the {OTHER}" not in batches(owner.page)
    assert batches(other.page) == [f"of the {OTHER}"]
    for path in (
        f"/batches/{scene.owned}",
        f"/batches/{scene.owned}/jobs",
        f"/batches/{scene.owned}/jobs/0",
        f"/jobs/{scene.image}",
    ):
        other.watch.expect(404, path)
        other.page.goto(path)
        expect(other.page.get_by_role("heading", level=1)).to_have_text("Not Found")
        assert OWNER not in other.page.get_by_role("main").inner_text()
        owner.page.goto(path)
        expect(owner.page.get_by_text("Not Found")).to_have_count(0)
    for picture in ("image.png", "thumbnail.webp"):
        assert other.page.request.get(f"/jobs/{scene.image}/{picture}").status == 404
        assert owner.page.request.get(f"/jobs/{scene.image}/{picture}").ok


def test_a_key_that_may_only_read_has_nothing_to_press(
    new_visitor: NewVisitor, api: ApiServer, scene: Scene
) -> None:
    held = submit(api, ["a panda", "a frog"], tenant=OWNER, hold=True)
    page = signed_in(new_visitor, api, scene.reading_key).page
    for path in ("/batches", f"/batches/{held}", f"/batches/{held}/jobs/0", f"/jobs/{scene.image}"):
        page.goto(path)
        changing = page.locator("form[method=post] button").all_inner_texts()
        assert changing == ["Sign out"]
        expect(page.get_by_role("link", name=re.compile("New batch|Render again"))).to_have_count(0)
    expect(page.get_by_role("link", name="Fleet")).to_have_count(0)


def test_an_administrator_sees_all_and_drains_a_worker(
    new_visitor: NewVisitor, api: ApiServer, scene: Scene
) -> None:
    page = signed_in(new_visitor, api, scene.admin_key).page
    assert {f"of the {OWNER}", f"of the {OTHER}"} <= set(batches(page))
    page.goto(f"/batches/{scene.others}")
    expect(tiles(page)).to_have_count(IMAGES)

    page.get_by_role("link", name="Fleet").click()
    page.get_by_role("button", name="Drain").click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    expect(page.get_by_role("table").get_by_text("drained", exact=True)).to_be_visible()
    late = submit(api, ["a late panda"], tenant=OWNER)
    page.goto(f"/batches/{late}")
    expect(page.locator(".notice")).to_be_visible()  # why nothing moves
    page.goto("/fleet")
    resume.click()
    expect(page.get_by_role("button", name="Drain")).to_be_visible()
    wait_until(lambda: counts(api, late) == {"done": 1})
