"""Which requests there is something to do about: found by reading, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from shared.db.api_tables import BatchRequest
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.db.tallies import NOTHING, BatchTally, read_tallies
from shared.domain.identifiers import NOBODY
from shared.domain.jobs import BatchControl
from shared.domain.requests import RequestState

MOST_AT_ONCE = 1_000


class DueRequests:
    """Looks for them; of those whose images are being drawn, at a thousand a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked_at = NOBODY

    def find(self) -> Sequence[UUID]:
        """Return requests that are in nobody's hands and need something done, oldest first."""
        with self._database.read() as session:
            now = self._database.now(session)
            query = select(BatchRequest.id).where(
                _is_free(now), BatchRequest.state != RequestState.IN_PROGRESS
            )
            waiting = session.scalars(query.order_by(BatchRequest.id).limit(MOST_AT_ONCE)).all()
            return sorted([*waiting, *self._in_progress(session, now)])

    def _in_progress(self, session: Session, now: datetime) -> Sequence[UUID]:
        rows = session.execute(
            select(BatchRequest.id, BatchRequest.expires_at, Batch.control)
            .join(Batch, Batch.id == BatchRequest.id)
            .where(
                _is_free(now),
                BatchRequest.state == RequestState.IN_PROGRESS,
                BatchRequest.id > self._looked_at,
            )
            .order_by(BatchRequest.id)
            .limit(MOST_AT_ONCE)
        ).all()
        self._looked_at = rows[-1][0] if len(rows) == MOST_AT_ONCE else NOBODY
        tallies: Mapping[UUID, BatchTally] = (
            read_tallies(session, [row[0] for row in rows]) if rows else {}
        )
        return [
            request_id
            for request_id, expires_at, control in rows
            if control == BatchControl.CANCELLED
            or (expires_at is not None and expires_at <= now)
            or tallies.get(request_id, NOTHING).is_over
        ]


def _is_free(now: datetime) -> ColumnElement[bool]:
    until = BatchRequest.worked_on_until
    return BatchRequest.ended_at.is_(None) & or_(until.is_(None), until <= now)
