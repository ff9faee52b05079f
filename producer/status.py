"""How far a batch is, how fast it goes, what it has cost, and why it stands still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import sqrt
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from producer.batch_status import BatchStatus, BatchSummary, FailureGroup
from producer.idle import why_idle
from shared.db.batches import find_batch
from shared.db.conditions import IS_DONE, IS_FAILED, IS_LEASED, of_batch
from shared.db.engine import Database
from shared.db.fleet import count_workers
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import NOTHING, BatchTally, read_tallies, read_tally
from shared.domain.jobs import BatchControl, JobState
from shared.settings import Settings

__all__ = [
    "BatchStatus",
    "BatchSummary",
    "FailureGroup",
    "batch_status",
    "list_batches",
    "read_status",
    "summaries",
]

RATE_WINDOW = timedelta(seconds=60)
FEWEST_FOR_ETA = 4
SMALLEST_ETA_SPREAD = 0.05
MOST_FOR_RATE = 1_000
"""Images that tell the rate to three parts in a hundred; reading more takes longer."""
MAX_FAILURE_GROUPS = 20
MOST_FAILURES_READ = 10_000


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
    tally = read_tally(session, batch.id)
    summary = _summary(batch, tally)
    counts = summary.counts
    silence = timedelta(seconds=settings.lease_seconds)
    workers = count_workers(session, now, silence, batch.model)
    rate, measured_on = _rate(session, summary, now)
    return BatchStatus(
        summary=summary,
        images_per_second=rate,
        eta_seconds=time_left(summary, rate, measured_on),
        cost_nanodollars=tally.nanodollars,
        failures=_failures(session, batch.id) if counts[JobState.FAILED] else (),
        workers_alive=workers.ready,
        devices=_devices_at_work(session, batch.id),
        why_idle=why_idle(session, batch, counts, workers, now, silence),
    )


def list_batches(database: Database, limit: int) -> Sequence[BatchSummary]:
    """Return the newest batches, newest first."""
    with database.read() as session:
        batches = session.scalars(select(Batch).order_by(Batch.id.desc()).limit(limit)).all()
        return summaries(session, batches)


def summaries(session: Session, batches: Sequence[Batch]) -> Sequence[BatchSummary]:
    """Look at several batches at once."""
    tallies = read_tallies(session, [batch.id for batch in batches])
    return [_summary(batch, tallies.get(batch.id, NOTHING)) for batch in batches]


def _summary(batch: Batch, tally: BatchTally) -> BatchSummary:
    return BatchSummary(
        id=batch.id,
        name=batch.name,
        model=batch.model,
        priority=batch.priority,
        control=BatchControl(batch.control),
        created_at=batch.created_at,
        is_submitted=batch.submitted_at is not None,
        counts=tally.counts,
        cost_nanodollars=tally.nanodollars,
        details_dropped_at=batch.details_dropped_at,
    )


def _rate(session: Session, summary: BatchSummary, now: datetime) -> tuple[float | None, int]:
    """Return images a second, and how many of them it was measured on."""
    latest = _latest_finishes(summary.id, now - RATE_WINDOW)
    count, first, last = session.execute(latest).one()
    if not summary.is_finished and count == MOST_FOR_RATE:
        return _per_second(count, first, now)
    begin = session.scalar(
        select(func.min(Attempt.claimed_at)).where(Attempt.batch_id == summary.id)
    )
    if begin is None:
        return None, 0
    if summary.is_finished:
        last = last or session.execute(_latest_finishes(summary.id, begin)).one()[2]
        return _per_second(summary.counts[JobState.DONE], begin, last)
    return _per_second(count, max(begin, now - RATE_WINDOW), now)


def _latest_finishes(batch_id: UUID, since: datetime) -> Select[Any, Any, Any]:
    """Select how many images were finished, up to 1,000, and when the first and last of them."""
    latest = (
        select(Job.finished_at)
        .where(Job.batch_id == batch_id, IS_DONE, Job.finished_at > since)
        .order_by(Job.finished_at.desc(), Job.position.desc())
        .limit(MOST_FOR_RATE)
        .subquery()
    )
    return select(func.count(), func.min(latest.c.finished_at), func.max(latest.c.finished_at))


def _per_second(count: int, begin: datetime, end: datetime | None) -> tuple[float | None, int]:
    if end is None or end <= begin:
        return None, 0
    return count / (end - begin).total_seconds(), count


def _devices_at_work(session: Session, batch_id: UUID) -> Mapping[str, int]:
    """Count the workers that have a job of the batch in hand, by what they draw on."""
    at_work = select(Job.worker_id).where(IS_LEASED, of_batch(batch_id)).distinct()
    rows = session.execute(
        select(Worker.device_name, func.count())
        .where(Worker.id.in_(at_work))
        .group_by(Worker.device_name)
        .order_by(Worker.device_name)
    )
    return dict(rows.all())


def time_left(
    summary: BatchSummary, rate: float | None, measured_on: int
) -> tuple[float, float] | None:
    """Return the soonest and the latest seconds until nothing of a batch is to be drawn.

    Args:
        summary: the batch; while it is paused or grows nobody can tell.
        rate: images a second.
        measured_on: of how many: n events tell a rate to about one part in √n.
    """
    to_go = summary.counts[JobState.PENDING] + summary.counts[JobState.LEASED]
    goes_on = summary.control is BatchControl.ACTIVE and summary.is_submitted
    if not (goes_on and to_go and rate) or measured_on < FEWEST_FOR_ETA:
        return None
    spread = max(SMALLEST_ETA_SPREAD, 1 / sqrt(measured_on))
    return to_go / (rate * (1 + spread)), to_go / (rate * (1 - spread))


def _failures(session: Session, batch_id: UUID) -> Sequence[FailureGroup]:
    """Group failed jobs by their code; of very many the first that the index holds."""
    some = (
        select(Job.error_code, Job.position)
        .where(Job.batch_id == batch_id, IS_FAILED)
        # The order of their index, so that it is what they are read from.
        .order_by(Job.error_code, Job.position)
        .limit(MOST_FAILURES_READ)
        .subquery()
    )
    groups = (
        select(
            some.c.error_code,
            func.count().label("count"),
            func.min(some.c.position).label("first"),
        )
        .group_by(some.c.error_code)
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
