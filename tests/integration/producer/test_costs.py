"""A bill is the books, line by line, and adds up to the nano-dollar."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from producer.costs import Bill, job_costs, make_bill
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import LedgerKind
from shared.storage.folder import FolderStore
from support.drawing import Drawer
from support.factories import START, TIMES, add_batch, add_price, ledger_of

COST_OF_A_SECOND = 21_250


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=6).id


@pytest.fixture
def drawer(database: Database, tmp_path: Path) -> Drawer:
    return Drawer(database, FolderStore(tmp_path / "objects"), now=START)


def bill_of(database: Database, batch_id: UUID) -> Bill:
    with database.read() as session:
        return make_bill(session, session.get_one(Batch, batch_id))


def test_every_kind_of_spending_is_a_line_and_the_lines_are_the_books(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    drawer.draw(batch_id, 3)
    drawer.fail(drawer.claim(batch_id, 1)[0])
    drawer.load_model(batch_id, 1_234_567_890)
    bill = bill_of(database, batch_id)

    lines = {line.kind: line for line in bill.lines}
    assert lines[LedgerKind.RENDER].count == 3
    assert lines[LedgerKind.RENDER].nanodollars == 3 * COST_OF_A_SECOND
    assert lines[LedgerKind.FAILED_ATTEMPT].nanodollars == COST_OF_A_SECOND
    assert lines[LedgerKind.MODEL_LOAD].device_ns == 1_234_567_890
    with database.read() as session:
        booked = [entry.amount_nanodollars for entry in ledger_of(session, batch_id)]
    assert bill.total_nanodollars == sum(booked)
    assert bill.to_json()["total_usd"] == "0.000111235"


def test_a_job_costs_all_attempts_at_it_and_the_jobs_with_model_loads_are_the_bill(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    [held] = drawer.claim(batch_id, 1)
    drawer.fail(held, retry_after=drawer.now - drawer.now)
    drawer.draw(batch_id)
    drawer.load_model(batch_id, 987_654_321)
    with database.read() as session:
        jobs = list(job_costs(session, session.get_one(Batch, batch_id)))
    bill = bill_of(database, batch_id)

    assert [job.position for job in jobs] == list(range(6))
    assert [job.nanodollars for job in jobs] == [2 * COST_OF_A_SECOND] + [COST_OF_A_SECOND] * 5
    loads = next(line for line in bill.lines if line.kind is LedgerKind.MODEL_LOAD)
    assert sum(job.nanodollars for job in jobs) + loads.nanodollars == bill.total_nanodollars
    assert bill.images is not None
    assert bill.images.count == 6
    assert (bill.images.least, bill.images.most) == (COST_OF_A_SECOND, COST_OF_A_SECOND)
    assert bill.images.mean == (2 * bill.total_nanodollars + 6) // 12


def test_costs_too_small_to_see_still_add_up(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    for held in drawer.claim(batch_id):
        drawer.finish(held, times=replace(TIMES, denoise_ns=held.job.position * 7_001))
    bill = bill_of(database, batch_id)

    with database.read() as session:
        amounts = [entry.amount_nanodollars for entry in ledger_of(session, batch_id)]
    assert bill.total_nanodollars == sum(amounts) > 0


def test_an_example_price_is_called_one_until_a_real_one_is_set(
    database: Database, batch_id: UUID, drawer: Drawer
) -> None:
    drawer.draw(batch_id, 1)
    [example] = bill_of(database, batch_id).prices
    with database.write() as session:
        add_price(session, nanodollars_per_hour=50_000_000, effective_from=drawer.now)
    drawer.draw(batch_id, 1)
    with database.write() as session:
        later = drawer.now + timedelta(seconds=1)
        add_price(session, nanodollars_per_hour=60_000_000, effective_from=later)
    first, second = bill_of(database, batch_id).prices

    assert example.is_example
    assert first == example
    assert (second.nanodollars_per_hour, second.is_example) == (50_000_000, False)
    assert (second.device_kind, second.sku, second.source) == ("cpu", "", "a test")


def test_a_batch_that_nobody_has_drawn_costs_nothing(database: Database, batch_id: UUID) -> None:
    bill = bill_of(database, batch_id)

    assert bill.total_nanodollars == 0
    assert bill.images is None
    assert [line.count for line in bill.lines] == [0, 0, 0]
