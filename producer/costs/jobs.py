"""What each job of a batch has cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, literal, select
from sqlalchemy.orm import Session

from producer.amounts import seconds, usd
from shared.db.cost_tables import LedgerEntry
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import JobState, LedgerKind

ROWS_A_FETCH = 1_000
BEFORE_ALL = -1


@dataclass(frozen=True, slots=True)
class JobCost:
    """What one job has cost, all attempts at it together."""

    position: int
    custom_id: str | None
    state: JobState
    device_ns: int
    nanodollars: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "position": self.position,
            "custom_id": self.custom_id,
            "state": self.state.value,
            "device_ns": self.device_ns,
            "device_seconds": seconds(self.device_ns),
            "nanodollars": self.nanodollars,
            "usd": usd(self.nanodollars),
        }


def job_costs(
    session: Session, batch: Batch, *, after: int | None = None, limit: int | None = None
) -> Iterator[JobCost]:
    """Yield what jobs have cost, in order of position; there may be millions.

    With model loads, storage and requests, which are no job's, they make up the bill.

    Args:
        session: reads; what was not taken yet is read on.
        batch: whose jobs.
        after: begin after this position; None is at the first.
        limit: how many at most; None is all.
    """
    jobs = (
        select(Job.id, Job.position, Job.custom_id, Job.state)
        .where(Job.batch_id == batch.id, Job.position > (BEFORE_ALL if after is None else after))
        .order_by(Job.position)
        .limit(limit)
        .subquery()
    )
    is_booked = and_(Attempt.job_id == jobs.c.id, Attempt.cost_nanodollars.is_not(None))
    page = None if limit is None else select(jobs.c.id)
    corrections = _corrections(batch.id, page) if _has_corrections(session, batch.id) else None
    corrected = literal(0) if corrections is None else corrections.c.nanodollars
    rows = select(
        *(jobs.c[name] for name in ("position", "custom_id", "state")),
        *(Attempt.device_ns, Attempt.cost_nanodollars),
        func.coalesce(corrected, 0).label("corrected"),
    ).outerjoin_from(jobs, Attempt, is_booked)
    if corrections is not None:
        rows = rows.outerjoin(corrections, corrections.c.job_id == jobs.c.id)
    found = session.execute(
        rows.order_by(jobs.c.position), execution_options={"yield_per": ROWS_A_FETCH}
    )
    for position, of_job in groupby(found, attrgetter("position")):
        yield _job_cost(position, list(of_job))


def _job_cost(position: int, attempts: Sequence[Any]) -> JobCost:
    first = attempts[0]
    return JobCost(
        position,
        first.custom_id,
        JobState(first.state),
        device_ns=sum(each.device_ns or 0 for each in attempts),
        # The same sum of corrections is in every row of a job.
        nanodollars=sum(each.cost_nanodollars or 0 for each in attempts) + int(first.corrected),
    )


def _of_jobs(batch_id: UUID) -> ColumnElement[bool]:
    # A literal: else SQLite does not see that the index of corrections serves.
    is_correction = LedgerEntry.kind == literal(LedgerKind.CORRECTION.value, literal_execute=True)
    return and_(is_correction, LedgerEntry.batch_id == batch_id, LedgerEntry.job_id.is_not(None))


def _has_corrections(session: Session, batch_id: UUID) -> bool:
    return session.scalar(select(LedgerEntry.id).where(_of_jobs(batch_id)).limit(1)) is not None


def _corrections(batch_id: UUID, page: Select[UUID] | None) -> Subquery:
    """Sum up corrections by job: of all jobs, or of those on a page."""
    of_jobs = (
        _of_jobs(batch_id)
        if page is None
        else and_(_of_jobs(batch_id), LedgerEntry.job_id.in_(page))
    )
    return (
        select(
            LedgerEntry.job_id,
            func.sum(LedgerEntry.amount_nanodollars).label("nanodollars"),
        )
        .where(of_jobs)
        .group_by(LedgerEntry.job_id)
        .subquery()
    )
