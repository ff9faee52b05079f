"""Which jobs make the next chunk: alike, and as many as the devices best draw at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from producer.dispatch import queries
from producer.dispatch.budgets import images_to_send
from producer.dispatch.fairness import OpenBatch
from producer.dispatch.queries import UnsentJob
from producer.dispatch.queues import Readers
from shared.db.pass_rates import RememberedPasses
from shared.domain.identifiers import new_id
from shared.domain.pass_rates import chunk_for, default_pass
from shared.domain.rates import Shape

MOST_KNOWN = 1_000
"""Batches whose last chunk is remembered; then it begins anew."""


class Picker:
    """Knows how many jobs make a chunk, and remembers how many made the last one of a batch."""

    def __init__(self, chunk_size: int) -> None:
        """Know nothing yet.

        Args:
            chunk_size: jobs a chunk, where devices do not draw more at once.
        """
        self._chunk_size = chunk_size
        self._passes = RememberedPasses()
        self._last: dict[tuple[str, UUID], int] = {}

    def expected(self, readers: Readers, batch: OpenBatch) -> int:
        """Guess how many jobs make the next chunk, before they are seen."""
        return self._last.get((readers.queue, batch.id), self._chunk_size)

    def size(
        self, session: Session, readers: Readers, batch: OpenBatch, first: UnsentJob, now: datetime
    ) -> int:
        """Return how many jobs like this one make a chunk."""
        size = batch.images_per_pass or self._best(session, readers, _shape(first), now)
        if len(self._last) >= MOST_KNOWN:
            self._last.clear()
        self._last[readers.queue, batch.id] = size
        return size

    def _best(self, session: Session, readers: Readers, shape: Shape, now: datetime) -> int:
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


class Picks:
    """The chunks of one transaction: jobs are read for several at once, and written together."""

    def __init__(self, session: Session, picker: Picker, readers: Readers, now: datetime) -> None:
        """Begin.

        Args:
            session: its transaction locks what is read.
            picker: the dispatcher's.
            readers: who draws the jobs.
            now: when they are sent.
        """
        self._session = session
        self._picker = picker
        self._readers = readers
        self._now = now
        self._read: dict[UUID, list[UnsentJob]] = {}
        """Of each batch what is locked and in no chunk yet."""
        self._picked: dict[UUID, Sequence[UnsentJob]] = {}
        """By chunk, what is not written down yet."""

    def pick(self, batch: OpenBatch, chunks: int) -> tuple[UUID, int] | None:
        """Make the next chunk of a batch; None where it has no jobs for these workers.

        Args:
            batch: the batch.
            chunks: for how many of its chunks there is room.

        Returns:
            The chunk's id, and how many jobs it has.
        """
        jobs, is_all = self._read.get(batch.id), False
        if not jobs:
            expected = self._picker.expected(self._readers, batch) * chunks
            jobs, is_all = self._look(batch, expected)
        if not jobs:
            return None
        size = self._picker.size(self._session, self._readers, batch, jobs[0], self._now)
        chunk, others = _parted(jobs, size)
        if len(chunk) < size and not is_all and jobs[0].fencing_token == 0:
            jobs, _ = self._look(batch, size * chunks)
            chunk, others = _parted(jobs, size)
        if not chunk:  # between the two looks images may have cost what was left
            return None
        self._read[batch.id] = others
        chunk_id = new_id()
        self._picked[chunk_id] = chunk
        return chunk_id, len(chunk)

    def write(self) -> None:
        """Write down which jobs are sent in which chunk."""
        if self._picked:
            queries.put_in_chunks(self._session, self._picked, self._readers.queue, self._now)
        self._picked = {}

    def _look(self, batch: OpenBatch, most: int) -> tuple[list[UnsentJob], bool]:
        """Lock a batch's next jobs; tells whether that is all that there are."""
        # Else what was picked would be found once more.
        self.write()
        paid = images_to_send(self._session, batch, self._now, most)
        if not paid:
            return [], True
        sizes = self._readers.sizes
        jobs = queries.jobs_to_send(self._session, batch.id, paid, sizes, self._now)
        return jobs, len(jobs) < most


def _parted(jobs: Sequence[UnsentJob], most: int) -> tuple[Sequence[UnsentJob], list[UnsentJob]]:
    """Part from the others the first jobs that can share the first one's chunk, up to ``most``.

    They share its size, scheduler, steps and quality. A job that was in a worker's hands before
    goes alone, so that if it is what kills its worker, it takes no neighbour with it. The count of
    attempts does not tell: of jobs that were drawn together it blames but one.
    """
    if not jobs or jobs[0].fencing_token > 0:
        return jobs[:1], list(jobs[1:])
    kind = _kind(jobs[0])
    alike: list[UnsentJob] = []
    others: list[UnsentJob] = []
    for index, job in enumerate(jobs):
        if len(alike) == most:
            return alike, [*others, *jobs[index:]]
        is_alike = job.fencing_token == 0 and _kind(job) == kind
        (alike if is_alike else others).append(job)
    return alike, others


def _kind(job: UnsentJob) -> tuple[int, int, str, int, str | None, str]:
    return job.width, job.height, job.scheduler, job.steps, job.squeeze, job.quality


def _shape(job: UnsentJob) -> Shape:
    return Shape.of_image(job)
