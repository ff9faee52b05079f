"""Batches and their jobs: found, counted, paused, called off, tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, and_, func, literal, select, true, update
from sqlalchemy.orm import Session

from shared.db.conditions import (
    IS_FAILED,
    IS_HELD,
    IS_OVER_BUDGET,
    IS_PENDING,
    IS_SENT,
    IS_UNSENT,
)
from shared.db.details import require_details
from shared.db.leases import UNDISPATCHED, locked
from shared.db.tables import Attempt, Batch, Job
from shared.db.tallies import note_move, read_tally
from shared.domain.jobs import (
    FINAL_STATES,
    AttemptOutcome,
    BatchControl,
    HeldFor,
    JobState,
    origins,
)
from shared.errors import InputError

AWAITS_APPROVAL = and_(IS_HELD, Job.held_for.is_(None))
UNSYNCHRONIZED = {"synchronize_session": False}
FREED: dict[str, None] = {"worker_id": None, "lease_expires_at": None}


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
    return read_tally(session, batch_id).counts


def is_finished(counts: Mapping[JobState, int]) -> bool:
    """Tell whether every job has come to its end."""
    return all(count == 0 for state, count in counts.items() if state not in FINAL_STATES)


def set_control(session: Session, batch: Batch, control: BatchControl) -> None:
    """Pause or resume a batch. Jobs in a worker's hands are finished.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    batch.control = control
    session.flush()
    if control is not BatchControl.ACTIVE:
        sent = locked(Job.batch_id == batch.id, IS_SENT)
        session.execute(
            update(Job).where(Job.id.in_(sent), IS_SENT).values(**UNDISPATCHED),
            execution_options=UNSYNCHRONIZED,
        )


def cancel_batch(session: Session, batch: Batch, now: datetime) -> int:
    """Call off every job that has not ended; returns how many. Images drawn so far stay.

    Raises:
        DetailsDroppedError: its jobs were removed, long after the last of them ended.
    """
    session.refresh(batch, with_for_update=True)
    require_details(batch).control = BatchControl.CANCELLED
    session.flush()
    cancelled = _move(session, batch.id, true(), JobState.CANCELLED, finished_at=now, **FREED)
    session.execute(
        update(Attempt)
        .where(Attempt.batch_id == batch.id, Attempt.outcome == AttemptOutcome.RUNNING)
        .values(outcome=AttemptOutcome.CANCELLED, finished_at=now),
        execution_options=UNSYNCHRONIZED,
    )
    return cancelled


def cancel_job(session: Session, job: Job, now: datetime) -> bool:
    """Call off one job; False when it has ended already."""
    this = Job.id == job.id
    cancelled = _move(session, job.batch_id, this, JobState.CANCELLED, finished_at=now, **FREED)
    if cancelled:
        session.execute(
            update(Attempt)
            .where(Attempt.job_id == job.id, Attempt.outcome == AttemptOutcome.RUNNING)
            .values(outcome=AttemptOutcome.CANCELLED, finished_at=now),
            execution_options=UNSYNCHRONIZED,
        )
    return bool(cancelled)


def retry_failed(
    session: Session, batch: Batch, now: datetime, error_code: str | None = None
) -> int:
    """Try every failed job of a batch again, or those with one error; returns how many.

    Each may be tried as often as a new one. They go before the jobs that were not tried
    yet, when the batch is not paused.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    alike = true() if error_code is None else Job.error_code == error_code
    return _move(session, batch.id, and_(IS_FAILED, alike), JobState.PENDING, **_anew(now))


def retry_job(session: Session, job: Job, now: datetime) -> bool:
    """Try one job again that failed or that was called off; False when it did neither.

    Raises:
        InputError: its whole batch was called off.
    """
    _lock(session, session.get_one(Batch, job.batch_id))
    ended = and_(Job.id == job.id, Job.state.in_(FINAL_STATES))
    return bool(_move(session, job.batch_id, ended, JobState.PENDING, **_anew(now)))


def release_held(session: Session, batch: Batch, most: int) -> int:
    """Have the first of a batch's jobs that wait for approval drawn; returns how many.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    which = _first(session, batch, AWAITS_APPROVAL, most)
    return _move(session, batch.id, which, JobState.PENDING)


def release_positions(session: Session, batch: Batch, positions: Sequence[int]) -> int:
    """Have jobs at these positions drawn that wait for approval; returns how many.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    chosen = and_(AWAITS_APPROVAL, Job.position.in_(positions))
    return _move(session, batch.id, chosen, JobState.PENDING)


def reject_held(session: Session, batch: Batch, most: int, now: datetime) -> int:
    """Call off the first of a batch's jobs that wait for approval; returns how many.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    held = _first(session, batch, AWAITS_APPROVAL, most)
    return _move(session, batch.id, held, JobState.CANCELLED, finished_at=now)


def hold_for_budget(session: Session, batch: Batch, most: int) -> int:
    """Hold some of a batch's pending jobs until there is money for them; returns how many.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    new = and_(IS_UNSENT, Job.not_before.is_(None))
    order = (Job.batch_id, Job.not_before, Job.position)  # their index's
    unsent = select(Job.position).where(Job.batch_id == batch.id, new).order_by(*order)
    first = session.scalar(unsent.limit(1))
    which = IS_PENDING
    if first is not None:
        which = and_(which, Job.position.between(first, first + most - 1))
    return _move(session, batch.id, which, JobState.HELD, held_for=HeldFor.BUDGET)


def release_from_budget(session: Session, batch: Batch, most: int) -> int:
    """Have the first of a batch's jobs that were held for want of money drawn.

    Returns:
        How many.

    Raises:
        InputError: the batch was called off.
    """
    _lock(session, batch)
    which = _first(session, batch, IS_OVER_BUDGET, most)
    return _move(session, batch.id, which, JobState.PENDING)


def _first(
    session: Session, batch: Batch, condition: ColumnElement[bool], most: int
) -> ColumnElement[bool]:
    """Describe some jobs by their positions: so many ids would be a long statement."""
    some = (
        select(Job.position)
        .where(Job.batch_id == batch.id, condition)
        .order_by(Job.position)
        .limit(most)
        .subquery()
    )
    last = session.scalar(select(func.max(some.c.position)))
    return and_(condition, Job.position <= (-1 if last is None else last))


def _lock(session: Session, batch: Batch) -> None:
    """Keep out whoever else would change the batch, and look at it as it is by then."""
    session.refresh(batch, with_for_update=True)
    require_details(batch)
    if batch.control == BatchControl.CANCELLED:
        raise InputError(f"batch {batch.id} was cancelled")


def _move(
    session: Session,
    batch_id: UUID,
    which: ColumnElement[bool],
    target: JobState,
    **values: object,
) -> int:
    """Move a batch's jobs to a state from wherever that is a legal move; returns how many."""
    ours = and_(Job.batch_id == batch_id, which)
    can_move = locked(ours, Job.state.in_(origins(target))).subquery()
    # Locked all at once: of two statements each might miss what goes from one to the other.
    session.execute(select(func.count()).select_from(can_move))
    moved = 0
    for origin in sorted(origins(target)):
        is_there = Job.state == literal(origin.value, literal_execute=True)
        result = session.execute(
            update(Job)
            .where(Job.id.in_(locked(ours, is_there)), ours, is_there)
            .values({"state": target, "held_for": None, **UNDISPATCHED, **values}),
            execution_options=UNSYNCHRONIZED,
        )
        jobs = cast("CursorResult[Any]", result).rowcount
        note_move(session, batch_id, origin, target, jobs)
        moved += jobs
    session.expire_all()
    return moved


def _anew(now: datetime) -> dict[str, object]:
    return {
        "attempts": 0,
        "not_before": now,
        "error_code": None,
        "error_message": None,
        "finished_at": None,
    }
