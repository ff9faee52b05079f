"""Why an unfinished batch is in nobody's hands, in a sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.dispatch.queries import unsent_sizes
from producer.dispatch.queues import read_readers
from shared.db.batches import is_finished
from shared.db.budgets import purse_of
from shared.db.conditions import IS_LEASED, IS_OVER_BUDGET, IS_SENT, IS_UNSENT, of_batch
from shared.db.fleet import Crew
from shared.db.tables import Batch, Job
from shared.domain.jobs import BatchControl, JobState
from shared.domain.money import format_dollars
from shared.domain.sizes import Size, Sizes, cannot_draw, how_to_compile

DISPATCHER_SILENCE = timedelta(seconds=5)
"""A dispatcher looks several times a second; it sends again what nobody took after 5 s."""


MORE_TO_COME = "It is not submitted to its end: if that was cut off, the same submit goes on."


def why_idle(
    session: Session,
    batch: Batch,
    counts: Mapping[JobState, int],
    workers: Crew,
    now: datetime,
    silence: timedelta,
) -> str | None:
    """Explain; None when somebody has a job of the batch, or all of them have ended.

    Args:
        session: where to look.
        batch: the batch.
        counts: its jobs by state.
        workers: those that are alive and have its model.
        now: the time.
        silence: after which a worker is not alive any more.
    """
    if counts[JobState.LEASED]:
        return None
    if is_finished(counts):
        return None if batch.submitted_at else MORE_TO_COME
    if batch.control == BatchControl.PAUSED:
        return f"It is paused: tenstep resume {batch.id} goes on."
    if not counts[JobState.PENDING]:
        return _why_held(session, batch, counts[JobState.HELD], now)
    if not workers.ready:
        return _why_nobody(batch.model, workers)
    return _why_undrawable(session, batch, now, silence) or _why_pending(session, batch, now)


def _why_nobody(model: str, workers: Crew) -> str:
    if workers.drained:
        return (
            f"Every worker with the model {model} that is alive is drained: tenstep workers resume "
            "WORKER has one take jobs again, tenstep workers list shows them."
        )
    return (
        f"No worker with the model {model} is alive: start one with tenstep worker --model {model}."
    )


def _why_undrawable(
    session: Session, batch: Batch, now: datetime, silence: timedelta
) -> str | None:
    drawn = _drawn_sizes(session, batch.model, now, silence)
    if drawn is None:
        return None
    waiting = unsent_sizes(session, batch.id)
    return None if not waiting or waiting & drawn else _cannot_draw(batch.model, waiting, drawn)


def why_size_is_not_drawn(
    session: Session, model: str, size: Size, now: datetime, silence: timedelta
) -> str | None:
    """Explain why no queue gets jobs of a size; None if one does, or nobody is alive."""
    drawn = _drawn_sizes(session, model, now, silence)
    return None if drawn is None or size in drawn else _cannot_draw(model, [size], drawn)


def _drawn_sizes(session: Session, model: str, now: datetime, silence: timedelta) -> Sizes:
    """Return the sizes of which a dispatcher sends jobs to some queue; None is any."""
    readers = read_readers(session, now, silence)
    sizes = [reading.sizes for reading in readers if reading.model == model]
    if not sizes or None in sizes:
        return None
    return frozenset(size for of_queue in sizes for size in of_queue or ())


def _cannot_draw(model: str, wanted: Collection[Size], drawn: Collection[Size]) -> str:
    reason = cannot_draw(wanted, drawn)
    return f"{reason[0].upper()}{reason[1:]}. {how_to_compile(model, min(wanted))}."


def _why_held(session: Session, batch: Batch, jobs: int, now: datetime) -> str:
    over_budget = select(Job.id).where(Job.batch_id == batch.id, IS_OVER_BUDGET)
    if session.scalar(over_budget.limit(1)) is not None:
        return f"The {jobs:,} jobs left are held: {money_is_spent(session, batch, now)}"
    return (
        f"The {jobs:,} jobs left are held: "
        f"tenstep approve {batch.id} has them drawn, tenstep reject {batch.id} calls them off."
    )


def money_is_spent(session: Session, batch: Batch, now: datetime) -> str:
    """Say whose budget is spent, and how to go on."""
    purse = purse_of(session, batch.id, now)
    if purse is None:
        return "their budget was lifted, and a dispatcher lets them go on."
    whose, how = (
        ("the batch", f"tenstep budget {batch.id}")
        if purse.tenant is None
        else (f"tenant {purse.tenant}", f"tenstep budget --tenant {purse.tenant}")
    )
    return (
        f"of the {format_dollars(purse.max_nanodollars)} of {whose} "
        f"{format_dollars(purse.spent_nanodollars)} are spent; "
        f"{how} --max-cost USD raises it."
    )


def _why_pending(session: Session, batch: Batch, now: datetime) -> str | None:
    sent = select(Job.id).where(of_batch(batch.id), IS_SENT)
    if session.scalar(sent.limit(1)) is not None:
        return "Its jobs are in the queue; a worker has not taken one yet."
    unsent = select(Job.not_before).where(Job.batch_id == batch.id, IS_UNSENT)
    is_new = session.execute(unsent.where(Job.not_before.is_(None)).limit(1)).first() is not None
    first_again = session.scalar(unsent.order_by(Job.not_before, Job.position).limit(1))
    if not is_new and first_again is not None and first_again > now:
        seconds = (first_again - now).total_seconds()
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
    return any(
        session.scalar(others.where(under_way).limit(1)) is not None
        for under_way in (IS_LEASED, IS_SENT)
    )
