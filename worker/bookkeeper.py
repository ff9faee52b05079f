"""Finished images into the books, in a thread: those that come together share a transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from shared.db.engine import Database
from shared.db.many_outcomes import DoneJob, NotAllHeldError, record_all_done
from shared.db.outcomes import record_done
from worker.patience import OUTAGES, patiently

log = structlog.get_logger()

MOST_AT_ONCE = 64
"""Images a transaction: its locks are held for some tens of milliseconds at most."""
LINGER_SECONDS = 0.25
"""How long an image waits for others that are on their way, for them to share a transaction."""
POLL_SECONDS = 0.05
"""How often it is looked whether those still come: some end without an image."""


@dataclass(frozen=True, slots=True)
class Done:
    """A job whose image is stored, and who wants to know that it is written down."""

    job: DoneJob
    tell: Callable[[bool | Exception], None]
    """Called when it is: whether the lease still held, or why it could not be."""


class Bookkeeper:
    """Writes down images, one transaction at a time."""

    def __init__(
        self, database: Database, patience_seconds: float, on_their_way: Callable[[], int]
    ) -> None:
        """Begin with nothing.

        Args:
            database: the books.
            patience_seconds: how long to wait for a database that is away.
            on_their_way: how many images are being stored, those that wait here included.
        """
        self._database = database
        self._patience_seconds = patience_seconds
        self._on_their_way = on_their_way
        self._waiting: list[Done] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="books", daemon=True)
        self._thread.start()

    def add(self, done: Done) -> None:
        """Have an image written down soon."""
        with self._changed:
            self._waiting.append(done)
            if len(self._waiting) == 1 or not self._is_worth_waiting():
                self._changed.notify()

    def close(self) -> None:
        """Write down what is there, and end."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while together := self._next():
            self._write(together)

    def _next(self) -> Sequence[Done]:
        """Wait for images; nothing when it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            deadline = time.monotonic() + LINGER_SECONDS
            while self._is_worth_waiting() and time.monotonic() < deadline:
                self._changed.wait(POLL_SECONDS)
            together = self._waiting[:MOST_AT_ONCE]
            self._waiting = self._waiting[MOST_AT_ONCE:]
        return together

    def _is_worth_waiting(self) -> bool:
        there = len(self._waiting)
        return there < min(MOST_AT_ONCE, self._on_their_way()) and not self._is_closing

    def _write(self, together: Sequence[Done]) -> None:
        try:
            all_are_ours = patiently(lambda: self._write_all(together), self._patience_seconds)
        except OUTAGES as error:
            # None of them could be written down alone either.
            for one in together:
                one.tell(error)
            return
        except Exception as error:
            log.warning("images_not_written_together", images=len(together), exc_info=error)
            # Whose fault it is each finds out alone.
            all_are_ours = False
        for one in together:
            one.tell(True if all_are_ours else self._write_one(one))

    def _write_all(self, together: Sequence[Done]) -> bool:
        """Write down images whose leases all hold; nothing, and False, if one does not."""
        try:
            with self._database.write() as session:
                now = self._database.now(session)
                record_all_done(session, [one.job for one in together], now)
        except NotAllHeldError:
            return False
        return True

    def _write_one(self, one: Done) -> bool | Exception:
        def write() -> bool:
            with self._database.write() as session:
                now = self._database.now(session)
                return record_done(session, *one.job, now)

        try:
            return patiently(write, self._patience_seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this attempt alone
            return error
