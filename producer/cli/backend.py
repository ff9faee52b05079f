"""What commands about batches work with: the database itself, or a server that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from shared.domain.jobs import BatchControl

if TYPE_CHECKING:
    from producer.batch_status import BatchStatus, BatchSummary
    from producer.job_details import JobHistory
    from producer.listed_jobs import JobFilter, JobPage
    from shared.settings import Settings


class Decided(NamedTuple):
    """What a decision came to."""

    batch_id: UUID
    images: int
    """How many it was about."""
    control: BatchControl
    """Of the batch, from now on."""


class Backend(Protocol):
    """Where batches are. A reference is an id, the start of one, or None for the newest.

    Methods raise `InputError` for what is not there, and `ServiceUnavailableError`.
    """

    def find(self, reference: str | None) -> UUID:
        """Return the id of a batch."""

    def batches(self, limit: int) -> Sequence[BatchSummary]:
        """Return the newest batches, newest first."""

    def status(self, reference: str | None) -> BatchStatus:
        """Look at a batch."""

    def follow(
        self, batch_id: UUID, seconds: float, show: Callable[[BatchStatus], None]
    ) -> BatchStatus:
        """Look again and again until a batch is finished; returns its last status.

        Args:
            batch_id: which.
            seconds: between two looks, at least.
            show: is called with what was seen.
        """

    def job_pages(
        self, batch_id: UUID, only: JobFilter, after: int | None, limit: int
    ) -> Iterator[JobPage]:
        """Look until a page is full or the batch ends; yields the page as it grows."""

    def job(self, name: str, reference: str | None) -> JobHistory:
        """Look at a job of a batch by its id, its position or its custom_id."""

    def cancel(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Call off what is not drawn of a batch, or of some of its jobs."""

    def retry(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Try failed jobs again, all or some."""

    def approve(self, reference: str) -> Decided:
        """Have what is held drawn."""

    def reject(self, reference: str) -> Decided:
        """Call off what is held."""

    def set_control(self, reference: str, control: BatchControl) -> Decided:
        """Pause a batch, or let it go on."""


@contextmanager
def opened_backend(settings: Settings) -> Iterator[Backend]:
    """Connect to the server of the settings, or else to their database.

    Raises:
        InputError: there is no database yet, or the server's address is none.
        ServiceUnavailableError: the database does not answer.
    """
    if settings.server is not None:
        from producer.cli.remote.backend import RemoteBackend
        from producer.cli.server import opened_server

        with opened_server(settings) as client:
            yield RemoteBackend(client)
        return
    from producer.cli.database import opened
    from producer.cli.local import LocalBackend

    with opened(settings) as database:
        yield LocalBackend(database, settings)
