"""Leases of workers that stopped renewing them: their jobs go to others, or have failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.db.attempt_costs import charge_loaded
from shared.db.conditions import IS_LEASED
from shared.db.setbacks import note_setback
from shared.db.settlement import settle_worker
from shared.db.tables import Attempt, Job, Worker
from shared.db.tallies import note_move
from shared.domain.jobs import WORKER_LOST, AttemptOutcome, JobState, LedgerKind
from shared.domain.money import nanoseconds

LOSSES_AN_ATTEMPT = 3
"""How often a job may be lost without blame for each attempt that it has."""


def has_expired_leases(session: Session, now: datetime) -> bool:
    """Tell, without writing, whether a worker has stopped renewing."""
    expired = select(Job.id).where(IS_LEASED, Job.lease_expires_at < now)
    return session.scalar(expired.limit(1)) is not None


def expire_leases(session: Session, now: datetime, max_attempts: int) -> int:
    """Take jobs back from workers that stopped renewing; returns how many."""
    expired = session.scalars(
        select(Job).where(IS_LEASED, Job.lease_expires_at < now).with_for_update(skip_locked=True)
    ).all()
    _lose(session, expired, now, max_attempts)
    return len(expired)


def release_worker(session: Session, worker_id: UUID, now: datetime, max_attempts: int) -> int:
    """Take every job back from a worker that is known to be dead; returns how many."""
    lost = session.scalars(
        select(Job).where(IS_LEASED, Job.worker_id == worker_id).with_for_update(skip_locked=True)
    ).all()
    _lose(session, lost, now, max_attempts)
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(stopped_at=now)
    )
    if session.get(Worker, worker_id) is not None:  # else it died before it was ready
        settle_worker(session, worker_id, now)
    return len(lost)


def _lose(session: Session, jobs: Sequence[Job], now: datetime, max_attempts: int) -> None:
    """End the attempts at these leased jobs as lost, and retry or fail the jobs.

    A worker draws its chunks in order. The one that was in its device is to blame, and of that
    the first job that is left: the device time since its chunk's last finished attempt, or since
    the chunk went in, up to the worker's last sign of life belongs to it. What waited for its
    turn, or was drawn and not yet in the books, has no part in it. Of a worker that never began
    a chunk each is taken for begun.
    """
    blamed: set[UUID | None] = set()
    for job in sorted(jobs, key=lambda job: job.position):
        attempt = session.scalars(
            select(Attempt).where(
                Attempt.job_id == job.id, Attempt.fencing_token == job.fencing_token
            )
        ).one()
        worker = session.get_one(Worker, attempt.worker_id)
        in_device = worker.drawing_chunk_id or job.chunk_id
        is_to_blame = job.chunk_id == in_device and job.chunk_id not in blamed
        attempt.outcome = AttemptOutcome.LOST
        attempt.finished_at = now
        attempt.error_code = WORKER_LOST
        attempt.error_message = "its worker stopped renewing the lease"
        device_ns = 0
        if is_to_blame:
            blamed.add(job.chunk_id)
            device_ns = _time_until_last_sign_of_life(session, attempt, worker)
        charge_loaded(session, attempt, LedgerKind.FAILED_ATTEMPT, device_ns, now)
        counts = is_to_blame or _is_lost_too_often(session, job, max_attempts)
        _retry_or_fail(job, attempt, now, max_attempts, counts=counts)
        note_move(session, job.batch_id, JobState.LEASED, JobState(job.state))
        is_retried = job.state == JobState.PENDING
        note_setback(session, worker.id, WORKER_LOST, is_retried=is_retried)


def _is_lost_too_often(session: Session, job: Job, max_attempts: int) -> bool:
    """Tell whether a job was there so often when a worker was lost that it can be no chance.

    One that kills its worker before it is in the device would never be to blame.
    """
    lost = select(func.count()).where(
        Attempt.job_id == job.id, Attempt.outcome == AttemptOutcome.LOST
    )
    return (session.scalar(lost) or 0) > LOSSES_AN_ATTEMPT * max_attempts


def _time_until_last_sign_of_life(session: Session, attempt: Attempt, worker: Worker) -> int:
    measured = (AttemptOutcome.DONE, AttemptOutcome.FAILED)
    last_finish = session.scalar(
        select(Attempt.finished_at)
        .where(Attempt.chunk_id == attempt.chunk_id, Attempt.outcome.in_(measured))
        .order_by(Attempt.finished_at.desc())
        .limit(1)
    )
    begin = max(filter(None, (attempt.claimed_at, worker.drawing_since, last_finish)))
    worker.heartbeat_at = max(worker.heartbeat_at, begin)
    return nanoseconds(worker.heartbeat_at - begin)


def _retry_or_fail(
    job: Job, attempt: Attempt, now: datetime, max_attempts: int, *, counts: bool
) -> None:
    job.worker_id = None
    job.lease_expires_at = None
    if not counts:
        job.attempts -= 1
    if job.attempts < max_attempts:
        job.state = JobState.PENDING
        job.chunk_id = job.queue = job.dispatched_at = None
    else:
        job.state = JobState.FAILED
        job.error_code = attempt.error_code
        job.error_message = f"{attempt.error_message}, {job.attempts} times"
        job.finished_at = now
