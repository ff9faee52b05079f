"""A worker's claim on the jobs of a chunk."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    Integer,
    Row,
    Table,
    and_,
    bindparam,
    case,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from shared.db.attempt_costs import AttemptToCharge
from shared.db.budgets import purse_of
from shared.db.leases import JOBS, UNDISPATCHED, ClaimedJob, Lease, locked
from shared.db.many_rows import insert_each
from shared.db.prices import MissingPriceError, price_of
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import note_move
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState, origins
from shared.domain.money import nanoseconds

WORKERS = cast("Table", Worker.__table__)
ATTEMPTS = cast("Table", Attempt.__table__)


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

    Returns nothing when the message is a duplicate, its batch is paused or called off, or the
    worker drains. Of a batch that may cost only so much it leases no more than that pays for;
    the rest of the chunk goes back to the dispatcher.

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
    worker = connection.execute(CLAIMANT, {"of_worker": worker_id, "at": now}).one()
    if worker.draining:
        return []
    of_chunk = {"of_chunk": chunk_id}
    batch_id = batch_id or connection.scalar(BATCH_OF_CHUNK, of_chunk)
    purse = batch_id and purse_of(session, batch_id, now, lock=True)
    most = {"most": purse.images} if purse else {}
    leased = connection.execute(
        _leasing(is_limited=bool(purse)),
        {"by_worker": worker_id, "until": now + lease, **of_chunk, **most},
    ).all()
    if purse:
        unpaid = locked(IN_THE_CHUNK, skip=True)
        session.execute(
            update(Job).where(Job.id.in_(unpaid), IN_THE_CHUNK).values(**UNDISPATCHED),
            of_chunk,
            execution_options={"synchronize_session": False},
        )
    if not leased:
        return []
    if worker.nanodollars_per_hour is None:
        raise MissingPriceError(worker.device_kind, worker.device_sku)
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
                nanodollars_per_hour=worker.nanodollars_per_hour,
            ),
        )
        for job in sorted(map(ClaimedJob._make, leased), key=lambda job: job.position)
    ]
    note_move(session, leases[0].job.batch_id, JobState.PENDING, JobState.LEASED, len(leases))
    insert_each(connection, ATTEMPTS, [_first_record(held, worker, now) for held in leases])
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
    WORKERS.c.id,
    WORKERS.c.draining,
    WORKERS.c.device_kind,
    WORKERS.c.device_sku,
    WORKERS.c.device_name,
    price_of(WORKERS.c.device_kind, WORKERS.c.device_sku).label("nanodollars_per_hour"),
).where(WORKERS.c.id == bindparam("of_worker"))
"""Made once, as are the others: that takes longer than to run it."""
IN_THE_CHUNK = and_(Job.chunk_id == bindparam("of_chunk"), Job.state.in_(origins(JobState.LEASED)))
"""Jobs of a chunk that can be leased, whatever became of their batch."""
BATCH_OF_CHUNK = select(Job.batch_id).where(IN_THE_CHUNK).limit(1)


@cache
def _leasing(*, is_limited: bool) -> ReturningUpdate[Any]:
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
        .returning(*(JOBS.c[name] for name in ClaimedJob._fields))
    )


def _first_record(held: Lease, worker: Row[Any], now: datetime) -> dict[str, object]:
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
