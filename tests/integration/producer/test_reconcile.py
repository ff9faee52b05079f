"""The books are proved from inside, and whatever is wrong with them is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from producer.costs import job_costs, make_bill
from producer.reconcile.bill import BillKey, compare_bill, read_bill
from producer.reconcile.proof import prove
from shared.db.claims import claim_chunk
from shared.db.corrections import correct
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import CostSum, LedgerEntry, Price, StoreRate
from shared.db.engine import Database
from shared.db.leases import renew_leases
from shared.db.price_spans import PriceSpan
from shared.db.prices import MissingPriceError
from shared.db.settlement import settle_worker
from shared.db.storage_costs import book_storage
from shared.db.tables import Attempt, Batch, Worker
from shared.db.tallies import fold_tallies, read_tally
from shared.domain.jobs import JobState, LedgerKind
from shared.domain.money import device_cost
from shared.errors import InputError
from support.booked import CPU, CUDA, NEW_CUDA, SECOND, Run
from support.factories import (
    IMAGE,
    LEASE,
    START,
    TIMES,
    add_price,
    dispatch,
)


@pytest.fixture
def run(database: Database) -> Run:
    """A run that has come to its end."""
    run = Run(database)
    run.draw(run.cpu, 3, fails=1)
    run.draw(run.cuda, 4)
    run.now += 90 * SECOND
    with database.write() as session:
        add_price(
            session,
            device_kind="cuda",
            sku="g5",
            nanodollars_per_hour=NEW_CUDA,
            effective_from=run.now,
        )
    run.draw(run.cuda, 2)
    run.draw(run.cpu, 3, lives=False)
    run.stop(run.cuda)
    return run


def test_the_entries_of_a_run_are_the_time_online_at_its_prices(run: Run) -> None:
    with run.database.snapshot() as session:
        proof = prove(session)
        workers = {worker.id: worker for worker in session.scalars(select(Worker))}
        prices = list(session.scalars(select(Price).where(Price.sku == "g5")))
        booked = sum(row.booked.nanodollars for row in read_costs(session))

    cpu, cuda = workers[run.cpu], workers[run.cuda]
    assert cpu.stopped_at is not None
    assert cuda.stopped_at is not None
    [change] = [price.effective_from for price in prices if price.effective_from > START]
    nanoseconds = timedelta(microseconds=1)
    due = (
        device_cost((cpu.stopped_at - START) // nanoseconds * 1000, CPU)
        + device_cost((change - START) // nanoseconds * 1000, CUDA)
        + device_cost((cuda.stopped_at - change) // nanoseconds * 1000, NEW_CUDA)
    )
    assert proof.holds
    assert proof.entries_nanodollars == proof.online_nanodollars == booked == due
    assert proof.in_hand_nanodollars == 0


def test_each_attempt_is_billed_at_its_own_price(run: Run) -> None:
    with run.database.read() as session:
        entries = session.scalars(
            select(LedgerEntry)
            .where(LedgerEntry.worker_id == run.cuda, LedgerEntry.kind == LedgerKind.RENDER)
            .order_by(LedgerEntry.created_at)
        ).all()

    assert [entry.nanodollars_per_hour for entry in entries] == 4 * [CUDA] + 2 * [NEW_CUDA]
    assert [entry.amount_nanodollars for entry in entries] == [
        device_cost(TIMES.device_ns, rate) for rate in 4 * [CUDA] + 2 * [NEW_CUDA]
    ]


def test_a_fleet_at_work_is_proved_up_to_when_it_was_settled(database: Database) -> None:
    run = Run(database)
    run.draw(run.cpu, 2)
    run.now += timedelta(minutes=11)
    with database.write() as session:
        renew_leases(session, {run.cpu: []}, run.now, LEASE)
    run.draw(run.cpu, 2)
    with database.write() as session:
        chunk_id = dispatch(session, run.batch_id, jobs=2, now=run.now)
        claim_chunk(session, chunk_id, run.cpu, run.now + SECOND, LEASE)

    with database.snapshot() as session:
        proof = prove(session)
    assert proof.holds
    assert proof.at_work == 1
    assert proof.in_hand_nanodollars == 2 * device_cost(TIMES.device_ns, CPU)
    assert proof.online_nanodollars > device_cost(660 * 10**9, CPU)


def test_a_sign_of_life_may_come_between_the_clock_and_the_lock(database: Database) -> None:
    run = Run(database)
    run.draw(run.cpu, 2)
    clock_was_read_at = run.now
    run.now += SECOND
    with database.write() as session:
        renew_leases(session, {run.cpu: []}, run.now, LEASE)
    with database.write() as session:
        settle_worker(session, run.cpu, clock_was_read_at)

    with database.snapshot() as session:
        proof = prove(session)
    assert proof.holds, proof.to_json()
    assert proof.in_hand_nanodollars == 0


def test_a_price_of_the_past_is_corrected_in_every_account(run: Run) -> None:
    begin = START + SECOND
    with run.database.write() as session:
        g5 = Price.sku == "g5"
        end = session.scalar(select(Price.effective_from).where(g5, Price.effective_from > START))
        before = read_tally(session, run.batch_id).nanodollars
        price = add_price(
            session,
            device_kind="cuda",
            sku="g5",
            nanodollars_per_hour=5 * CUDA,
            effective_from=begin,
        )
        correct(session, price, PriceSpan("cuda", "g5", begin, end))

    with run.database.snapshot() as session:
        proof = prove(session)
        batch = session.get_one(Batch, run.batch_id)
        bill = make_bill(session, batch)
        of_jobs = sum(job.nanodollars for job in job_costs(session, batch))
    assert proof.holds
    assert bill.total_nanodollars > before
    loads = [line.nanodollars for line in bill.lines if line.kind is LedgerKind.MODEL_LOAD]
    assert bill.total_nanodollars == of_jobs + sum(loads)


def lose_a_render(session: Session) -> None:
    one = select(LedgerEntry.id).where(LedgerEntry.kind == LedgerKind.RENDER).limit(1)
    session.execute(delete(LedgerEntry).where(LedgerEntry.id == session.scalar(one)))


def lose_idle_time(session: Session) -> None:
    session.execute(delete(LedgerEntry).where(LedgerEntry.kind == LedgerKind.IDLE))


def lose_a_load(session: Session) -> None:
    session.execute(delete(LedgerEntry).where(LedgerEntry.kind == LedgerKind.MODEL_LOAD))


def add_a_nanodollar(session: Session) -> None:
    one = session.scalar(
        select(LedgerEntry.id).where(LedgerEntry.kind == LedgerKind.RENDER).limit(1)
    )
    session.execute(
        update(LedgerEntry)
        .where(LedgerEntry.id == one)
        .values(amount_nanodollars=LedgerEntry.amount_nanodollars + 1)
    )


def book_twice(session: Session) -> None:
    entry = session.scalars(
        select(LedgerEntry).where(LedgerEntry.kind == LedgerKind.FAILED_ATTEMPT).limit(1)
    ).one()
    values = {
        column.name: getattr(entry, column.name)
        for column in LedgerEntry.__table__.columns
        if column.name not in {"id", "event_id"}
    }
    session.add(LedgerEntry(event_id="once more", **values))


def forget_an_attempts_cost(session: Session) -> None:
    one = session.scalar(select(Attempt.id).where(Attempt.cost_nanodollars > 0).limit(1))
    session.execute(update(Attempt).where(Attempt.id == one).values(cost_nanodollars=None))


def change_a_price(session: Session) -> None:
    session.execute(
        update(Price)
        .where(Price.sku == "g5", Price.effective_from < START)
        .values(nanodollars_per_hour=CUDA - 10_000)
    )


def make_a_sum_wrong(session: Session) -> None:
    session.execute(
        update(CostSum)
        .where(CostSum.kind == LedgerKind.RENDER, CostSum.worker_id.is_not(None))
        .values(nanodollars=CostSum.nanodollars - 1)
    )


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (lose_a_render, "attempts"),
        (lose_idle_time, "time online"),
        (lose_a_load, "model loads"),
        (add_a_nanodollar, "attempts"),
        (book_twice, "attempts"),
        (forget_an_attempts_cost, "attempts"),
        (change_a_price, "attempts"),
        (make_a_sum_wrong, "sums"),
    ],
)
def test_a_nanodollar_that_is_missing_is_found(
    run: Run, harm: Callable[[Session], None], check: str
) -> None:
    with run.database.write() as session:
        fold_tallies(session)
    with run.database.write() as session:
        harm(session)

    with run.database.snapshot() as session:
        proof = prove(session)
    assert not proof.holds
    assert check in {finding.name for finding in proof.findings if finding.differences}


def test_a_device_without_a_price_is_an_error(run: Run) -> None:
    with run.database.write() as session:
        session.execute(delete(Price).where(Price.sku == "g5"))

    with run.database.snapshot() as session, pytest.raises(MissingPriceError, match="g5"):
        prove(session)


def test_settling_twice_books_nothing_twice(run: Run) -> None:
    with run.database.read() as session:
        before = len(session.scalars(select(LedgerEntry.id)).all())
    for _ in range(2):
        run.now += SECOND
        with run.database.write() as session:
            assert settle_worker(session, run.cpu, run.now)

    with run.database.read() as session:
        assert len(session.scalars(select(LedgerEntry.id)).all()) == before


def test_keeping_and_writing_images_is_booked_by_the_day_once(run: Run) -> None:
    with run.database.write() as session:
        session.add(
            StoreRate(
                nanodollars_per_gib_month=23_000_000,
                nanodollars_per_thousand_requests=5_000_000,
                effective_from=START - timedelta(days=9),
                source="a test",
            )
        )
    for _ in range(2):
        with run.database.write() as session:
            book_storage(session, START.date())

    with run.database.snapshot() as session:
        proof = prove(session)
        rows = {row.kind: row.booked for row in read_costs(session, batch_ids=[run.batch_id])}
        images = read_tally(session, run.batch_id).counts[JobState.DONE]
    assert rows[LedgerKind.REQUESTS].nanodollars == images * 5_000
    assert rows[LedgerKind.STORAGE].nanodollars == round(
        images * IMAGE.bytes * 23_000_000 / (31 * 2**30)
    )
    assert rows[LedgerKind.STORAGE].entries == 1
    assert proof.holds
    assert proof.store_nanodollars > 0


def test_a_bill_is_compared_by_day_and_device(run: Run, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    day = START.date()
    bill.write_text(
        f"day,device_kind,sku,usd,currency\n{day},cpu,,0.001,USD\n{day},cpu,,0.000234567,USD\n"
        f"{day},qaic,dl2q,1,USD\n",
        "utf-8",
    )

    billed = read_bill(bill)
    with run.database.read() as session:
        lines = {line.key: line for line in compare_bill(session, billed)}
    assert billed[BillKey(day, "cpu", "")] == 1_234_567
    cpu = lines[BillKey(day, "cpu", "")]
    assert cpu.difference_nanodollars == 1_234_567 - cpu.booked_nanodollars
    assert lines[BillKey(day, "qaic", "dl2q")].booked_nanodollars == 0
    assert lines[BillKey(day, "cuda", "g5")].billed_nanodollars == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("day,sku,usd\n", "column 'device_kind' is missing"),
        ("day,device_kind,usd,vat\n", "column 'vat' is not known"),
        ("", "column 'day' is missing"),
        ("day,device_kind,usd\n", "has no lines"),
        ("day,device_kind,usd\n24.11.2026,cpu,1\n", "bill.csv:2: day: '24.11.2026' is not a date"),
        ("day,device_kind,usd\n2026-11-24,cpu,-1\n", "bill.csv:2: usd: -1 is negative"),
        ("day,device_kind,usd\n2026-11-24,cpu,\n", "bill.csv:2: usd: '' is not a number"),
        ("day,device_kind,usd\n2026-11-24,,1\n", "bill.csv:2: device_kind: is missing"),
        ("day,device_kind,usd\n2026-11-24,cpu\n", "bill.csv:2: has not as many fields"),
        (
            "day,device_kind,usd,currency\n2026-11-24,cpu,1,EUR\n",
            "bill.csv:2: currency: 'EUR': the books are in US dollars",
        ),
    ],
)
def test_a_bill_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, text: str, reason: str
) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text(text, "utf-8")

    with pytest.raises(InputError) as refused:
        read_bill(bill)
    assert reason in str(refused.value)


def test_every_bad_line_of_a_bill_is_listed(tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    lines = ["2026-11-24,cpu,x"] * 30
    bill.write_text("\n".join(["day,device_kind,usd", *lines]), "utf-8")

    with pytest.raises(InputError) as refused:
        read_bill(bill)
    listed = str(refused.value).splitlines()
    assert len(listed) == 21
    assert listed[-1] == "and 10 more"
