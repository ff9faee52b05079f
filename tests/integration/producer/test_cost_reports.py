"""Reports of costs add up to what is booked, whatever they are grouped by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.orm import Session

from producer.costs import CostReport, cost_report, make_bill
from producer.costs.amounts import Amounts
from producer.costs_by import CostsBy
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import CostSum, LedgerEntry
from shared.db.engine import Database
from shared.db.ledger import Entry, append
from shared.db.prices import MissingPriceError
from shared.db.tables import Batch, Tally, Worker
from shared.db.tallies import fold_tallies
from shared.domain.identifiers import new_id
from shared.domain.jobs import LedgerKind
from support.factories import START, add_batch, add_price, add_worker

DAY = timedelta(days=1)
TODAY = START.date()
REPORTS = [by for by in CostsBy if by is not CostsBy.JOB]
WITHOUT_DEVICE = {LedgerKind.STORAGE, LedgerKind.REQUESTS}


def book(
    session: Session,
    kind: LedgerKind,
    nanodollars: int,
    *,
    batch: Batch | None = None,
    worker: Worker | None = None,
    device_ns: int = 0,
    at: datetime = START,
    job_id: UUID | None = None,
) -> None:
    entry = Entry(
        event_id=str(new_id()),
        kind=kind,
        amount_nanodollars=nanodollars,
        priced_at=at,
        booked_at=at,
        batch_id=batch.id if batch else None,
        job_id=job_id,
        worker_id=worker.id if worker else None,
        device_ns=device_ns,
    )
    append(session, entry)


def report_of(database: Database, by: CostsBy, **scope: Any) -> CostReport:
    with database.read() as session:
        return cost_report(session, by=by, **scope)


def by_first(report: CostReport) -> dict[Any, Amounts]:
    """Tell the groups by the first of their columns."""
    return {key[0]: amounts for key, amounts in report.groups}


@dataclass
class Story:
    """Two batches that share a worker for a day; the other worker serves nobody."""

    database: Database
    large: UUID
    small: UUID
    worker: UUID
    bored: UUID

    def batch(self, which: UUID) -> Batch:
        with self.database.read() as session:
            return session.get_one(Batch, which)


@pytest.fixture
def story(database: Database) -> Story:
    with database.write() as session:
        add_price(session, device_kind="cuda", sku="big", nanodollars_per_hour=10**9)
        large, small = add_batch(session), add_batch(session)
        large.tags = {"campaign": "spring", "team": "blue"}
        small.tenant, small.model = "ada", "other"
        worker = add_worker(session)
        bored = add_worker(session, device_kind="cuda", sku="big")
        for each in (worker, bored):
            each.stopped_at = each.settled_until = START + 2 * DAY
        for _ in range(2):
            book(session, LedgerKind.RENDER, 100, batch=large, worker=worker, device_ns=1_000)
        book(session, LedgerKind.FAILED_ATTEMPT, 7, batch=large, worker=worker, device_ns=70)
        book(session, LedgerKind.DUPLICATE, 3, batch=large, worker=worker, device_ns=30)
        book(session, LedgerKind.MODEL_LOAD, 90, batch=large, worker=worker, device_ns=900)
        book(session, LedgerKind.CORRECTION, -10, batch=large, worker=worker)
        book(session, LedgerKind.STORAGE, 5, batch=large)
        book(session, LedgerKind.REQUESTS, 1, batch=large)
        book(session, LedgerKind.RENDER, 50, batch=small, worker=worker, device_ns=1_500)
        book(session, LedgerKind.IDLE, 1_001, worker=worker, device_ns=4_501)
        book(session, LedgerKind.IDLE, 40, worker=worker, device_ns=400, at=START + DAY)
        book(session, LedgerKind.IDLE, 600, worker=bored, device_ns=6_000)
        return Story(database, large.id, small.id, worker.id, bored.id)


def test_idle_time_is_shared_by_busy_time_and_not_a_nano_dollar_is_lost(story: Story) -> None:
    report = report_of(story.database, CostsBy.BATCH)
    groups = by_first(report)

    large, small = groups[str(story.large)], groups[str(story.small)]
    assert (large.busy, small.busy) == (290, 50)
    assert {large.idle, small.idle} == {667, 334}
    assert large.idle_ns + small.idle_ns == 4_501
    assert large.total == 290 + 5 + 1 + large.idle
    assert report.idle_for_nobody.total == 640
    assert report.total.total == 296 + 50 + 1_001 + 640


def test_what_served_nobody_belongs_to_its_worker_its_device_and_its_day(story: Story) -> None:
    workers = by_first(report_of(story.database, CostsBy.WORKER))
    devices = {key: each.total for key, each in report_of(story.database, CostsBy.DEVICE).groups}
    days = report_of(story.database, CostsBy.DAY)

    assert workers[str(story.bored)].total == 600
    assert workers[str(story.worker)].idle == 1_041
    assert workers[None].total == 6, "storage and requests need no worker"
    assert devices == {
        ("cpu", "", "a device"): 1_381,
        ("cuda", "big", "a device"): 600,
        (None, None, None): 6,
    }
    assert [key for key, _ in days.groups] == [(TODAY + DAY,), (TODAY,)]
    assert [each.total for _, each in days.groups] == [40, 1_947]
    assert not days.idle_for_nobody.booked


def test_of_one_batch_a_report_has_its_entries_and_its_share_of_idle_time(story: Story) -> None:
    everything = by_first(report_of(story.database, CostsBy.BATCH))[str(story.large)]
    batch = story.batch(story.large)

    for by in REPORTS:
        report = report_of(story.database, by, batch=batch)
        assert report.total == everything
        assert not report.idle_for_nobody.booked
    workers = by_first(report_of(story.database, CostsBy.WORKER, batch=batch))
    assert workers.keys() == {str(story.worker), None}
    with story.database.read() as session:
        bill = make_bill(session, session.get_one(Batch, story.large))
    assert bill.idle_nanodollars == everything.idle
    assert bill.fully_loaded_nanodollars == everything.total
    assert bill.total_nanodollars == 296
    assert [line.kind for line in bill.lines] == [
        kind for kind in LedgerKind if kind is not LedgerKind.IDLE
    ]


def test_waste_is_told_with_its_part_of_everything(story: Story) -> None:
    report = report_of(story.database, CostsBy.MODEL)

    assert [(each.kind, each.nanodollars) for each in report.waste] == [
        (LedgerKind.FAILED_ATTEMPT, 7),
        (LedgerKind.DUPLICATE, 3),
        (LedgerKind.IDLE, 1_641),
    ]
    assert report.waste[2].per_cent == round(100 * 1_641 / 1_987, 2)


def test_a_batch_counts_in_the_group_of_each_of_its_tags(story: Story) -> None:
    report = report_of(story.database, CostsBy.TAG)
    groups = by_first(report)

    assert groups.keys() == {"campaign=spring", "team=blue", None}
    assert groups["campaign=spring"] == groups["team=blue"]
    assert report.groups_overlap
    assert not report_of(story.database, CostsBy.MODEL).groups_overlap
    assert report.total == report_of(story.database, CostsBy.MODEL).total
    assert not report_of(story.database, CostsBy.TAG, tenant="ada").groups_overlap


def test_costs_of_an_image_are_told_busy_and_fully_loaded(story: Story) -> None:
    models = by_first(report_of(story.database, CostsBy.MODEL))

    assert models["tiny"].images == 2
    assert models["tiny"].busy_per_image == 145
    assert models["tiny"].total_per_image == (models["tiny"].total + 1) // 2
    assert models["other"].busy_per_image == 50
    days = by_first(report_of(story.database, CostsBy.DAY))
    assert days[TODAY + DAY].busy_per_image is None


@pytest.mark.parametrize(
    ("scope", "images"),
    [
        ({"tenant": "ada"}, 1),
        ({"tenant": "nobody"}, 0),
        ({"tag": ("campaign", "spring")}, 2),
        ({"tag": ("campaign", "autumn")}, 0),
        ({"tag": ("team", "blue"), "tenant": "ada"}, 0),
        ({"since": TODAY + DAY}, 0),
        ({"until": TODAY}, 3),
        ({"until": TODAY - DAY}, 0),
    ],
)
def test_a_filter_leaves_out_what_it_does_not_name(
    story: Story, scope: dict[str, Any], images: int
) -> None:
    report = report_of(story.database, CostsBy.DAY, **scope)

    assert report.total.images == images
    assert sum(each.total for _, _, each in report.lines()) == report.total.total


def test_groups_that_are_not_shown_are_one_line(story: Story) -> None:
    whole = report_of(story.database, CostsBy.WORKER)
    report = whole.first(1)

    assert len(report.groups) == 1
    assert report.others is not None
    assert report.others.groups == 2
    assert sum(each.total for _, _, each in report.lines()) == report.total.total
    assert whole.first(3) == whole


def test_nothing_changes_when_tallies_are_folded(story: Story) -> None:
    before = [report_of(story.database, by) for by in REPORTS]
    with story.database.write() as session:
        assert fold_tallies(session)

    assert [report_of(story.database, by) for by in REPORTS] == before


# Prices


def test_a_device_without_a_price_is_an_error_and_not_free(story: Story) -> None:
    with story.database.write() as session:
        add_worker(session, device_kind="cuda", sku="new")

    for by in REPORTS:
        with pytest.raises(MissingPriceError, match="SKU 'new'"):
            report_of(story.database, by)
    before = report_of(story.database, CostsBy.DAY, until=TODAY - DAY)
    assert before.total.total == 0, "it was not online by then"
    assert report_of(story.database, CostsBy.DAY, batch=story.batch(story.large)).total.total


def test_a_price_that_came_after_a_worker_is_none_for_it(story: Story) -> None:
    with story.database.write() as session:
        late = add_worker(session, device_kind="cuda", sku="new")
        add_price(session, device_kind="cuda", sku="new", effective_from=START + DAY)
        book(
            session,
            LedgerKind.RENDER,
            100,
            batch=session.get_one(Batch, story.small),
            worker=late,
            device_ns=1_000,
        )

    small = story.batch(story.small)
    with pytest.raises(MissingPriceError):
        report_of(story.database, CostsBy.MODEL, batch=small)
    with pytest.raises(MissingPriceError), story.database.read() as session:
        make_bill(session, small)


# What is not in the books yet


def test_idle_time_of_workers_at_work_is_told_to_be_missing(story: Story) -> None:
    assert report_of(story.database, CostsBy.DAY).settled.until is None
    with story.database.write() as session:
        for minutes in (10, 20):
            worker = add_worker(session)
            worker.settled_until = START + timedelta(minutes=minutes)
            worker.heartbeat_at = START + timedelta(minutes=minutes + 5)
        ended = add_worker(session, started_at=START + timedelta(minutes=15))
        ended.stopped_at = START + timedelta(minutes=16)

    settled = report_of(story.database, CostsBy.DAY).settled
    assert settled == (START + timedelta(minutes=10), 2, 1)
    batch = story.batch(story.large)
    assert report_of(story.database, CostsBy.DAY, batch=batch).settled.until is None
    earlier = report_of(story.database, CostsBy.DAY, until=TODAY - DAY)
    assert earlier.settled == (None, 0, 0)


# Corrections


def test_a_correction_of_idle_time_is_idle_time(story: Story) -> None:
    with story.database.write() as session:
        worker = session.get_one(Worker, story.worker)
        book(session, LedgerKind.CORRECTION, -501, worker=worker)
    report = report_of(story.database, CostsBy.BATCH)

    groups = by_first(report)
    assert groups[str(story.large)].idle + groups[str(story.small)].idle == 500
    assert report.total.of(LedgerKind.CORRECTION).nanodollars == -10


# The bill's quote and budget


@pytest.mark.parametrize(
    ("quote", "due", "difference"),
    [
        ({"nanodollars_expected": 1_000, "images": 10}, 200, 45.0),
        ({"nanodollars_expected": 290, "images": 2, "nanodollars_low": 1}, 290, 0.0),
        ({"nanodollars_expected": 1_000}, None, None),
        ({"images": 10, "nanodollars_expected": "much"}, None, None),
    ],
)
def test_a_quote_is_compared_with_the_images_that_are_done(
    story: Story, quote: dict[str, Any], due: int | None, difference: float | None
) -> None:
    with story.database.write() as session:
        batch = session.get_one(Batch, story.large)
        batch.quote, batch.max_nanodollars = quote, 592
    with story.database.read() as session:
        bill = make_bill(session, session.get_one(Batch, story.large))

    assert bill.quote is not None
    assert bill.quote.expected_for_done == due
    assert bill.quote.difference_per_cent == difference
    assert bill.quote.actual == 290
    assert bill.to_json()["max_nanodollars"] == 592


# Whatever is booked

AMOUNTS = st.integers(-(10**6), 10**6)
TIMES = st.integers(0, 10**12)
BATCHES = WORKERS = 3
DAYS = 2

BOOKED = st.tuples(
    st.sampled_from([kind for kind in LedgerKind if kind is not LedgerKind.IDLE]),
    st.integers(0, BATCHES - 1),
    st.integers(0, WORKERS - 1),
    st.integers(0, DAYS),
    AMOUNTS,
    TIMES,
)
IDLE = st.tuples(st.integers(0, WORKERS - 1), st.integers(0, DAYS), AMOUNTS, TIMES)


@pytest.fixture
def cast(database: Database) -> tuple[Database, list[UUID], list[UUID]]:
    with database.write() as session:
        batches = [add_batch(session, jobs=1) for _ in range(BATCHES)]
        batches[0].tenant, batches[1].model = "ada", "other"
        batches[1].tags = {"campaign": "spring"}
        workers = [add_worker(session) for _ in range(WORKERS)]
        return database, [batch.id for batch in batches], [worker.id for worker in workers]


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BOOKED, max_size=12), st.lists(IDLE, max_size=6), st.integers(0, DAYS))
def test_whatever_is_booked_every_report_adds_up_to_it(
    cast: tuple[Database, list[UUID], list[UUID]],
    booked: list[tuple[LedgerKind, int, int, int, int, int]],
    idle: list[tuple[int, int, int, int]],
    first_day: int,
) -> None:
    database, batch_ids, worker_ids = cast
    since: date = TODAY + first_day * DAY
    with database.write() as session:
        for table in (LedgerEntry, Tally, CostSum):
            session.execute(delete(table))
        batches = [session.get_one(Batch, batch_id) for batch_id in batch_ids]
        workers = [session.get_one(Worker, worker_id) for worker_id in worker_ids]
        for kind, batch, worker, day, nanodollars, device_ns in booked:
            is_on_device = kind not in WITHOUT_DEVICE
            book(
                session,
                kind,
                nanodollars,
                batch=batches[batch],
                worker=workers[worker] if is_on_device else None,
                device_ns=device_ns if is_on_device else 0,
                at=START + day * DAY,
            )
        for worker, day, nanodollars, device_ns in idle:
            who, at = workers[worker], START + day * DAY
            book(session, LedgerKind.IDLE, nanodollars, worker=who, device_ns=device_ns, at=at)

    scopes: tuple[dict[str, Any], ...] = ({}, {"since": since}, {"until": since})
    for scope in scopes:
        with database.read() as session:
            sums = [row.booked for row in read_costs(session, **scope)]
            reports = [cost_report(session, by=by, **scope) for by in REPORTS]
            of_batches = [
                cost_report(
                    session, by=CostsBy.WORKER, batch=session.get_one(Batch, batch_id), **scope
                )
                for batch_id in batch_ids
            ]
        due = sum(each.nanodollars for each in sums)
        for report in reports:
            assert report.total.total == due
            assert report.total.device_ns + report.total.idle_ns == sum(
                each.device_ns for each in sums
            )
        for report in (*reports, *of_batches):
            assert sum(each.total for _, _, each in report.lines()) == report.total.total
        nobodys = next(report.idle_for_nobody for report in reports if report.by is CostsBy.BATCH)
        assert sum(report.total.total for report in of_batches) == due - nobodys.total
