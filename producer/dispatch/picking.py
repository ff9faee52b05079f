"""Which jobs make the next chunk: alike, and as many as the devices best draw at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from producer.dispatch import queries
from producer.dispatch.budgets import images_to_send
from producer.dispatch.fairness import OpenBatch
from producer.dispatch.queues import Readers
from shared.db.pass_rates import RememberedPasses
from shared.db.tables import Job
from shared.domain.pass_rates import chunk_for, default_pass
from shared.domain.rates import Shape

MOST_KNOWN = 1_000
"""Batches whose last chunk is remembered; then it begins anew."""


class Picker:
    """Picks jobs, and remembers how many made the last chunk of a batch."""

    def __init__(self, chunk_size: int) -> None:
        """Know nothing yet.

        Args:
            chunk_size: jobs a chunk, where devices do not draw more at once.
        """
        self._chunk_size = chunk_size
        self._passes = RememberedPasses()
        self._last: dict[tuple[str, UUID], int] = {}

    def pick(
        self, session: Session, readers: Readers, batch: OpenBatch, now: datetime
    ) -> Sequence[Job]:
        """Lock the jobs of a batch's next chunk; none where it has none for these workers."""
        asked = (readers.queue, batch.id)
        expected = self._last.get(asked, self._chunk_size)
        if not (jobs := _read(session, readers, batch, expected, now)):
            return ()
        size = batch.images_per_pass or self._size(session, readers, _shape(jobs[0]), now)
        if len(self._last) >= MOST_KNOWN:
            self._last.clear()
        self._last[asked] = size
        if len(jobs) == expected < size:
            jobs = _read(session, readers, batch, size, now)
        return jobs[:size]

    def _size(self, session: Session, readers: Readers, shape: Shape, now: datetime) -> int:
        best = self._passes.best(
            session,
            readers.model,
            readers.device_kind,
            readers.device_names,
            shape,
            default=default_pass(readers.device_kind, self._chunk_size),
            now=now,
        )
        return chunk_for(best, self._chunk_size)


def _read(
    session: Session, readers: Readers, batch: OpenBatch, most: int, now: datetime
) -> Sequence[Job]:
    paid = images_to_send(session, batch, now, most)
    return _alike(queries.jobs_to_send(session, batch.id, paid, readers.sizes, now)) if paid else ()


def _alike(jobs: Sequence[Job]) -> Sequence[Job]:
    """Keep the jobs that can share the first one's chunk.

    They share its size, scheduler and steps. A job that was in a worker's hands before goes alone,
    so that if it is what kills its worker, it takes no neighbour with it. The count of attempts
    does not tell: of jobs that were drawn together it blames but one.
    """
    if not jobs or jobs[0].fencing_token > 0:
        return jobs[:1]
    return [job for job in jobs if job.fencing_token == 0 and _kind(job) == _kind(jobs[0])]


def _kind(job: Job) -> tuple[int, int, str, int, str | None]:
    return job.width, job.height, job.scheduler, job.steps, job.squeeze


def _shape(job: Job) -> Shape:
    return Shape.of(job.width, job.height, job.steps, job.squeeze, job.guidance_scale)
