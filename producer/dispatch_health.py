"""Whether a dispatcher works, and whether it keeps up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.conditions import IS_SENT
from shared.db.leadership import DISPATCHER
from shared.db.tables import Job, Leadership
from shared.db.tallies import count_unfolded

MOST_UNFOLDED = 10_000
"""Tallies that are counted: a dispatcher that keeps up leaves 200."""


class Sent(NamedTuple):
    """What waits in a queue, as SQL has it."""

    jobs: int
    chunks: int


@dataclass(frozen=True, slots=True)
class DispatchHealth:
    """The dispatcher at one moment."""

    is_leading: bool
    """Whether one has the lead."""
    silence: timedelta | None
    """Since when the last one gave no sign of life; None where the last one ended in good order.

    A dispatcher that works gives one each third of its lease.
    """
    unfolded_tallies: int
    """No further than 10,000."""
    sent: Mapping[str, Sent]
    """Jobs that were sent and that no worker has claimed, by queue: a few for each worker."""


def read_dispatch_health(session: Session, lease_seconds: float, now: datetime) -> DispatchHealth:
    """Look at the dispatcher.

    Args:
        session: reads.
        lease_seconds: for how long it leads after each sign of life.
        now: as the database tells it.
    """
    expires_at = session.scalar(select(Leadership.expires_at).where(Leadership.name == DISPATCHER))
    silence = None
    if expires_at is not None:
        silence = max(timedelta(), now - (expires_at - timedelta(seconds=lease_seconds)))
    counts = (func.count(), func.count(Job.chunk_id.distinct()))
    waiting = select(Job.queue, *counts).where(IS_SENT, Job.queue.is_not(None)).group_by(Job.queue)
    return DispatchHealth(
        expires_at is not None and expires_at > now,
        silence,
        count_unfolded(session, MOST_UNFOLDED),
        {str(queue): Sent(jobs, chunks) for queue, jobs, chunks in session.execute(waiting)},
    )
