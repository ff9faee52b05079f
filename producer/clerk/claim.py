"""Which clerk works on what: a lease on a request, taken and renewed by compare-and-set."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, or_, update

from shared.db.api_tables import BatchRequest
from shared.db.engine import Database

LEASE = timedelta(seconds=30)
RENEWED_AFTER_SECONDS = 10
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)


class Claim:
    """One request in the hands of this clerk."""

    def __init__(self, database: Database, request_id: UUID) -> None:
        self.request_id = request_id
        self._database = database
        self._until: datetime | None = None
        self._renew_at = 0.0

    def take(self) -> bool:
        """Take it; False when another clerk has it, or it has ended."""
        with self._database.write() as session:
            now = self._database.now(session)
            free = or_(BatchRequest.worked_on_until.is_(None), BatchRequest.worked_on_until <= now)
            return self._set(session, now + LEASE, free)

    def renew(self) -> None:
        """Renew it if it is time to.

        Raises:
            ClaimLostError: another clerk has taken it over.
        """
        if time.monotonic() >= self._renew_at:
            self.check()

    def check(self) -> None:
        """Renew it, whenever it was done last.

        Raises:
            ClaimLostError: another clerk has taken it over.
        """
        with self._database.write() as session:
            until = self._database.now(session) + LEASE
            if not self._set(session, until, BatchRequest.worked_on_until == self._until):
                raise ClaimLostError(f"another clerk works on {self.request_id}")

    def give_back(self) -> None:
        """Let whoever wants go on with it at once."""
        with self._database.write() as session:
            self._set(session, None, BatchRequest.worked_on_until == self._until)

    def put_off(self, reason: str) -> None:
        """Leave it for a while after a failure that may pass: longer each time."""
        with self._database.write() as session:
            request = session.get_one(BatchRequest, self.request_id, with_for_update=True)
            pause = min(FIRST_PAUSE * 2 ** min(request.failures, 16), LONGEST_PAUSE)
            request.failures += 1
            request.last_failure = reason
            request.worked_on_until = self._database.now(session) + pause

    def _set(self, session: Any, until: datetime | None, condition: Any) -> bool:
        result = session.execute(
            update(BatchRequest)
            .where(BatchRequest.id == self.request_id, BatchRequest.ended_at.is_(None), condition)
            .values(worked_on_until=until),
            execution_options={"synchronize_session": False},
        )
        self._until = until
        self._renew_at = time.monotonic() + RENEWED_AFTER_SECONDS
        return cast("CursorResult[Any]", result).rowcount == 1


class ClaimLostError(Exception):
    """Another clerk went on with what this one was too slow at."""
