"""Batches: found, counted, paused, called off."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.db.leases import UNDISPATCHED
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import (
    FINAL_STATES,
    AttemptOutcome,
    BatchControl,
    JobState,
    origins,
)
from shared.errors import InputError


def find_batch(session: Session, reference: str | None) -> Batch:
    """Return a batch by its id, by the start of its id, or the newest.

    Raises:
        InputError: there is none, or the start fits several.
    """
    if reference is None:
        newest = session.scalar(select(Batch).order_by(Batch.id.desc()).limit(1))
        if newest is None:
            raise InputError("there is no batch yet", hint="Submit one: tenstep submit FILE")
        return newest
    found = _by_start(session, reference)
    if not found:
        raise InputError(f"no batch {reference}", hint="tenstep status --all lists the batches.")
    if len(found) > 1:
        raise InputError(f"{reference} is the start of several batch ids: give more of it")
    return found[0]


def _by_start(session: Session, reference: str) -> list[Batch]:
    digits = reference.replace("-", "").lower()
    try:
        low, high = (UUID(digits.ljust(32, filler)) for filler in "0f")
    except ValueError:
        return []
    return list(session.scalars(select(Batch).where(Batch.id.between(low, high)).limit(2)))


def count_jobs(session: Session, batch_id: UUID) -> Mapping[JobState, int]:
    """Count a batch's jobs by state; every state is a key."""
    rows = session.execute(
        select(Job.state, func.count()).where(Job.batch_id == batch_id).group_by(Job.state)
    )
    counted = {JobState(state): count for state, count in rows}
    return {state: counted.get(state, 0) for state in JobState}


def is_finished(counts: Mapping[JobState, int]) -> bool:
    """Tell whether every job has come to its end."""
    return all(count == 0 for state, count in counts.items() if state not in FINAL_STATES)


def set_control(session: Session, batch: Batch, control: BatchControl) -> None:
    """Pause or resume a batch. Jobs in a worker's hands are finished.

    Raises:
        InputError: the batch was called off.
    """
    if batch.control == BatchControl.CANCELLED:
        raise InputError(f"batch {batch.id} was cancelled")
    batch.control = control
    if control is not BatchControl.ACTIVE:
        session.execute(
            update(Job)
            .where(Job.batch_id == batch.id, Job.state == JobState.PENDING)
            .values(**UNDISPATCHED)
        )


def cancel_batch(session: Session, batch: Batch, now: datetime) -> int:
    """Call off every job that has not ended; returns how many. Images drawn so far stay."""
    batch.control = BatchControl.CANCELLED
    session.flush()
    cancelled = session.scalars(
        update(Job)
        .where(Job.batch_id == batch.id, Job.state.in_(origins(JobState.CANCELLED)))
        .values(
            state=JobState.CANCELLED,
            worker_id=None,
            lease_expires_at=None,
            finished_at=now,
            **UNDISPATCHED,
        )
        .returning(Job.id),
        execution_options={"synchronize_session": False},
    ).all()
    session.execute(
        update(Attempt)
        .where(Attempt.batch_id == batch.id, Attempt.outcome == AttemptOutcome.RUNNING)
        .values(outcome=AttemptOutcome.CANCELLED, finished_at=now),
        execution_options={"synchronize_session": False},
    )
    return len(cancelled)
