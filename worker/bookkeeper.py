"""Finished images into the books: those that come while one transaction runs share the next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from shared.db.engine import Database
from shared.db.leases import Lease
from shared.db.outcomes import PhaseTimes, StoredImage, record_done
from worker.patience import OUTAGES

log = structlog.get_logger()

MOST_AT_ONCE = 64
"""Images a transaction: its locks are held for some tens of milliseconds at most."""


@dataclass(slots=True)
class Done:
    """A job whose image is stored."""

    held: Lease
    image: StoredImage
    times: PhaseTimes
    record: dict[str, Any]
    is_ours: bool | None = field(default=None, init=False)
    """Whether the lease still held; None until that is written down."""


class Bookkeeper:
    """Writes down images, one transaction at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Done] = []
        self._adding = threading.Lock()
        self._writing = threading.Lock()

    def record(self, done: Done) -> bool:
        """Write down an image together with those that wait; returns when it is committed.

        Returns:
            False when the lease had ended: the job is untouched.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away; may be tried again.
        """
        with self._adding:
            self._waiting.append(done)
        with self._writing:
            if done.is_ours is None:
                self._write_with_others(done)
        return bool(done.is_ours)

    def _write_with_others(self, done: Done) -> None:
        together = self._those_with(done)
        try:
            self._write(together)
        except OUTAGES:
            raise  # the others ask again for themselves
        except Exception as error:
            if len(together) == 1:
                raise
            log.warning("images_not_written_together", images=len(together), exc_info=error)
            # Whose fault it is each finds out alone.
            self._write([done])

    def _those_with(self, done: Done) -> Sequence[Done]:
        """Take the oldest that wait, this one in any case; in the order in which jobs are locked.

        That order is the positions in a batch, as for everybody who locks several.
        """
        with self._adding:
            others = [other for other in self._waiting if other is not done]
            together = [done, *others[: MOST_AT_ONCE - 1]]
            self._waiting = others[MOST_AT_ONCE - 1 :]
        return sorted(together, key=lambda one: (one.held.job.batch_id, one.held.job.position))

    def _write(self, together: Sequence[Done]) -> None:
        with self._database.write() as session:
            now = self._database.now(session)
            found = [
                record_done(session, one.held, one.image, one.times, one.record, now)
                for one in together
            ]
        for one, is_ours in zip(together, found, strict=True):
            one.is_ours = is_ours
