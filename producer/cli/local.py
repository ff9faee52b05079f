"""Batches in the database of this command's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

from producer import control as decisions
from producer.batch_status import BatchStatus, BatchSummary
from producer.cli.backend import Decided
from producer.interruption import pause
from producer.job_history import JobHistory, read_job
from producer.jobs import JobFilter, JobPage, look_on
from producer.status import list_batches, read_status
from shared.db.batches import find_batch, set_control
from shared.db.details import require_details
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from shared.settings import Settings

PAUSE_A_LOOK = 4
"""Times as long as it looks it waits: a very large batch must not load its database."""


class LocalBackend:
    """As `producer.cli.backend.Backend` says."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def find(self, reference: str | None) -> UUID:
        """Return the id of a batch."""
        with self._database.read() as session:
            return find_batch(session, reference).id

    def batches(self, limit: int) -> Sequence[BatchSummary]:
        """Return the newest batches."""
        return list_batches(self._database, limit)

    def status(self, reference: str | None) -> BatchStatus:
        """Look at a batch."""
        return read_status(self._database, self._settings, reference)

    def follow(
        self, batch_id: UUID, seconds: float, show: Callable[[BatchStatus], None]
    ) -> BatchStatus:
        """Look again and again until a batch is finished."""
        while True:
            begin = time.monotonic()
            found = read_status(self._database, self._settings, batch_id)
            show(found)
            if found.is_finished:
                return found
            looking = time.monotonic() - begin
            pause(max(seconds, looking * PAUSE_A_LOOK))

    def job_pages(
        self, batch_id: UUID, only: JobFilter, after: int | None, limit: int
    ) -> Iterator[JobPage]:
        """Look until a page is full or the batch ends."""
        with self._database.read() as session:
            require_details(session.get_one(Batch, batch_id))
        return look_on(self._database, batch_id, only, after, limit)

    def job(self, name: str, reference: str | None) -> JobHistory:
        """Look at a job."""
        return read_job(self._database, self._settings, name, reference)

    def cancel(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Call off what is not drawn."""
        with self._database.write() as session:
            batch = find_batch(session, reference)
            count = decisions.cancel(session, batch, jobs, self._database.now(session))
            return Decided(batch.id, count, BatchControl(batch.control))

    def retry(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Try failed jobs again."""
        with self._database.write() as session:
            batch = find_batch(session, reference)
            # Workers' clock, for it decides when they may have them.
            count = decisions.retry(session, batch, jobs, self._database.now(session))
            return Decided(batch.id, count, BatchControl(batch.control))

    def approve(self, reference: str) -> Decided:
        """Have what is held drawn."""
        return self._decide(reference, decisions.approve)

    def reject(self, reference: str) -> Decided:
        """Call off what is held."""
        return self._decide(reference, decisions.reject)

    def set_control(self, reference: str, control: BatchControl) -> Decided:
        """Pause a batch, or let it go on."""
        with self._database.write() as session:
            batch = find_batch(session, reference)
            set_control(session, batch, control)
            return Decided(batch.id, 0, control)

    def _decide(self, reference: str, decide: Callable[[Database, UUID], int]) -> Decided:
        with self._database.read() as session:
            batch = find_batch(session, reference)
            batch_id, control = batch.id, BatchControl(batch.control)
        return Decided(batch_id, decide(self._database, batch_id), control)
