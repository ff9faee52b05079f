"""This process's part in choosing the one dispatcher that works."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.leadership import DISPATCHER, can_lead, give_up_lead, still_leads, take_lead
from shared.domain.identifiers import new_id

RENEWED_AFTER = 1 / 3
"""The part of its lease after which a leader renews it: seldom, for that is a write."""


class Lead:
    """The lead of the dispatchers: free, somebody else's, or ours."""

    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._us = new_id()
        self._renew_at: datetime | None = None

    @property
    def is_ours(self) -> bool:
        """Whether we led when we last looked."""
        return self._renew_at is not None

    def is_free(self, session: Session, now: datetime) -> bool:
        """Tell, without writing, whether it is ours or could be."""
        is_free = can_lead(session, DISPATCHER, self._us, now)
        if not is_free:
            self._renew_at = None
        return is_free

    def take(self, now: datetime) -> bool:
        """Take it, or renew it in time; False when another was quicker."""
        if self._renew_at is not None and now < self._renew_at:
            return True
        with self._database.write() as session:
            is_ours = take_lead(session, DISPATCHER, self._us, now, self._lease)
        self._renew_at = now + self._lease * RENEWED_AFTER if is_ours else None
        return is_ours

    def hold(self, session: Session) -> bool:
        """Keep everybody from taking it over until the transaction ends; False if it is lost.

        A leader that was stopped for a while may wake in the middle of its work.
        """
        return still_leads(session, DISPATCHER, self._us)

    def give_up(self) -> None:
        """Let another have it at once."""
        if self._renew_at is None:
            return
        self._renew_at = None
        with self._database.write() as session:
            give_up_lead(session, DISPATCHER, self._us)
