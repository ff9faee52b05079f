"""What a dispatcher does besides sending jobs: sums, idle time, budgets, storage, backlog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from producer.dispatch.backlog_rows import rewrite_backlog
from producer.dispatch.budgets import Spending, act_on_budgets
from shared.db.activity import prune_activity
from shared.db.engine import Database
from shared.db.settlement import settle_worker, unsettled_workers
from shared.db.storage_costs import book_storage
from shared.db.tallies import count_unfolded, fold_tallies

TALLIES_LEFT = 200
"""So many may be left to be added up by who asks: folding them is a write."""
WORKER_ACTIVITY_KEPT = timedelta(hours=24)
"""At least; it is looked at once an hour."""
BACKLOG_EVERY = timedelta(seconds=10)
"""It takes a query for each large batch; who sizes a fleet asks every half minute."""


@dataclass(frozen=True, slots=True)
class Chores:
    """What there is to do."""

    has_tallies: bool
    """Whether it is worth while to fold what was appended to the counts of batches."""
    unsettled: Sequence[UUID]
    """Workers whose idle time is not in the books."""
    spending: Spending
    day_to_book: date | None
    """A day that is over, whose storage may not be in the books."""
    forget_before: datetime | None
    """An hour that begins a day ago: what workers did until then is not kept."""
    tells_backlog: bool
    """Whether it is time to write down what is to be drawn."""

    @property
    def is_any(self) -> bool:
        """Whether there is anything to do."""
        return bool(
            self.has_tallies
            or self.unsettled
            or self.spending.finds_work
            or self.day_to_book
            or self.forget_before
            or self.tells_backlog
        )


class Upkeep:
    """Looks for chores and does them."""

    def __init__(self, database: Database, silence: timedelta, only_batch: UUID | None) -> None:
        self._database = database
        self._silence = silence
        self._only_batch = only_batch
        self._storage_booked: date | None = None
        self._forgotten_before: datetime | None = None
        self._backlog_told_at: datetime | None = None

    def look(self, session: Session, spending: Spending, now: datetime) -> Chores:
        """Find what there is to do, without writing."""
        yesterday = now.date() - timedelta(days=1)
        is_booked = self._only_batch is not None or self._storage_booked == yesterday
        return Chores(
            has_tallies=count_unfolded(session, TALLIES_LEFT) == TALLIES_LEFT,
            unsettled=unsettled_workers(session, now, self._silence),
            spending=spending,
            day_to_book=None if is_booked else yesterday,
            forget_before=self._forget_before(now),
            tells_backlog=self._tells_backlog(now),
        )

    def _forget_before(self, now: datetime) -> datetime | None:
        before = (now - WORKER_ACTIVITY_KEPT).replace(minute=0, second=0, microsecond=0)
        is_done = self._only_batch is not None or self._forgotten_before == before
        return None if is_done else before

    def _tells_backlog(self, now: datetime) -> bool:
        is_due = self._backlog_told_at is None or now >= self._backlog_told_at + BACKLOG_EVERY
        return is_due and self._only_batch is None

    def do(self, chores: Chores, now: datetime) -> None:
        """Do it, in a transaction each, so that nobody waits long."""
        if chores.has_tallies:
            with self._database.write() as session:
                fold_tallies(session)
        for worker_id in chores.unsettled:
            with self._database.write() as session:
                settle_worker(session, worker_id, now)
        if chores.day_to_book is not None:
            with self._database.write() as session:
                book_storage(session, chores.day_to_book)
            self._storage_booked = chores.day_to_book
        if chores.forget_before is not None:
            with self._database.write() as session:
                is_all = not prune_activity(session, chores.forget_before)
            self._forgotten_before = chores.forget_before if is_all else None
        if chores.spending.finds_work:
            with self._database.write() as session:
                act_on_budgets(session, chores.spending)
        if chores.tells_backlog:
            rewrite_backlog(self._database, self._silence, now)
            self._backlog_told_at = now
