"""A batch's images from one store to another, an object each, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID

from producer.manifest import JobFacts, Place
from producer.names import image_name, position_in
from producer.progress import Progress, Report
from producer.pull.fetch import Problems, UnavailableImageError, fetch_image, map_ahead
from producer.pull.finished import FinishedImage, FinishedImages
from producer.pull.positions import PositionMap, PositionSet
from shared.db.batches import count_jobs
from shared.db.engine import Database
from shared.domain.jobs import JobState
from shared.storage.base import ObjectStore, sha256_of

PNG = "image/png"
GROUP = 8

Holds = Callable[[int, str, str | None, int | None], bool]
"""Tells of position, file name, SHA-256 and size whether the image is there already."""


@dataclass(frozen=True, slots=True)
class _Copied:
    new_bytes: int | None = None
    """None if it was there before."""
    problem: str | None = None


class ImageCopy:
    """Copies images that are finished and not there yet, several at once."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        batch_id: UUID,
        destination: ObjectStore,
        holds: Holds,
        parallel: int,
    ) -> None:
        self.problems = Problems()
        self.pulled = PositionSet()
        self.written = 0
        self.bytes_written = 0
        self._database = database
        self._store = store
        self._batch_id = batch_id
        self._destination = destination
        self._holds = holds
        self._parallel = parallel
        self._finished = FinishedImages(database, batch_id)

    def copy_new(self) -> None:
        """Copy what was finished since the last call.

        Raises:
            ServiceUnavailableError: one of the stores does not answer.
        """
        for _ in self._copy(self._finished.new()):
            pass

    def copy_all(self, report: Report) -> None:
        """Copy whatever is finished and not there.

        Raises:
            ServiceUnavailableError: one of the stores does not answer.
        """
        with self._database.read() as session:
            total = count_jobs(session, self._batch_id)[JobState.DONE]
        with closing(self._copy(self._finished.all())) as copied:
            for _ in copied:
                done = len(self.pulled)
                report(Progress("images", done, max(done, total), self.bytes_written))

    def place_of(self, facts: JobFacts) -> Place | None:
        """Tell where an image was copied to; None if it was not."""
        is_there = facts.job.position in self.pulled
        return Place(image_name(facts.job.position, facts.job.prompt)) if is_there else None

    def place_found(self, facts: JobFacts) -> Place | None:
        """Look where an image is; None if it is not there."""
        job = facts.job
        if job.state != JobState.DONE:
            return None
        name = image_name(job.position, job.prompt)
        is_there = self._holds(job.position, name, job.image_sha256, job.image_bytes)
        return Place(name) if is_there else None

    def _copy(self, images: Iterable[FinishedImage]) -> Generator[None]:
        new = (image for image in images if image.position not in self.pulled)
        with closing(map_ahead(self._copy_some, in_groups(new), self._parallel)) as copies:
            for group, copied in copies:
                for image, came in zip(group, copied, strict=True):
                    self._note(image, came)
                    yield

    def _copy_some(self, images: Sequence[FinishedImage]) -> Sequence[_Copied]:
        """Copy images that are not there; runs in a thread of its own."""
        return [self._copy_one(image) for image in images]

    def _copy_one(self, image: FinishedImage) -> _Copied:
        name = image_name(image.position, image.prompt)
        if self._holds(image.position, name, image.sha256, image.bytes):
            return _Copied()
        try:
            data = fetch_image(self._store, image.key, image.sha256)
        except UnavailableImageError as error:
            return _Copied(problem=str(error))
        self._destination.put(name, data, PNG)
        return _Copied(len(data))

    def _note(self, image: FinishedImage, copied: _Copied) -> None:
        if copied.problem is not None:
            self.problems.add(image.position, copied.problem)
            return
        self.pulled.add(image.position)
        self.problems.solve(image.position)
        if copied.new_bytes is not None:
            self.written += 1
            self.bytes_written += copied.new_bytes


def in_groups(images: Iterable[FinishedImage]) -> Iterator[Sequence[FinishedImage]]:
    """Yield images by the handful: handing one to a thread takes as long as to copy a small one."""
    remaining = iter(images)
    while group := list(islice(remaining, GROUP)):
        yield group


def held_by_content(folder: Path) -> Holds:
    """Look into the file that may be the image."""

    def holds(_position: int, name: str, sha256: str | None, _size: int | None) -> bool:
        try:
            return sha256_of((folder / name).read_bytes()) == sha256
        except OSError:
            return False

    return holds


def held_by_size(destination: ObjectStore) -> Holds:
    """List what is there once: an object of an image's name and size is that image.

    That is enough where objects appear whole, and one batch alone writes.
    """
    sizes = PositionMap()
    for found in destination.list(""):
        position = position_in(found.key)
        if position is not None:
            sizes[position] = found.bytes

    def holds(position: int, _name: str, _sha256: str | None, size: int | None) -> bool:
        return size is not None and sizes.get(position) == size

    return holds
