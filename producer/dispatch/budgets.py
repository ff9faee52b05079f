"""Batches that may cost only so much: no more of them is sent than that pays for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.dispatch.fairness import OpenBatch
from producer.dispatch.queries import batches_over_budget
from shared.db.batches import hold_for_budget, release_from_budget
from shared.db.budgets import Purse, purse_of
from shared.db.conditions import IS_SENT, of_batch
from shared.db.tables import Batch, Job
from shared.db.tallies import read_tally
from shared.domain.jobs import BatchControl, JobState

MOVED_AT_ONCE = 20_000
"""Jobs that one transaction holds or releases: nobody waits for long."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a look at the budgets has found."""

    to_hold: Sequence[UUID]
    """Batches whose money is spent and that have jobs pending."""
    to_release: Sequence[tuple[UUID, int]]
    """Batches that have money again, and for how many of their held jobs."""

    @property
    def finds_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_hold or self.to_release)


def look_at_budgets(
    session: Session, open_batches: Sequence[OpenBatch], only_batch: UUID | None, now: datetime
) -> tuple[Spending, list[OpenBatch]]:
    """See who has spent all, who has money again, and which batches can be sent from."""
    to_hold: list[UUID] = []
    can_be_sent: list[OpenBatch] = []
    for batch in open_batches:
        purse = purse_of(session, batch.id, now) if batch.is_limited else None
        if purse is not None and purse.is_spent:
            to_hold.append(batch.id)
        elif purse is None or _images_to_send(session, batch.id, purse):
            can_be_sent.append(batch)
    to_release = list(_to_release(session, only_batch, now))
    return Spending(to_hold, to_release), can_be_sent


def _to_release(
    session: Session, only_batch: UUID | None, now: datetime
) -> Iterator[tuple[UUID, int]]:
    for batch_id in batches_over_budget(session, only_batch):
        purse = purse_of(session, batch_id, now)
        if purse is None:
            yield batch_id, MOVED_AT_ONCE
            continue
        pending = read_tally(session, batch_id).counts[JobState.PENDING]
        if (more := purse.images - pending) > 0:
            yield batch_id, min(more, MOVED_AT_ONCE)


def act_on_budgets(session: Session, spending: Spending) -> None:
    """Hold what cannot be paid for, and let go of what can."""
    for batch_id in spending.to_hold:
        if batch := _active(session, batch_id):
            hold_for_budget(session, batch, MOVED_AT_ONCE)
    for batch_id, jobs in spending.to_release:
        if batch := _active(session, batch_id):
            release_from_budget(session, batch, jobs)


def _active(session: Session, batch_id: UUID) -> Batch | None:
    batch = session.get_one(Batch, batch_id, with_for_update=True, populate_existing=True)
    return None if batch.control == BatchControl.CANCELLED else batch


def images_to_send(session: Session, batch: OpenBatch, now: datetime, most: int) -> int:
    """Return how many jobs of a batch may go into the next chunk, no more than ``most``."""
    purse = purse_of(session, batch.id, now) if batch.is_limited else None
    return most if purse is None else min(most, _images_to_send(session, batch.id, purse))


def _images_to_send(session: Session, batch_id: UUID, purse: Purse) -> int:
    sent = select(func.count()).select_from(Job).where(IS_SENT, of_batch(batch_id))
    return max(0, purse.images - (session.scalar(sent) or 0))
