"""A span of time that a price is in force, and what was priced within it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.cost_tables import LedgerEntry
from shared.db.tables import Attempt, Worker
from shared.domain.identifiers import NOBODY
from shared.domain.jobs import AttemptOutcome, LedgerKind

OF_DEVICE_TIME = (
    LedgerKind.RENDER,
    LedgerKind.FAILED_ATTEMPT,
    LedgerKind.DUPLICATE,
    LedgerKind.MODEL_LOAD,
)


@dataclass(frozen=True, slots=True)
class PriceSpan:
    """While a price is in force."""

    device_kind: str
    sku: str
    begin: datetime
    end: datetime | None
    """When the next price begins; None is never."""

    def has(self, moment: InstrumentedAttribute[datetime]) -> list[ColumnElement[bool]]:
        """Return the conditions that a moment is within."""
        conditions: list[ColumnElement[bool]] = [moment >= self.begin]
        if self.end is not None:
            conditions.append(moment < self.end)
        return conditions

    @property
    def workers(self) -> Select[UUID]:
        """Select the ids of the workers that have the device."""
        return select(Worker.id).where(
            Worker.device_kind == self.device_kind, Worker.device_sku == self.sku
        )


@dataclass(frozen=True, slots=True)
class Affected:
    """What was priced already while a new price should have been in force."""

    entries: int = 0
    """Of attempts and model loads."""
    workers: int = 0
    """Whose idle time is booked."""
    running: int = 0
    """Attempts under way: they will be booked at the price that they were claimed at."""
    carried: int = 0
    """Entries that stand for many whose details were removed: nothing of them can be corrected."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.workers or self.running or self.carried)


def find_affected(session: Session, span: PriceSpan) -> Affected:
    """Count what a price that is in force for some time would make wrong; reads the books."""
    # Up to that moment all of its time is in the books, idle time included.
    settled = online_before_the_end(span).where(Worker.settled_until > span.begin)
    of_span = (Attempt.worker_id.in_(span.workers), *span.has(Attempt.claimed_at))
    running = (Attempt.outcome == AttemptOutcome.RUNNING, *of_span)
    return Affected(
        entries=_count(session, select(LedgerEntry.id).where(*is_entry_of(span))),
        workers=_count(session, settled),
        running=_count(session, select(Attempt.id).where(*running)),
        carried=_count(session, _carried(span)),
    )


def _carried(span: PriceSpan) -> Select[UUID]:
    """Select entries that were carried forward and have anything that was priced in a span."""
    conditions = [
        LedgerEntry.attempt_id == NOBODY,
        LedgerEntry.worker_id.in_(span.workers),
        # It was priced before it was booked: the first of them at the one, the last by the other.
        LedgerEntry.created_at >= span.begin,
    ]
    if span.end is not None:
        conditions.append(LedgerEntry.priced_at < span.end)
    return select(LedgerEntry.id).where(*conditions)


def is_entry_of(span: PriceSpan) -> list[ColumnElement[bool]]:
    """Return the conditions that an entry was priced within a span, for device time."""
    return [
        LedgerEntry.kind.in_(OF_DEVICE_TIME),
        LedgerEntry.worker_id.in_(span.workers),
        *span.has(LedgerEntry.priced_at),
    ]


def online_before_the_end(span: PriceSpan) -> Select[UUID]:
    """Select the workers that held the device before a span was over."""
    return span.workers if span.end is None else span.workers.where(Worker.online_at < span.end)


def _count(session: Session, rows: Select[UUID]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0
