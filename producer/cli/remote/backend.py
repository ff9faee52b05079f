"""Batches of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from producer.batch_status import BatchStatus, BatchSummary
from producer.cli.backend import Decided
from producer.cli.remote.references import find
from producer.client import Client
from producer.job_details import JobHistory
from producer.listed_jobs import JobFilter, JobPage, ListedJob
from producer.wire.batches import BatchDocument, Changed
from shared.domain.jobs import BatchControl

MOST_JOBS_A_PAGE = 500


class RemoteBackend:
    """As `producer.cli.backend.Backend` says."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, reference: str | None) -> UUID:
        """Return the id of a batch."""
        return find(self._client, reference)

    def batches(self, limit: int) -> Sequence[BatchSummary]:
        """Return the newest batches."""
        listed = self._client.batches(limit=limit)
        return [BatchSummary.from_json(batch.model_dump(mode="json")) for batch in listed]

    def status(self, reference: str | None) -> BatchStatus:
        """Look at a batch."""
        return status_of(self._client.batch(self.find(reference)))

    def follow(
        self, batch_id: UUID, seconds: float, show: Callable[[BatchStatus], None]
    ) -> BatchStatus:
        """Hear from the server until a batch is finished."""
        due = 0.0

        def tell(document: BatchDocument) -> None:
            nonlocal due
            if document.finished or time.monotonic() >= due:
                due = time.monotonic() + seconds
                show(status_of(document))

        return status_of(self._client.wait(batch_id, on_progress=tell))

    def job_pages(
        self, batch_id: UUID, only: JobFilter, after: int | None, limit: int
    ) -> Iterator[JobPage]:
        """Look until a page is full or the batch ends."""
        jobs: list[ListedJob] = []
        begin, first = after, 0 if after is None else after + 1
        while True:
            page = JobPage.from_json(
                self._client.job_page(
                    batch_id,
                    state=only.state,
                    error=only.error,
                    text=only.text,
                    after=begin,
                    limit=min(limit - len(jobs), MOST_JOBS_A_PAGE),
                ).model_dump(mode="json")
            )
            jobs += page.jobs
            begin = page.next
            whole = replace(page, jobs=tuple(jobs))
            if page.looked_through is not None:
                yield replace(whole, looked_through=(first, page.looked_through[1]))
            elif begin is None or len(jobs) >= limit:
                yield whole
                return

    def job(self, name: str, reference: str | None) -> JobHistory:
        """Look at a job."""
        document = self._client.job(self.find(reference), name)
        return JobHistory.from_json(document.model_dump(mode="json"))

    def cancel(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Call off what is not drawn."""
        return self._decided(self._client.cancel(self.find(reference), jobs))

    def retry(self, reference: str, jobs: Sequence[str]) -> Decided:
        """Try failed jobs again."""
        return self._decided(self._client.retry(self.find(reference), jobs))

    def approve(self, reference: str) -> Decided:
        """Have what is held drawn."""
        return self._decided(self._client.approve(self.find(reference)))

    def reject(self, reference: str) -> Decided:
        """Call off what is held."""
        return self._decided(self._client.reject(self.find(reference)))

    def set_control(self, reference: str, control: BatchControl) -> Decided:
        """Pause a batch, or let it go on."""
        batch_id = self.find(reference)
        is_paused = control is BatchControl.PAUSED
        change = self._client.pause if is_paused else self._client.resume
        return Decided(batch_id, 0, change(batch_id).control)

    def _decided(self, changed: Changed) -> Decided:
        control = self._client.batch(changed.batch_id).control
        return Decided(changed.batch_id, changed.jobs, control)


def status_of(document: BatchDocument) -> BatchStatus:
    """Read what a server tells of a batch."""
    return BatchStatus.from_json(document.model_dump(mode="json"))
