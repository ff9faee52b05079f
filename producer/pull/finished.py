"""Finished jobs of a batch in the order in which they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import or_, select

from shared.db.conditions import IS_DONE
from shared.db.engine import Database
from shared.db.tables import Job

ROWS_A_PAGE = 1_000
COMMIT_DELAY = timedelta(seconds=60)
"""A job may be seen as finished this much later than it says, for its transaction was slow."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class FinishedImage(NamedTuple):
    """A job that is done."""

    position: int
    prompt: str
    key: str
    sha256: str
    bytes: int | None
    finished_at: datetime


class FinishedImages:
    """Reads what is done in short transactions: whoever fetches it may be slow."""

    def __init__(self, database: Database, batch_id: UUID) -> None:
        self._database = database
        self._batch_id = batch_id
        self._seen_until = LONG_AGO + COMMIT_DELAY

    def all(self) -> Iterator[FinishedImage]:
        """Yield all that is done."""
        return self._since(LONG_AGO)

    def new(self) -> Iterator[FinishedImage]:
        """Yield what was done since the last that was seen, and some of it again."""
        return self._since(self._seen_until - COMMIT_DELAY)

    def _since(self, since: datetime) -> Iterator[FinishedImage]:
        at, position = since, -1
        while page := self._page(at, position):
            yield from page
            at, position = page[-1].finished_at, page[-1].position
            self._seen_until = max(self._seen_until, at)

    def _page(self, at: datetime, position: int) -> Sequence[FinishedImage]:
        query = (
            select(
                Job.position,
                Job.prompt,
                Job.image_key,
                Job.image_sha256,
                Job.image_bytes,
                Job.finished_at,
            )
            .where(Job.batch_id == self._batch_id, IS_DONE)
            .where(Job.finished_at >= at)
            .where(or_(Job.finished_at > at, Job.position > position))
            .order_by(Job.finished_at, Job.position)
            .limit(ROWS_A_PAGE)
        )
        with self._database.read() as session:
            return [FinishedImage._make(row) for row in session.execute(query)]
