"""A worker's claim on jobs: taken, renewed, given back, or expired.

Every change is a compare-and-set on the job's state and fencing token, so that a message
that arrives twice, or a worker that wakes after its lease has ended, changes nothing.

Nobody here waits for somebody else's lock on several jobs: what is locked is skipped, or it
is locked in the order of the positions. So no two can wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from shared.db.attempt_costs import AttemptToCharge
from shared.db.budgets import purse_of
from shared.db.prices import price_in_force
from shared.db.settlement import settle_now_and_then
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import note_move
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState, origins
from shared.domain.money import nanoseconds

JOBS = cast("Table", Job.__table__)
WORKERS = cast("Table", Worker.__table__)
UNDISPATCHED: dict[str, None] = {"chunk_id": None, "queue": None, "dispatched_at": None}
"""Values that put a job back in the dispatcher's sight."""


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
    session: Session,
    chunk_id: UUID,
    worker_id: UUID,
    now: datetime,
    lease: timedelta,
    *,
    batch_id: UUID | None = None,
) -> list[Lease]:
    """Lease what is still pending of a chunk, in order; counts the attempts.

    Returns nothing when the message is a duplicate, or its batch is paused or called off. Of a
    batch that may cost only so much it leases no more than that pays for; the rest of the
    chunk goes back to the dispatcher.

    Args:
        session: writes.
        chunk_id: the chunk.
        worker_id: who claims it.
        now: when this is.
        lease: how long the claim lasts without a heartbeat.
        batch_id: the chunk's batch, where that is known; else it is looked up.

    Raises:
        MissingPriceError: the worker's device has no price.
    """
    leases = _lease_chunk(session, chunk_id, worker_id, now, lease, batch_id)
    # Last, for while it is not committed the worker's next chunk cannot begin: it is noted there.
    session.connection().execute(NOTE_CLAIM, {"of_worker": worker_id, "at": now})
    return leases


def _lease_chunk(
    session: Session,
    chunk_id: UUID,
    worker_id: UUID,
    now: datetime,
    lease: timedelta,
    batch_id: UUID | None,
) -> list[Lease]:
    connection = session.connection()
    worker = connection.execute(CLAIMANT, {"of_worker": worker_id}).one()
    of_chunk = {"of_chunk": chunk_id}
    batch_id = batch_id or connection.scalar(BATCH_OF_CHUNK, of_chunk)
    purse = batch_id and purse_of(session, batch_id, now, lock=True)
    most = {"most": purse.images} if purse else {}
    jobs = session.scalars(
        _leasing(is_limited=bool(purse)),
        {"by_worker": worker_id, "until": now + lease, **of_chunk, **most},
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).all()
    if purse:
        unpaid = locked(IN_THE_CHUNK, skip=True)
        session.execute(
            update(Job).where(Job.id.in_(unpaid), IN_THE_CHUNK).values(**UNDISPATCHED),
            of_chunk,
            execution_options={"synchronize_session": False},
        )
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
    note_move(session, leases[0].job.batch_id, JobState.PENDING, JobState.LEASED, len(leases))
    connection.execute(INSERT_ATTEMPT, [_first_record(held, worker, now) for held in leases])
    session.expunge_all()
    return leases


NOTE_CLAIM = (
    update(WORKERS)
    .where(WORKERS.c.id == bindparam("of_worker"))
    .values(
        last_claim_at=bindparam("at"),
        heartbeat_at=case(
            (WORKERS.c.heartbeat_at > bindparam("at"), WORKERS.c.heartbeat_at),
            else_=bindparam("at"),
        ),
    )
)
CLAIMANT = select(
    WORKERS.c.id, WORKERS.c.device_kind, WORKERS.c.device_sku, WORKERS.c.device_name
).where(WORKERS.c.id == bindparam("of_worker"))
"""Made once, as are the others: that takes longer than to run it."""
INSERT_ATTEMPT = insert(cast("Table", Attempt.__table__))
IN_THE_CHUNK = and_(Job.chunk_id == bindparam("of_chunk"), Job.state.in_(origins(JobState.LEASED)))
"""Jobs of a chunk that can be leased, whatever became of their batch."""
BATCH_OF_CHUNK = select(Job.batch_id).where(IN_THE_CHUNK).limit(1)


@cache
def _leasing(*, is_limited: bool) -> ReturningUpdate[Job]:
    """Make the statement once: that takes longer than to run it, and it runs for every chunk."""
    # One value a job: as a join, Postgres might go from all active batches to their jobs.
    control = select(Batch.control).where(Batch.id == Job.batch_id).scalar_subquery()
    free = locked(IN_THE_CHUNK, control == BatchControl.ACTIVE, skip=True)
    if is_limited:
        free = free.limit(bindparam("most", type_=Integer))
    return (
        update(Job)
        .where(Job.id.in_(free), IN_THE_CHUNK)
        .values(
            state=JobState.LEASED,
            attempts=Job.attempts + 1,
            fencing_token=Job.fencing_token + 1,
            worker_id=bindparam("by_worker"),
            lease_expires_at=bindparam("until"),
        )
        .returning(Job)
    )


def _first_record(held: Lease, worker: Row[Any, Any, Any, Any], now: datetime) -> dict[str, object]:
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
    session: Session, in_hand: Mapping[UUID, Sequence[UUID]], now: datetime, lease: timedelta
) -> None:
    """Record that workers live, and renew their leases on what they have in hand.

    One that has nothing in hand has its idle time booked now and then.

    Other jobs that the books say a worker holds it has lost sight of, such as those whose end
    it could not write down: their leases must run out.

    Args:
        session: writes.
        in_hand: the chunks of each worker.
        now: when this is.
        lease: how long they hold from now on.
    """
    chunk_ids = [chunk_id for chunks in in_hand.values() for chunk_id in chunks]
    if chunk_ids:
        # Jobs of a chunk that went to somebody else meanwhile have another worker.
        ours = locked(
            Job.chunk_id.in_(chunk_ids),
            Job.worker_id.in_(in_hand),
            Job.state == JobState.LEASED,
            skip=True,
        )
        session.execute(
            update(Job).where(Job.id.in_(ours)).values(lease_expires_at=now + lease),
            execution_options={"synchronize_session": False},
        )
    # As late as can be: what is locked here, no chunk can begin on.
    session.execute(
        update(Worker).where(Worker.id.in_(in_hand)).values(heartbeat_at=now),
        execution_options={"synchronize_session": False},
    )
    for worker_id, chunks in in_hand.items():
        if not chunks:
            settle_now_and_then(session, worker_id, now)


STILL_LEASED = select(JOBS.c.id, JOBS.c.fencing_token).where(
    JOBS.c.id.in_(bindparam("of_jobs", expanding=True)), JOBS.c.state == JobState.LEASED.value
)
"""Made once: that takes longer than to run it."""


def still_held(session: Session, held: Sequence[Lease]) -> set[UUID]:
    """Return the ids of the jobs that these leases still cover: not cancelled, not expired."""
    tokens = {lease.job.id: lease.fencing_token for lease in held}
    rows = session.connection().execute(STILL_LEASED, {"of_jobs": list(tokens)})
    return {job_id for job_id, token in rows if tokens[job_id] == token}


def move_leased_job(session: Session, held: Lease, target: JobState, **values: object) -> bool:
    """Move a job out of its lease, if this lease still covers it.

    Returns:
        False when it does not: somebody else has the job, or it was called off.
    """
    changes = lease_left(held, target, values)
    moved = session.connection().execute(move_out_of_lease(changes), changes)
    is_ours = moved.rowcount == 1
    if is_ours:
        note_move(session, held.job.batch_id, JobState.LEASED, target)
    return is_ours


def lease_left(held: Lease, target: JobState, values: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters with which `move_out_of_lease` ends a lease."""
    return {
        "of_job": held.job.id,
        "with_token": held.fencing_token,
        "state": target.value,
        "lease_expires_at": None,
        "worker_id": None,
        **values,
    }


def move_out_of_lease(parameters: Mapping[str, object]) -> Update:
    """Return the statement that takes some parameters: it moves a job whose lease still holds."""
    return _move_out_of_lease(tuple(parameters)[2:])


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
