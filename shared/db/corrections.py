"""Prices that are set after the fact: what they change is booked, and nothing is rewritten.

For every entry that was priced while the new price should have been in force, the difference
is appended as an entry of its own. It counts for the same day, and stands in the same balance
of its worker, as what it corrects: it has its time of booking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session

from shared.db.cost_tables import LedgerEntry, Price
from shared.db.ledger import LEDGER, Entry
from shared.db.price_spans import PriceSpan, is_entry_of, online_before_the_end
from shared.db.prices import price_steps
from shared.db.tables import Attempt, Worker
from shared.db.tallies import append_tallies, note_cost
from shared.domain.identifiers import new_id
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost, online_cost

SAME_NAMES = [field.name for field in fields(Entry) if field.name in LEDGER.c]
"""Of the values of an entry that are columns, too."""
ENTRIES_AT_ONCE = 1_000
"""In memory: there may be millions to correct."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was booked because of new prices."""

    entries: int = 0
    """Corrections of attempts and model loads."""
    workers: int = 0
    """Corrections of idle time, one a worker."""
    nanodollars: int = 0
    """All of them together; negative where less is due."""

    def __add__(self, other: Corrected) -> Corrected:
        """Put those of another price to these."""
        return Corrected(
            self.entries + other.entries,
            self.workers + other.workers,
            self.nanodollars + other.nanodollars,
        )


def correct(session: Session, price: Price, span: PriceSpan) -> Corrected:
    """Book what a new price changes of what was booked while it should have been in force.

    The caller keeps others from pricing, and no attempt claimed in that time is running. What
    comes to its end late is booked at the new price, for attempts know theirs.

    Args:
        session: writes; all of it is one transaction.
        price: is in the price book.
        span: while it is in force.
    """
    # Waits for whoever is booking the end of one of them; those who come later see it.
    session.execute(
        update(Attempt)
        .where(Attempt.worker_id.in_(span.workers), *span.has(Attempt.claimed_at))
        .values(nanodollars_per_hour=price.nanodollars_per_hour),
        execution_options={"synchronize_session": False},
    )
    others = [id_ for id_ in session.scalars(_other_prices(price)) if _has_made(session, id_)]
    corrected = Corrected()
    for page in _pages(session, span):
        entries = list(_corrections(session, price, page, others))
        _append(session, entries)
        corrected += Corrected(len(entries), 0, sum(entry.amount_nanodollars for entry in entries))
    _add_to_attempts(session, price)
    balances = list(_balances(session, price, span))
    _append(session, balances)
    booked = sum(entry.amount_nanodollars for entry in balances)
    return corrected + Corrected(0, len(balances), booked)


def _other_prices(price: Price) -> Select[UUID]:
    return select(Price.id).where(
        Price.device_kind == price.device_kind, Price.sku == price.sku, Price.id != price.id
    )


def _pages(session: Session, span: PriceSpan) -> Iterator[Sequence[Row[Any]]]:
    entries = session.execute(
        select(*LEDGER.c).where(*is_entry_of(span)),
        execution_options={"yield_per": ENTRIES_AT_ONCE},
    )
    # Corrections that are appended meanwhile are none of these.
    yield from entries.partitions()


def _event(price_id: UUID, corrected_id: UUID) -> str:
    return f"{_events(price_id)}{corrected_id}"


def _events(price_id: UUID) -> str:
    return f"{LedgerKind.CORRECTION.value}:{price_id}:"


def _made_by(price_id: UUID) -> tuple[ColumnElement[bool], ...]:
    # A literal: else SQLite does not see that the index of corrections serves.
    is_correction = LedgerEntry.kind == literal(LedgerKind.CORRECTION.value, literal_execute=True)
    return is_correction, LedgerEntry.event_id.startswith(_events(price_id))


def _has_made(session: Session, price_id: UUID) -> bool:
    made = select(LedgerEntry.id).where(*_made_by(price_id))
    return session.scalar(made.limit(1)) is not None


def _corrections(
    session: Session, price: Price, page: Sequence[Row[Any]], others: Sequence[UUID]
) -> Iterator[Entry]:
    """Make the corrections of some entries, as far as there is a difference."""
    so_far = _corrected_so_far(session, page, others)
    times = _attempt_times(session, page)
    rate = price.nanodollars_per_hour
    for row in page:
        due = device_cost(row.device_ns, rate)
        if row.kind == LedgerKind.DUPLICATE:
            # What all of the attempt costs, less what it was known to by then.
            whole = times[row.attempt_id]
            due = device_cost(whole, rate) - device_cost(whole - row.device_ns, rate)
        difference = due - row.amount_nanodollars - so_far[row.id]
        if difference:
            yield Entry(
                event_id=_event(price.id, row.id),
                kind=LedgerKind.CORRECTION,
                batch_id=row.batch_id,
                job_id=row.job_id,
                attempt_id=row.attempt_id,
                worker_id=row.worker_id,
                device_kind=row.device_kind,
                nanodollars_per_hour=rate,
                amount_nanodollars=difference,
                priced_at=row.priced_at,
                booked_at=row.created_at,
            )


def _corrected_so_far(
    session: Session, page: Sequence[Row[Any]], prices: Sequence[UUID]
) -> Counter[UUID]:
    """Sum up earlier corrections of some entries, in nano-dollars."""
    so_far: Counter[UUID] = Counter()
    for price_id in prices:
        corrections = {_event(price_id, row.id): row.id for row in page}
        booked = session.execute(
            select(LedgerEntry.event_id, LedgerEntry.amount_nanodollars).where(
                LedgerEntry.event_id.in_(corrections)
            )
        )
        for event_id, amount in booked:
            so_far[corrections[event_id]] += amount
    return so_far


def _attempt_times(session: Session, page: Sequence[Row[Any]]) -> dict[UUID, int]:
    """Return the device time of each attempt of which more was booked later."""
    late = [row.attempt_id for row in page if row.kind == LedgerKind.DUPLICATE]
    if not late:
        return {}
    times = select(Attempt.id, Attempt.device_ns).where(Attempt.id.in_(late))
    return {attempt_id: device_ns or 0 for attempt_id, device_ns in session.execute(times)}


def _append(session: Session, entries: Sequence[Entry]) -> None:
    """Append entries that nobody has booked yet: a price is corrected for in one transaction."""
    if not entries:
        return
    rows = [
        {
            "id": new_id(),
            "created_at": entry.booked_at,
            **{name: getattr(entry, name) for name in SAME_NAMES},
        }
        for entry in entries
    ]
    session.connection().execute(insert(LEDGER), rows)
    for entry in entries:
        note_cost(session, entry.sum_of, entry.device_ns, entry.amount_nanodollars)
    append_tallies(session)


def _add_to_attempts(session: Session, price: Price) -> None:
    """Have attempts know what they cost now."""
    more = (
        select(
            LedgerEntry.attempt_id,
            cast(func.sum(LedgerEntry.amount_nanodollars), BigInteger).label("nanodollars"),
        )
        .where(*_made_by(price.id), LedgerEntry.attempt_id.is_not(None))
        .group_by(LedgerEntry.attempt_id)
        .subquery()
    )
    session.execute(
        update(Attempt)
        .where(Attempt.id == more.c.attempt_id)
        .values(cost_nanodollars=Attempt.cost_nanodollars + more.c.nanodollars),
        execution_options={"synchronize_session": False},
    )


def _balances(session: Session, price: Price, span: PriceSpan) -> Iterator[Entry]:
    """Make what is missing in the books of workers, or too much, up to when they were settled."""
    # At the very moment it may have claimed what is in its books by now.
    may_differ = Worker.id.in_(
        online_before_the_end(span).where(Worker.settled_until >= span.begin)
    )
    booked = dict(
        session.execute(
            select(LedgerEntry.worker_id, func.sum(LedgerEntry.amount_nanodollars))
            .join(Worker, Worker.id == LedgerEntry.worker_id)
            .where(may_differ, LedgerEntry.created_at <= Worker.settled_at)
            .group_by(LedgerEntry.worker_id)
        ).all()
    )
    steps = price_steps(session, span.device_kind, span.sku)
    columns = (Worker.id, Worker.online_at, Worker.settled_until, Worker.settled_at)
    workers: Select[Any, Any, Any, Any] = select(*columns).where(may_differ)
    for id_, online_at, until, settled_at in session.execute(workers).all():
        missing = online_cost(online_at, until, steps) - int(booked.get(id_, 0))
        if missing:
            yield Entry(
                event_id=_event(price.id, id_),
                kind=LedgerKind.CORRECTION,
                worker_id=id_,
                device_kind=span.device_kind,
                nanodollars_per_hour=price.nanodollars_per_hour,
                amount_nanodollars=missing,
                priced_at=max(online_at, span.begin),
                booked_at=min(until, settled_at),
            )
