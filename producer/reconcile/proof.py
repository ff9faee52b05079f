"""The laws of the books, each checked against what it is made from.

Attempts are measured by workers, prices are set by people, workers' times are kept by their
signs of life, and sums are kept as entries are appended: the books have to agree with all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from producer.reconcile.findings import Finding, Proof
from producer.reconcile.price_lookup import PriceLookup
from shared.db.conditions import IS_LEASED
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.model_tables import ModelLoad
from shared.db.settlement import settle_worker
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import NOTHING, read_tallies
from shared.domain.jobs import AttemptOutcome, LedgerKind
from shared.domain.money import device_cost, nanoseconds, online_cost

ROWS_A_FETCH = 2_000
BATCHES_AT_ONCE = 500
OF_AN_ATTEMPT = (LedgerKind.RENDER, LedgerKind.FAILED_ATTEMPT, LedgerKind.DUPLICATE)
AMOUNT = LedgerEntry.amount_nanodollars

_DROPPED = select(Batch.id).where(Batch.details_dropped_at.is_not(None))
"""Batches whose attempts were removed, or are being removed: their lines are carried forward."""

OnProgress = Callable[[int, int], None]
"""Is told how many attempts were checked, and of how many."""


def complete_the_books(database: Database) -> None:
    """Book the idle time of every worker that has nothing in hand, up to now."""
    with database.read() as session:
        workers = session.scalars(select(Worker.id).order_by(Worker.id)).all()
    for worker_id in workers:
        with database.write() as session:
            settle_worker(session, worker_id, database.now(session))


def prove(session: Session, on_progress: OnProgress | None = None) -> Proof:
    """Check every law; reads all of the books once.

    Raises:
        MissingPriceError: a worker's device has no price: nothing can be proved then.
    """
    prices = PriceLookup(session)
    workers = {worker.id: worker for worker in session.scalars(select(Worker))}
    at_work = set(session.scalars(select(Job.worker_id).where(IS_LEASED).distinct()))
    attempts, served = _check_attempts(session, prices, workers, on_progress)
    time = _Time(session, prices, workers)
    no_device = select(func.sum(AMOUNT)).where(LedgerEntry.worker_id.is_(None))
    return Proof(
        findings=[
            attempts,
            _check_loads(session, prices, [workers[one] for one in served | _served_once(session)]),
            time.finding,
            *_check_sums(session),
        ],
        entries_nanodollars=_amount(session, select(func.sum(AMOUNT))),
        online_nanodollars=time.online,
        in_hand_nanodollars=time.in_hand,
        store_nanodollars=_amount(session, no_device),
        workers=len(workers),
        at_work=len(at_work),
    )


def _amount(session: Session, query: Select[Any]) -> int:
    return int(session.scalar(query) or 0)


def _check_attempts(
    session: Session,
    prices: PriceLookup,
    workers: Mapping[UUID, Worker],
    on_progress: OnProgress | None,
) -> tuple[Finding, set[UUID]]:
    """Check the attempts; returns also the workers that made any."""
    served: set[UUID] = set()
    finding = Finding(
        "attempts",
        "every attempt that took device time is booked once, at the price in force when it began",
    )
    total = session.scalar(select(func.count()).select_from(Attempt)) or 0
    options = {"yield_per": ROWS_A_FETCH}
    with session.execute(_attempts_and_entries(), execution_options=options) as rows:
        for row in rows:
            served.add(row.worker_id)
            _check_attempt(finding, row, prices, workers[row.worker_id])
            if on_progress is not None:
                on_progress(finding.compared, total)
    return finding, served


def _check_attempt(finding: Finding, row: Row[Any], prices: PriceLookup, worker: Worker) -> None:
    what, booked = f"attempt {row.id}", int(row.booked or 0)
    due = 0
    if row.device_ns is not None:
        rate = prices.at(worker.device_kind, worker.device_sku, row.priced_at)
        due = device_cost(row.device_ns, rate)
    finding.compare(what, booked, due)
    booked_ns = int(row.booked_ns or 0)
    is_booked = row.booked_ns is not None
    if (
        is_booked != (row.cost_nanodollars is not None)
        or booked_ns != (row.device_ns or 0)
        or (row.renders or 0) != (row.outcome == AttemptOutcome.DONE)
    ):
        finding.differ(what, booked, due)


def _attempts_and_entries() -> Select[Any]:
    is_render = LedgerEntry.kind == LedgerKind.RENDER
    own = LedgerEntry.kind.in_(OF_AN_ATTEMPT)
    entries = (
        select(
            LedgerEntry.attempt_id,
            func.sum(AMOUNT).label("booked"),
            func.sum(LedgerEntry.device_ns).filter(own).label("booked_ns"),
            func.count().filter(is_render).label("renders"),
            func.min(LedgerEntry.priced_at).filter(own).label("priced_at"),
        )
        .where(LedgerEntry.attempt_id.is_not(None))
        .group_by(LedgerEntry.attempt_id)
        .subquery()
    )
    return (
        select(
            Attempt.id,
            Attempt.worker_id,
            Attempt.outcome,
            Attempt.cost_nanodollars,
            Attempt.device_ns,
            entries.c.booked,
            entries.c.booked_ns,
            entries.c.renders,
            func.coalesce(entries.c.priced_at, Attempt.claimed_at).label("priced_at"),
        )
        .outerjoin(entries, entries.c.attempt_id == Attempt.id)
        .where(Attempt.batch_id.not_in(_DROPPED))
    )


def _served_once(session: Session) -> set[UUID]:
    """Return the workers that began with a batch whose attempts were removed.

    Its line in the books alone tells that they were given jobs.
    """
    loads = select(LedgerEntry.worker_id).where(
        LedgerEntry.kind == LedgerKind.MODEL_LOAD, LedgerEntry.batch_id.in_(_DROPPED)
    )
    return {worker_id for worker_id in session.scalars(loads) if worker_id is not None}


def _check_loads(session: Session, prices: PriceLookup, served: Iterable[Worker]) -> Finding:
    finding = Finding(
        "model loads", "a worker that was given jobs has each of its loads booked once"
    )
    entries = (
        select(LedgerEntry.worker_id, func.sum(AMOUNT))
        .where(_is_about_a_load())
        .group_by(LedgerEntry.worker_id)
    )
    booked = {worker_id: int(amount) for worker_id, amount in session.execute(entries)}
    later: dict[UUID, list[tuple[int, datetime]]] = {}
    for load in session.scalars(select(ModelLoad)):
        later.setdefault(load.worker_id, []).append((load.load_ns, load.loaded_at))
    for worker in served:
        due = sum(
            device_cost(load_ns, prices.at(worker.device_kind, worker.device_sku, at))
            for load_ns, at in [(worker.load_ns, worker.online_at), *later.get(worker.id, ())]
        )
        finding.compare(f"the loading of worker {worker.id}", booked.pop(worker.id, 0), due)
    for worker_id, amount in booked.items():
        finding.compare(f"the loading of worker {worker_id}, which drew nothing", amount, 0)
    return finding


def _is_about_a_load() -> Any:
    is_correction = and_(
        LedgerEntry.kind == LedgerKind.CORRECTION,
        LedgerEntry.batch_id.is_not(None),
        LedgerEntry.attempt_id.is_(None),
        LedgerEntry.worker_id.is_not(None),
    )
    return or_(LedgerEntry.kind == LedgerKind.MODEL_LOAD, is_correction)


class _Time:
    """Compares what is booked of each worker with the time that it held its device."""

    def __init__(
        self,
        session: Session,
        prices: PriceLookup,
        workers: Mapping[UUID, Worker],
    ) -> None:
        self.finding = Finding(
            "time online",
            "the entries of a worker add up to its time online at the prices in force",
        )
        self.online = 0
        self.in_hand = 0
        booked = {
            worker_id: (int(amount), int(device_ns))
            for worker_id, amount, device_ns in session.execute(_by_worker(settled_only=False))
        }
        settled = {
            worker_id: (int(amount), int(device_ns))
            for worker_id, amount, device_ns in session.execute(_by_worker(settled_only=True))
        }
        for worker in workers.values():
            whole, proved = (sums.get(worker.id, (0, 0)) for sums in (booked, settled))
            self._compare(worker, prices, *proved)
            self.in_hand += whole[0] - proved[0]

    def _compare(self, worker: Worker, prices: PriceLookup, booked: int, device_ns: int) -> None:
        due = due_ns = 0
        if worker.settled_until is not None:
            steps = prices.steps(worker.device_kind, worker.device_sku)
            due = online_cost(worker.online_at, worker.settled_until, steps)
            due_ns = nanoseconds(worker.settled_until - worker.online_at)
        self.online += due
        what = f"worker {worker.id} until {worker.settled_until}"
        self.finding.compare(what, booked, due)
        if device_ns != due_ns and booked == due:
            self.finding.differ(f"{what}: {device_ns:,} ns booked of {due_ns:,}", booked, due)


def _by_worker(*, settled_only: bool) -> Select[Any, Any, Any]:
    """Sum the entries of each worker: all, or those that were booked when it was settled last."""
    sums: Select[Any, Any, Any] = (
        select(LedgerEntry.worker_id, func.sum(AMOUNT), func.sum(LedgerEntry.device_ns))
        .where(LedgerEntry.worker_id.is_not(None))
        .group_by(LedgerEntry.worker_id)
    )
    if not settled_only:
        return sums
    return sums.join(Worker, Worker.id == LedgerEntry.worker_id).where(
        LedgerEntry.created_at <= Worker.settled_at
    )


def _check_sums(session: Session) -> tuple[Finding, Finding]:
    sums = Finding("sums", "what reports are made of is the sum of the entries")
    key = (LedgerEntry.batch_id, LedgerEntry.worker_id, LedgerEntry.kind)
    booked = {
        (batch_id, worker_id, kind): int(amount)
        for batch_id, worker_id, kind, amount in session.execute(
            select(*key, func.sum(AMOUNT)).group_by(*key)
        )
    }
    kept: dict[tuple[UUID | None, UUID | None, str], int] = dict.fromkeys(booked, 0)
    for row in read_costs(session):
        place = (row.batch_id, row.worker_id, row.kind.value)
        kept[place] = kept.get(place, 0) + row.booked.nanodollars
    for place, amount in kept.items():
        sums.compare(f"{place[2]} of batch {place[0]}", amount, booked.get(place, 0))

    batches = Finding("batches", "what a batch has cost is the sum of its entries")
    by_batch: Counter[UUID | None] = Counter()
    for place, amount in booked.items():
        by_batch[place[0]] += amount
    ids = session.scalars(select(Batch.id)).all()
    for start in range(0, len(ids), BATCHES_AT_ONCE):
        some = ids[start : start + BATCHES_AT_ONCE]
        tallies = read_tallies(session, some)
        for batch_id in some:
            tally = tallies.get(batch_id, NOTHING)
            batches.compare(f"batch {batch_id}", tally.nanodollars, by_batch[batch_id])
    return sums, batches
