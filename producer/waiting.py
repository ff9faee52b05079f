"""Why a job is in nobody's hands, in a sentence."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.idle import money_is_spent, why_idle, why_size_is_not_drawn
from shared.db.conditions import IS_LEASED, IS_SENT, of_batch
from shared.db.fleet import count_workers
from shared.db.tables import Batch, Job
from shared.domain.jobs import BatchControl, HeldFor, JobState
from shared.settings import Settings


def why_waiting(
    session: Session, batch: Batch, job: Job, settings: Settings, now: datetime
) -> str | None:
    """Explain; None when a worker has the job, or it has come to its end."""
    match job.state:
        case JobState.HELD if job.held_for == HeldFor.BUDGET:
            return f"It is held: {money_is_spent(session, batch, now)}"
        case JobState.HELD:
            return (
                f"It is held, waiting for approval: tenstep approve {batch.id} has it drawn, "
                f"tenstep reject {batch.id} calls it off."
            )
        case JobState.LEASED:
            return _why_leased(job, now)
        case JobState.PENDING:
            return _why_pending(session, batch, job, settings, now)
        case _:
            return None


def _why_pending(
    session: Session, batch: Batch, job: Job, settings: Settings, now: datetime
) -> str | None:
    if batch.control == BatchControl.PAUSED:
        return f"Its batch is paused: tenstep resume {batch.id} goes on."
    if job.not_before is not None and job.not_before > now:
        return f"It failed and is tried again {_until(job.not_before, now)}."
    silence = timedelta(seconds=settings.lease_seconds)
    workers = count_workers(session, now, silence, batch.model)
    if workers.ready and job.chunk_id is not None:
        return f"It is in the queue {job.queue}{_since(job.dispatched_at, now)}; no worker took it."
    if not_drawn := why_size_is_not_drawn(
        session, batch.model, (job.width, job.height), now, silence
    ):
        return not_drawn
    if workers.ready and _others_go_first(session, batch):
        return "Other jobs of its batch go first."
    alone = {**dict.fromkeys(JobState, 0), JobState.PENDING: 1}
    return why_idle(session, batch, alone, workers, now, silence)


def _why_leased(job: Job, now: datetime) -> str | None:
    if job.lease_expires_at is None or job.lease_expires_at > now:
        return None
    silent = _since(job.lease_expires_at, now)
    return f"Its worker has not renewed its lease, which is over{silent}; it goes to another one."


def _others_go_first(session: Session, batch: Batch) -> bool:
    """Tell whether jobs of its batch are in a queue or in somebody's hands."""
    return any(
        session.scalar(select(Job.id).where(under_way, of_batch(batch.id)).limit(1)) is not None
        for under_way in (IS_LEASED, IS_SENT)
    )


def _until(moment: datetime, now: datetime) -> str:
    return f"at {moment:%H:%M:%S} UTC, in {(moment - now).total_seconds():,.0f} s"


def _since(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    return f" since {moment:%H:%M:%S} UTC, for {(now - moment).total_seconds():,.0f} s"
