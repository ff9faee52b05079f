"""The page of costs: the API's reports, for whoever may see them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from shared.db.fleet import mark_stopped
from shared.domain.access import Scope
from shared.storage.folder import FolderStore
from support.api import ApiServer
from support.drawing import Drawer
from support.factories import START, add_batch, add_price, add_worker
from support.visits import Visit, visiting

OWNER, OTHER = "studio", "atelier"
NAME = "<script>zebras</script>"
DAY = START.date()


@pytest.fixture(scope="module")
def batches(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """A batch of each of two tenants, drawn on two days."""
    folder: Path = tmp_path_factory.mktemp("images")
    with api.database.write() as session:
        add_price(session)
    drawer = Drawer(api.database, FolderStore(folder), now=START)
    found = {}
    for number, tenant in enumerate((OWNER, OTHER)):
        drawer.now = START + timedelta(days=2 * number, hours=1)
        with api.database.write() as session:
            batch = add_batch(session, jobs=4, created_at=drawer.now)
            batch.name, batch.tenant = f"{NAME} {tenant}", tenant
            found[tenant] = str(batch.id)
        drawer.draw(UUID(found[tenant]), 4)
    with api.database.write() as session:
        mark_stopped(session, drawer.worker_id, drawer.now + timedelta(hours=2))
    return found


@pytest.fixture
def admin(api: ApiServer, batches: Mapping[str, str]) -> Iterator[Visit]:
    del batches
    with visiting(api, api.new_key("operator", Scope.ADMIN)) as visit:
        yield visit


@pytest.fixture
def owner(api: ApiServer, batches: Mapping[str, str]) -> Iterator[Visit]:
    del batches
    with visiting(api, api.new_key(OWNER)) as visit:
        yield visit


def test_days_are_columns_without_gaps_and_lines_with_exact_amounts(admin: Visit) -> None:
    page = admin.page("/costs")
    days = [str(DAY + timedelta(days=number)) for number in range(3)]
    titles = ["".join(one.text).split(":")[0] for one in page.all("title")[-3:]]
    assert titles == days
    total = admin.get("/costs/report.json").json()["total_usd"]
    assert page.text.count(f"${total}") >= 2
    assert days[1] not in [" ".join(one.text) for one in page.all("th", scope="row")]


@pytest.mark.parametrize("by", ["day", "model", "device", "worker", "tenant", "batch", "tag"])
def test_every_grouping_adds_up_to_the_total(admin: Visit, by: str) -> None:
    page = admin.page(f"/costs?by={by}")
    assert f"By {by}" in page.text
    report = admin.get(f"/costs/report.json?by={by}").json()
    rows = list(csv.DictReader(io.StringIO(admin.get(f"/costs/report.csv?by={by}").text)))
    assert sum(int(row["fully_loaded_nanodollars"]) for row in rows) == report["total_nanodollars"]
    assert report["total_nanodollars"] > 0
    # Days and workers are read without batches, the others with each batch's share of idle time.
    assert report["total"] == admin.get("/costs/report.json?by=batch").json()["total"]


def test_a_tenant_sees_its_own_costs_whatever_it_asks_for(
    owner: Visit, batches: Mapping[str, str]
) -> None:
    for query in ("by=batch", f"by=batch&tenant={OTHER}", "by=tenant", "by=day"):
        for path in ("/costs", "/costs/report.json", "/costs/report.csv"):
            assert OTHER not in owner.get(f"{path}?{query}").text.replace(f"tenant={OTHER}", "")
    assert not owner.page("/costs").all("input", name="tenant")
    owner.get(f"/costs?batch_id={batches[OTHER]}", 404)
    owner.get(f"/costs/report.csv?batch_id={batches[OTHER]}", 404)


def test_an_administrator_may_choose_a_tenant_and_a_batch(
    admin: Visit, batches: Mapping[str, str]
) -> None:
    text = admin.page(f"/costs?by=batch&tenant={OTHER}").text
    assert f"{NAME} {OTHER}" in text
    assert f"{NAME} {OWNER}" not in text
    page = admin.page(f"/costs?by=batch&batch_id={batches[OWNER]}")
    assert page.all("a", href=f"/batches/{batches[OWNER]}")
    assert f"{NAME} {OTHER}" not in page.text


def test_groups_beyond_the_limit_are_one_line(admin: Visit) -> None:
    assert "1 other " in admin.page("/costs?by=batch&limit=1").text


def test_days_are_chosen_and_wrong_ones_are_explained(admin: Visit) -> None:
    report = admin.get(f"/costs/report.json?since=&until={DAY}&tag=&tenant=").json()
    assert [group["day"] for group in report["groups"]] == [str(DAY)]
    assert "Nothing was spent" in admin.page("/costs?since=2031-01-01").text
    assert "is after until" in admin.page("/costs?since=2030-02-02&until=2030-02-01").text
    assert "KEY=VALUE" in admin.page("/costs?tag=spring").text
    admin.page("/costs?by=job", 422)


def test_costs_need_the_scope_to_read(api: ApiServer) -> None:
    with visiting(api, api.new_key(OWNER, Scope.SUBMIT)) as visit:
        for path in ("/costs", "/costs/report.json", "/costs/report.csv"):
            visit.get(path, 403)


def test_what_has_no_price_is_explained(api: ApiServer, admin: Visit) -> None:
    with api.database.write() as session:
        add_worker(session, device_kind="unpriced")
    text = admin.page("/costs?by=worker&since=2020-01-01").text  # nobody has asked so before
    assert "No price is set for device kind 'unpriced'" in text
    assert "tenstep prices set" in text
