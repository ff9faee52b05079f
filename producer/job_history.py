"""All that is known of one job: what it asks for, every try at it, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.job_details import (
    PHASES,
    Failure,
    JobAttempt,
    JobHistory,
    JobImage,
    TimelineEvent,
)
from producer.named_jobs import find_job
from producer.waiting import why_waiting
from shared.db.engine import Database
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState
from shared.settings import Settings

__all__ = ["JobHistory", "first_settings", "read_job"]

NANOSECONDS_A_MICROSECOND = 1_000

SETTINGS = (
    *("seed", "width", "height", "scheduler", "steps", "squeeze"),
    *("guidance_scale", "guidance_rescale", "quality"),
)
REASONS = {
    AttemptOutcome.LOST: "its worker stopped renewing the lease",
    AttemptOutcome.RETURNED: "its worker gave it back before it was drawn",
    AttemptOutcome.CANCELLED: "it was called off under way",
}
"""Of outcomes that need no error message of their own."""


def read_job(
    database: Database, settings: Settings, reference: str, batch_reference: str | None
) -> JobHistory:
    """Look at a job by its id, or by its position or custom_id in a batch.

    Args:
        database: where it is.
        settings: how long a worker may be silent.
        reference: the job.
        batch_reference: id of its batch or the start of it; None is the newest.

    Raises:
        InputError: there is no such batch or job, or several are meant.
    """
    with database.read() as session:
        job = find_job(session, reference, batch_reference)
        batch = session.get_one(Batch, job.batch_id)
        why = why_waiting(session, batch, job, settings, database.now(session))
        return _history(batch, job, _attempts(session, job.id), why)


def first_settings(session: Session, batch_id: UUID) -> Mapping[str, Any] | None:
    """Return the settings of a batch's first job; None while none is written."""
    columns = (getattr(Job, name) for name in SETTINGS)
    first = select(*columns).where(Job.batch_id == batch_id).order_by(Job.position).limit(1)
    row = session.execute(first).one_or_none()
    return None if row is None else row._asdict()


def _history(batch: Batch, job: Job, attempts: Sequence[JobAttempt], why: str | None) -> JobHistory:
    return JobHistory(
        id=job.id,
        batch_id=batch.id,
        batch_name=batch.name,
        model=batch.model,
        position=job.position,
        custom_id=job.custom_id,
        source_line=job.source_line,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        settings={name: getattr(job, name) for name in SETTINGS},
        details=job.details,
        state=JobState(job.state),
        attempts_counted=job.attempts,
        image=JobImage(job.image_key, job.image_sha256, job.image_bytes) if job.image_key else None,
        reused_from=job.reused_from,
        error=Failure(job.error_code, job.error_message or "") if job.error_code else None,
        why_waiting=why,
        attempts=attempts,
        timeline=list(_timeline(batch, job, attempts)),
    )


def _attempts(session: Session, job_id: UUID) -> Sequence[JobAttempt]:
    rows = session.execute(
        select(Attempt, Worker)
        .outerjoin(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.job_id == job_id)
        .order_by(Attempt.fencing_token)
    )
    return [_attempt(attempt, worker) for attempt, worker in rows]


def _attempt(attempt: Attempt, worker: Worker | None) -> JobAttempt:
    measured = {name: getattr(attempt, f"{name}_ns") for name in PHASES}
    return JobAttempt(
        number=attempt.number,
        outcome=AttemptOutcome(attempt.outcome),
        worker_id=attempt.worker_id,
        host=worker.host if worker else None,
        device=worker.device if worker else None,
        device_kind=attempt.device_kind,
        device_name=attempt.device_name,
        claimed_at=attempt.claimed_at,
        finished_at=attempt.finished_at,
        queue_wait_ns=attempt.queue_wait_ns,
        phases={name: time for name, time in measured.items() if time is not None},
        device_ns=attempt.device_ns,
        cost_nanodollars=attempt.cost_nanodollars,
        nanodollars_per_hour=attempt.nanodollars_per_hour,
        reason=_reason(attempt),
        record=attempt.record,
    )


def _reason(attempt: Attempt) -> Failure | None:
    outcome = AttemptOutcome(attempt.outcome)
    if outcome in {AttemptOutcome.RUNNING, AttemptOutcome.DONE}:
        return None
    message = attempt.error_message or REASONS.get(outcome, "")
    return Failure(attempt.error_code, message)


def _timeline(batch: Batch, job: Job, attempts: Sequence[JobAttempt]) -> Iterator[TimelineEvent]:
    yield TimelineEvent(batch.created_at, "submitted", None)
    for attempt in attempts:
        if attempt.queue_wait_ns is not None:
            waited = timedelta(microseconds=attempt.queue_wait_ns / NANOSECONDS_A_MICROSECOND)
            yield TimelineEvent(attempt.claimed_at - waited, "sent", attempt.number)
        yield TimelineEvent(attempt.claimed_at, "claimed", attempt.number)
        if attempt.finished_at is not None:
            yield TimelineEvent(attempt.finished_at, attempt.outcome.value, attempt.number)
    if job.state == JobState.PENDING and job.dispatched_at is not None:
        yield TimelineEvent(job.dispatched_at, "sent", None)
    if job.finished_at is not None and not _tells_its_end(job, attempts):
        yield TimelineEvent(job.finished_at, job.state, None)


def _tells_its_end(job: Job, attempts: Sequence[JobAttempt]) -> bool:
    """Tell whether the last attempt ended as the job did."""
    return bool(attempts) and (attempts[-1].outcome.value, attempts[-1].finished_at) == (
        job.state,
        job.finished_at,
    )
