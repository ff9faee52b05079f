"""Why an unfinished batch is in nobody's hands, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shared.db.batches import is_finished
from shared.db.tables import Batch, Job, Worker
from shared.domain.jobs import BatchControl, JobState

DISPATCHER_SILENCE = timedelta(seconds=5)
"""A dispatcher looks several times a second; it sends again what nobody took after 5 s."""


def why_idle(
    session: Session,
    batch: Batch,
    counts: Mapping[JobState, int],
    workers: Sequence[Worker],
    now: datetime,
) -> str | None:
    """Explain; None when somebody has a job of the batch, or all of them have ended.

    Args:
        session: where to look.
        batch: the batch.
        counts: its jobs by state.
        workers: those alive that have its model.
        now: the time.
    """
    if counts[JobState.LEASED] or is_finished(counts):
        return None
    if batch.control == BatchControl.PAUSED:
        return f"It is paused: tenstep resume {batch.id} goes on."
    if not counts[JobState.PENDING]:
        return f"The {counts[JobState.HELD]} jobs left are held, waiting for a decision."
    if not workers:
        return (
            f"No worker with the model {batch.model} is alive: start one with "
            f"tenstep worker --model {batch.model}."
        )
    return _why_pending(session, batch, now)


def _why_pending(session: Session, batch: Batch, now: datetime) -> str | None:
    pending = select(func.count()).where(Job.batch_id == batch.id, Job.state == JobState.PENDING)
    if session.scalar(pending.where(Job.chunk_id.is_not(None))):
        return "Its jobs are in the queue; a worker has not taken one yet."
    ready = or_(Job.not_before.is_(None), Job.not_before <= now)
    if not session.scalar(pending.where(ready)):
        again = session.scalar(
            select(func.min(Job.not_before)).where(
                Job.batch_id == batch.id, Job.state == JobState.PENDING
            )
        )
        seconds = (again - now).total_seconds() if again else 0
        return f"Its jobs failed and are tried again, the first in {seconds:.0f} s."
    if _others_are_served(session, batch):
        return "Other batches are served first."
    if now - batch.created_at < DISPATCHER_SILENCE:
        return "It was submitted a moment ago."
    return "No dispatcher sends its jobs to the workers: start one with tenstep dispatch."


def _others_are_served(session: Session, batch: Batch) -> bool:
    others = (
        select(Job.id)
        .join(Batch, Batch.id == Job.batch_id)
        .where(Batch.id != batch.id, Batch.model == batch.model)
    )
    leased = others.where(Job.state == JobState.LEASED)
    sent = others.where(Job.state == JobState.PENDING, Job.chunk_id.is_not(None))
    return session.scalar(leased.limit(1)) is not None or session.scalar(sent.limit(1)) is not None
