"""How far a batch is, how fast it goes, what it has cost, and why it stands still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.amounts import usd
from producer.idle import why_idle
from shared.db.batches import count_jobs, find_batch, is_finished
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.tables import Attempt, Batch, Job, LedgerEntry
from shared.domain.jobs import BatchControl, JobState
from shared.settings import Settings

RATE_WINDOW = timedelta(seconds=60)
FEWEST_FOR_ETA = 4
SMALLEST_ETA_SPREAD = 0.05
MAX_FAILURE_GROUPS = 20


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs with the same error code."""

    code: str
    count: int
    example_position: int
    example_message: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "code": self.code,
            "count": self.count,
            "example": {"position": self.example_position, "message": self.example_message},
        }


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What fits on a line of a list of batches."""

    id: UUID
    name: str
    model: str
    priority: int
    control: BatchControl
    created_at: datetime
    total: int
    counts: Mapping[JobState, int]
    """Every state is a key; they add up to the total."""

    @property
    def is_finished(self) -> bool:
        """Whether every job has come to its end."""
        return is_finished(self.counts)

    @property
    def state(self) -> str:
        """One word for it all."""
        if self.control is BatchControl.CANCELLED:
            return "cancelled"
        if self.is_finished:
            return "finished"
        if self.control is BatchControl.PAUSED:
            return "paused"
        return "working" if self.counts[JobState.LEASED] else "waiting"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.id),
            "name": self.name,
            "model": self.model,
            "priority": self.priority,
            "state": self.state,
            "control": self.control.value,
            "created_at": self.created_at.isoformat(),
            "total": self.total,
            "counts": {state.value: count for state, count in self.counts.items()},
        }


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch, seen at one moment."""

    summary: BatchSummary
    images_per_second: float | None
    """Over the last minute; of a finished batch, over its whole run."""
    eta_seconds: tuple[float, float] | None
    """Soonest and latest, as far as the rate can tell; None when it cannot."""
    cost_nanodollars: int
    failures: Sequence[FailureGroup]
    workers_alive: int
    """Workers that have the batch's model."""
    why_idle: str | None
    """Why an unfinished batch is in nobody's hands."""

    @property
    def ended(self) -> int:
        """Jobs that have come to their end."""
        counts = self.summary.counts
        return self.summary.total - sum(
            counts[state] for state in (JobState.PENDING, JobState.LEASED, JobState.HELD)
        )

    @property
    def done(self) -> int:
        """Images that are drawn."""
        return self.summary.counts[JobState.DONE]

    @property
    def failed(self) -> int:
        """Jobs that failed for good."""
        return self.summary.counts[JobState.FAILED]

    @property
    def is_finished(self) -> bool:
        """Whether every job has come to its end."""
        return self.summary.is_finished

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **self.summary.to_json(),
            "finished": self.is_finished,
            "images_per_second": self.images_per_second,
            "eta_seconds": list(self.eta_seconds) if self.eta_seconds else None,
            "cost_nanodollars": self.cost_nanodollars,
            "cost_usd": usd(self.cost_nanodollars),
            "failures": [group.to_json() for group in self.failures],
            "workers_alive": self.workers_alive,
            "why_idle": self.why_idle,
        }


def read_status(
    database: Database, settings: Settings, reference: UUID | str | None
) -> BatchStatus:
    """Look at a batch by its id, the start of its id, or None for the newest.

    Raises:
        InputError: there is none, or the start fits several.
    """
    named = None if reference is None else str(reference)
    with database.read() as session:
        batch = find_batch(session, named)
        return batch_status(session, batch, settings, database.now(session))


def batch_status(session: Session, batch: Batch, settings: Settings, now: datetime) -> BatchStatus:
    """Look at a batch."""
    counts = count_jobs(session, batch.id)
    silence = timedelta(seconds=settings.lease_seconds)
    workers = [
        worker
        for worker in live_workers(session, now, silence)
        if worker.model == batch.model and not worker.draining
    ]
    rate, finished_lately = _rate(session, batch.id, now, is_over=is_finished(counts))
    is_active = batch.control == BatchControl.ACTIVE
    to_go = counts[JobState.PENDING] + counts[JobState.LEASED]
    return BatchStatus(
        summary=_summary(batch, counts),
        images_per_second=rate,
        eta_seconds=_eta(to_go, rate, finished_lately) if is_active else None,
        cost_nanodollars=_cost(session, batch.id),
        failures=_failures(session, batch.id) if counts[JobState.FAILED] else (),
        workers_alive=len(workers),
        why_idle=why_idle(session, batch, counts, workers, now),
    )


def list_batches(database: Database, limit: int) -> Sequence[BatchSummary]:
    """Return the newest batches, newest first."""
    with database.read() as session:
        batches = session.scalars(select(Batch).order_by(Batch.id.desc()).limit(limit)).all()
        return [_summary(batch, count_jobs(session, batch.id)) for batch in batches]


def _summary(batch: Batch, counts: Mapping[JobState, int]) -> BatchSummary:
    return BatchSummary(
        id=batch.id,
        name=batch.name,
        model=batch.model,
        priority=batch.priority,
        control=BatchControl(batch.control),
        created_at=batch.created_at,
        total=batch.total,
        counts=counts,
    )


def _rate(
    session: Session, batch_id: UUID, now: datetime, *, is_over: bool
) -> tuple[float | None, int]:
    """Return images a second, and how many of them it was measured on."""
    of_batch = Attempt.batch_id == batch_id
    begin = session.scalar(select(func.min(Attempt.claimed_at)).where(of_batch))
    end: datetime | None = now
    if is_over:
        end = session.scalar(select(func.max(Job.finished_at)).where(Job.batch_id == batch_id))
    elif begin is not None:
        begin = max(begin, now - RATE_WINDOW)
    if begin is None or end is None or end <= begin:
        return None, 0
    count = session.scalar(
        select(func.count())
        .select_from(Job)
        .where(Job.batch_id == batch_id, Job.state == JobState.DONE, Job.finished_at > begin)
    )
    return (count or 0) / (end - begin).total_seconds(), count or 0


def _eta(to_go: int, rate: float | None, measured_on: int) -> tuple[float, float] | None:
    """Give the time left a spread: n events tell a rate to about one part in √n."""
    if not to_go or not rate or measured_on < FEWEST_FOR_ETA:
        return None
    spread = max(SMALLEST_ETA_SPREAD, 1 / sqrt(measured_on))
    return to_go / (rate * (1 + spread)), to_go / (rate * (1 - spread))


def _cost(session: Session, batch_id: UUID) -> int:
    amount = func.coalesce(func.sum(LedgerEntry.amount_nanodollars), 0)
    return int(session.scalar(select(amount).where(LedgerEntry.batch_id == batch_id)) or 0)


def _failures(session: Session, batch_id: UUID) -> Sequence[FailureGroup]:
    groups = (
        select(Job.error_code, func.count().label("count"), func.min(Job.position).label("first"))
        .where(Job.batch_id == batch_id, Job.state == JobState.FAILED)
        .group_by(Job.error_code)
        .order_by(func.count().desc())
        .limit(MAX_FAILURE_GROUPS)
        .subquery()
    )
    rows = session.execute(
        select(Job.error_code, groups.c.count, Job.position, Job.error_message)
        .join(groups, groups.c.first == Job.position)
        .where(Job.batch_id == batch_id)
        .order_by(groups.c.count.desc(), Job.position)
    )
    return [
        FailureGroup(code or "unknown", count, position, message or "")
        for code, count, position, message in rows
    ]
