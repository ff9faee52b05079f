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
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Update,
    bindparam,
    select,
    update,
)
from sqlalchemy.orm import Session

from shared.db.attempt_costs import AttemptToCharge
from shared.db.settlement import settle_now_and_then
from shared.db.tables import Attempt, Job, Worker
from shared.db.tallies import note_move
from shared.domain.jobs import AttemptOutcome, JobState

JOBS = cast("Table", Job.__table__)
UNDISPATCHED: dict[str, None] = {"chunk_id": None, "queue": None, "dispatched_at": None}
"""Values that put a job back in the dispatcher's sight."""


class ClaimedJob(NamedTuple):
    """What a worker knows of a job, by the columns' names: what to draw, and for which claim."""

    id: UUID
    batch_id: UUID
    chunk_id: UUID
    position: int
    attempts: int
    fencing_token: int
    dispatched_at: datetime | None
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    scheduler: str
    squeeze: str | None
    guidance_scale: float
    guidance_rescale: float
    quality: str


@dataclass(frozen=True, slots=True)
class Lease:
    """One job in a worker's hands."""

    job: ClaimedJob
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


LEASE_KEYS = {"of_job": "id", "with_token": "fencing_token"}
"""The columns that the parameters of `move_out_of_lease` are compared with."""
IN_ORDER = (
    select(JOBS.c.id)
    .where(JOBS.c.id.in_(bindparam("of_jobs", expanding=True)))
    .order_by(JOBS.c.batch_id, JOBS.c.position)
    .with_for_update()
)


def lock_in_order(connection: Connection, held: Sequence[Lease]) -> None:
    """Lock jobs, whatever has become of them, before all of them are changed at once."""
    connection.execute(IN_ORDER, {"of_jobs": [lease.job.id for lease in held]})


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
