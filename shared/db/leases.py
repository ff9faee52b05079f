"""A worker's claim on jobs: taken, renewed, given back, or expired.

Every change is a compare-and-set on the job's state and fencing token, so that a message
that arrives twice, or a worker that wakes after its lease has ended, changes nothing.

Nobody here waits for somebody else's lock on several jobs: what is locked is skipped, or it
is locked in the order of the positions. So no two can wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, Update, bindparam, insert, select, update
from sqlalchemy.orm import Session

from shared.db.attempt_costs import AttemptToCharge, charge_loaded
from shared.db.conditions import IS_LEASED
from shared.db.prices import price_in_force
from shared.db.settlement import settle_worker
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import note_move
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState, LedgerKind, origins
from shared.domain.money import nanoseconds

JOBS = cast("Table", Job.__table__)


@dataclass(frozen=True, slots=True)
class Lease:
    """One job in a worker's hands."""

    job: Job
    fencing_token: int
    attempt: AttemptToCharge


def locked(*conditions: ColumnElement[bool], skip: bool = False) -> Select[UUID]:
    """Select and lock jobs, in the order of their positions.

    Args:
        conditions: which jobs; all of one batch, for positions to be an order.
        skip: leave out those that somebody else has locked, rather than wait for them.
    """
    return (
        select(Job.id)
        .where(*conditions)
        .order_by(Job.position)
        .with_for_update(skip_locked=skip)
        .correlate(None)
    )


def claim_chunk(
    session: Session, chunk_id: UUID, worker_id: UUID, now: datetime, lease: timedelta
) -> list[Lease]:
    """Lease what is still pending of a chunk, in order; counts the attempts.

    Returns nothing when the message is a duplicate, or its batch is paused or called off.

    Raises:
        MissingPriceError: the worker's device has no price.
    """
    worker = session.get_one(Worker, worker_id)
    worker.last_claim_at = worker.heartbeat_at = now
    # One value a job: as a join, Postgres might go from all active batches to their jobs.
    control = select(Batch.control).where(Batch.id == Job.batch_id).scalar_subquery()
    can_be_leased = Job.state.in_(origins(JobState.LEASED))
    free = locked(
        Job.chunk_id == chunk_id, can_be_leased, control == BatchControl.ACTIVE, skip=True
    )
    jobs = session.scalars(
        update(Job)
        .where(Job.id.in_(free), can_be_leased)
        .values(
            state=JobState.LEASED,
            attempts=Job.attempts + 1,
            fencing_token=Job.fencing_token + 1,
            worker_id=worker_id,
            lease_expires_at=now + lease,
        )
        .returning(Job),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).all()
    if not jobs:
        return []
    rate = price_in_force(session, worker.device_kind, worker.device_sku, now)
    leases = [
        Lease(
            job=job,
            fencing_token=job.fencing_token,
            attempt=AttemptToCharge(
                id=new_id(),
                batch_id=job.batch_id,
                job_id=job.id,
                worker_id=worker_id,
                device_kind=worker.device_kind,
                claimed_at=now,
                nanodollars_per_hour=rate,
            ),
        )
        for job in sorted(jobs, key=lambda job: job.position)
    ]
    batch_id = leases[0].job.batch_id
    note_move(session, batch_id, JobState.PENDING, JobState.LEASED, len(leases))
    session.execute(insert(Attempt), [_first_record(held, worker, now) for held in leases])
    session.expunge_all()
    return leases


def _first_record(held: Lease, worker: Worker, now: datetime) -> dict[str, object]:
    waited = now - (held.job.dispatched_at or now)
    return {
        "id": held.attempt.id,
        "job_id": held.job.id,
        "batch_id": held.job.batch_id,
        "number": held.fencing_token,
        "fencing_token": held.fencing_token,
        "chunk_id": held.job.chunk_id,
        "worker_id": worker.id,
        "device_kind": worker.device_kind,
        "device_name": worker.device_name,
        "outcome": AttemptOutcome.RUNNING,
        "claimed_at": now,
        "nanodollars_per_hour": held.attempt.nanodollars_per_hour,
        "queue_wait_ns": max(0, nanoseconds(waited)),
    }


def renew_leases(
    session: Session,
    worker_id: UUID,
    now: datetime,
    lease: timedelta,
    chunk_id: UUID | None,
) -> None:
    """Record that a worker lives, and renew its leases on the chunk that it works on.

    Other jobs that the books say it holds it has lost sight of, such as those whose end
    it could not write down: their leases must run out.
    """
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(heartbeat_at=now),
        execution_options={"synchronize_session": False},
    )
    if chunk_id is None:
        return
    ours = locked(
        Job.chunk_id == chunk_id,
        Job.worker_id == worker_id,
        Job.state == JobState.LEASED,
        skip=True,
    )
    session.execute(
        update(Job).where(Job.id.in_(ours)).values(lease_expires_at=now + lease),
        execution_options={"synchronize_session": False},
    )


def still_held(session: Session, held: Sequence[Lease]) -> set[UUID]:
    """Return the ids of the jobs that these leases still cover: not cancelled, not expired."""
    tokens = {lease.job.id: lease.fencing_token for lease in held}
    rows = session.execute(
        select(Job.id, Job.fencing_token).where(Job.id.in_(tokens), Job.state == JobState.LEASED)
    )
    return {job_id for job_id, token in rows if tokens[job_id] == token}


def move_leased_job(session: Session, held: Lease, target: JobState, **values: object) -> bool:
    """Move a job out of its lease, if this lease still covers it.

    Returns:
        False when it does not: somebody else has the job, or it was called off.
    """
    changes = {"state": target.value, "lease_expires_at": None, "worker_id": None, **values}
    moved = session.connection().execute(
        _move_out_of_lease(tuple(changes)),
        {"of_job": held.job.id, "with_token": held.fencing_token, **changes},
    )
    is_ours = moved.rowcount == 1
    if is_ours:
        note_move(session, held.job.batch_id, JobState.LEASED, target)
    return is_ours


@cache
def _move_out_of_lease(columns: tuple[str, ...]) -> Update:
    """Make the statement once: that takes longer than to run it, and it runs for every image."""
    return (
        update(JOBS)
        .where(JOBS.c.id == bindparam("of_job"), JOBS.c.fencing_token == bindparam("with_token"))
        .where(JOBS.c.state == JobState.LEASED.value)
        .values({name: bindparam(name) for name in columns})
    )


def return_jobs(session: Session, leases: Sequence[Lease], now: datetime) -> None:
    """Give back jobs that were not begun: they are pending again, at once.

    The attempt does not count, for the job had no part in ending it.
    """
    for held in sorted(leases, key=lambda held: held.job.position):
        if move_leased_job(
            session, held, JobState.PENDING, attempts=held.job.attempts - 1, **UNDISPATCHED
        ):
            close_attempt(session, held.attempt.id, AttemptOutcome.RETURNED, now)


UNDISPATCHED: dict[str, None] = {"chunk_id": None, "queue": None, "dispatched_at": None}
"""Values that put a job back in the dispatcher's sight."""


def close_attempt(
    session: Session, attempt_id: UUID, outcome: AttemptOutcome, now: datetime, **values: object
) -> None:
    """End an attempt that is still running; one that has ended keeps its outcome."""
    session.execute(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.outcome == AttemptOutcome.RUNNING)
        .values(outcome=outcome, finished_at=now, **values),
        execution_options={"synchronize_session": False},
    )


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
    settle_worker(session, worker_id)
    return len(lost)


def _lose(session: Session, jobs: Sequence[Job], now: datetime, max_attempts: int) -> None:
    """End the attempts at these leased jobs as lost, and retry or fail the jobs.

    A worker draws its chunk in order, so the device time between its last finished attempt
    and its last sign of life belongs to the first of the jobs that it left.
    """
    begun: set[UUID | None] = set()
    for job in sorted(jobs, key=lambda job: job.position):
        attempt = session.scalars(
            select(Attempt).where(
                Attempt.job_id == job.id, Attempt.fencing_token == job.fencing_token
            )
        ).one()
        was_begun = job.chunk_id not in begun
        begun.add(job.chunk_id)
        attempt.outcome = AttemptOutcome.LOST
        attempt.finished_at = now
        attempt.error_code = "worker_lost"
        attempt.error_message = "its worker stopped renewing the lease"
        device_ns = _time_until_last_sign_of_life(session, attempt) if was_begun else 0
        charge_loaded(session, attempt, LedgerKind.FAILED_ATTEMPT, device_ns, now)
        _retry_or_fail(job, attempt, now, max_attempts, counts=was_begun)
        note_move(session, job.batch_id, JobState.LEASED, JobState(job.state))


def _time_until_last_sign_of_life(session: Session, attempt: Attempt) -> int:
    worker = session.get_one(Worker, attempt.worker_id)
    measured = (AttemptOutcome.DONE, AttemptOutcome.FAILED)
    last_finish = session.scalar(
        select(Attempt.finished_at)
        .where(Attempt.chunk_id == attempt.chunk_id, Attempt.outcome.in_(measured))
        .order_by(Attempt.finished_at.desc())
        .limit(1)
    )
    begin = max(filter(None, (attempt.claimed_at, last_finish)))
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
