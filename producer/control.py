"""What an owner decides about a batch that is there: all of it, or some of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from producer.named_jobs import find_jobs
from shared.db.batches import (
    cancel_batch,
    cancel_job,
    reject_held,
    release_held,
    retry_failed,
    retry_job,
)
from shared.db.engine import Database
from shared.db.tables import Batch, Job

HELD_AT_ONCE = 20_000
"""Jobs that one transaction decides about."""

OfHeld = Callable[[Session, Batch, int, datetime], int]


def cancel(session: Session, batch: Batch, names: Sequence[str], now: datetime) -> int:
    """Call off what is not drawn yet of a batch, or of some of its jobs; returns how many.

    Args:
        session: writes.
        batch: which.
        names: jobs, by custom_id or position; none is all of it.
        now: the time, by the workers' clock.

    Raises:
        InputError: there is no such job.
    """
    if not names:
        return cancel_batch(session, batch, now)
    return sum(cancel_job(session, one, now) for one in _each(session, batch, names))


def retry(
    session: Session,
    batch: Batch,
    names: Sequence[str],
    now: datetime,
    *,
    error: str | None = None,
) -> int:
    """Try failed jobs again, or some that failed or were called off; returns how many.

    Args:
        session: writes.
        batch: which.
        names: jobs, by custom_id or position; none is all that failed.
        now: the time, by the workers' clock.
        error: of all that failed, those with this code.

    Raises:
        InputError: there is no such job, or the batch was called off.
    """
    if not names:
        count = retry_failed(session, batch, now, error)
    else:
        count = sum(retry_job(session, one, now) for one in _each(session, batch, names))
    if count:  # there will be another end to tell of
        batch.end_announced_at = None
        session.flush()
    return count


def approve(database: Database, batch_id: UUID) -> int:
    """Have what is held of a batch drawn; returns how many images.

    Raises:
        InputError: the batch was called off.
    """
    return _decide(
        database, batch_id, lambda session, batch, most, _now: release_held(session, batch, most)
    )


def reject(database: Database, batch_id: UUID) -> int:
    """Call off what is held of a batch; returns how many images.

    Raises:
        InputError: the batch was called off.
    """
    return _decide(database, batch_id, reject_held)


def _decide(database: Database, batch_id: UUID, decide: OfHeld) -> int:
    """Decide about the held jobs of a batch, some at a time: nobody waits long, all can go on."""
    count = 0
    while True:
        with database.write() as session:
            batch = session.get_one(Batch, batch_id)
            decided = decide(session, batch, HELD_AT_ONCE, database.now(session))
        count += decided
        if decided < HELD_AT_ONCE:
            return count


def _each(session: Session, batch: Batch, names: Sequence[str]) -> Iterator[Job]:
    """Yield the jobs in order of position, which is the order everybody locks them in."""
    found = {job.position: job for name in names for job in find_jobs(session, batch, name)}
    for position in sorted(found):
        yield found[position]
