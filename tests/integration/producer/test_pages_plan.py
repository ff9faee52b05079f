"""The page that plans a fleet: a form whose answer has a URL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.db.cost_tables import DeclaredRate
from shared.domain.access import Scope
from support.api import ApiServer
from support.factories import add_price
from support.visits import Visit, rows_of, visiting

SECOND = 1_000_000_000
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SLOW, FAST = "slow<i>", "fast"


@pytest.fixture(scope="module")
def key(api: ApiServer) -> str:
    return api.new_key("studio")


@pytest.fixture
def visit(api: ApiServer, key: str) -> Iterator[Visit]:
    with visiting(api, key) as visit:
        yield visit


@pytest.fixture(scope="module")
def offers(api: ApiServer) -> None:
    """A device that draws an image in 4 s for $1 an hour, and one in 1 s for $5."""
    with api.database.write() as session:
        for sku, seconds, dollars in ((SLOW, 4, 1), (FAST, 1, 5)):
            session.add(
                DeclaredRate(
                    device_kind="cuda",
                    sku=sku,
                    model="emoji-64",
                    width=64,
                    height=64,
                    iterations=10,
                    device_ns=seconds * SECOND,
                    load_ns=10 * SECOND,
                    source="a test",
                )
            )
            add_price(
                session,
                device_kind="cuda",
                sku=sku,
                nanodollars_per_hour=dollars * 10**9,
                effective_from=LONG_AGO,
            )


def test_where_nothing_was_measured_the_page_says_what_to_do(visit: Visit) -> None:
    text = visit.page("/plan?images=100&deadline_hours=1").text
    assert "No device has both a price and a rate for emoji-64" in text
    assert "tenstep calibrate" in text


@pytest.mark.usefixtures("offers")
def test_a_plan_says_what_to_hire_when_it_is_done_and_what_it_costs(
    api: ApiServer, visit: Visit
) -> None:
    before = rows_of(api)
    page = visit.page("/plan?images=10000&deadline_hours=6&max_cost_usd=&steps=")
    assert f"x cuda {SLOW}" in page.text
    assert (
        "10,000 images of emoji-64, 64 \N{MULTIPLICATION SIGN} 64 pixels, 10 iterations"
        in page.text
    )
    assert len(page.all("circle", class_="plot-point")) >= 2
    assert len(page.all("circle", class_="plot-chosen")) == 1
    assert page.all("input", name="images")[0].attributes["value"] == "10000"
    assert rows_of(api) == before


@pytest.mark.usefixtures("offers")
def test_what_cannot_be_done_is_said_with_what_can(visit: Visit) -> None:
    assert (
        "No fleet can draw that within"
        in visit.page("/plan?images=1000000&deadline_hours=0.01").text
    )
    text = visit.page("/plan?images=10000&deadline_hours=2&max_cost_usd=1").text
    assert "What $1.00 allows" in text
    assert "of the 10,000 images" in text
    assert "out of sight" in visit.page("/plan?images=9&deadline_hours=2&max_cost_usd=999").text


@pytest.mark.usefixtures("offers")
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("images=0&deadline_hours=1", "Images"),
        ("images=10000001&deadline_hours=1", "Images"),
        ("images=many&deadline_hours=1", "Images"),
        ("images=5", "by when"),
        ("deadline_hours=5", "how many images"),
        ("images=5&deadline_hours=nan", "Deadline hours"),
        ("images=5&deadline_hours=1&max_cost_usd=lots", "Max cost usd"),
        ("images=5&deadline_hours=1&width=63", "Width"),
        ("images=5&deadline_hours=1&squeeze=zebra", "zebra"),
        ("images=5&deadline_hours=1&model=%3Cscript%3E", "<script>"),
    ],
)
def test_what_is_wrong_is_told_beside_what_was_typed(visit: Visit, query: str, told: str) -> None:
    page = visit.page(f"/plan?{query}", 422)
    assert told in " ".join(page.all("p", class_="error")[0].text)
    assert page.all("input", name="images")


def test_an_empty_form_is_no_fault_and_an_unknown_field_is_one(visit: Visit) -> None:
    assert not visit.page("/plan").all("p", class_="error")
    visit.page("/plan?fleet=1", 422)


def test_plans_need_the_scope_to_read(api: ApiServer) -> None:
    with visiting(api, api.new_key("studio", Scope.SUBMIT)) as visit:
        visit.get("/plan", 403)
