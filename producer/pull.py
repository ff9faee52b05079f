"""Copies a batch's images from the store to a folder, while it is drawn or afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import or_, select

from producer.manifest import manifest_lines
from producer.names import image_name
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.domain.jobs import JobState
from shared.errors import InputError
from shared.files import atomic_file, ensure_writable
from shared.storage.base import ObjectNotFoundError, ObjectStore, sha256_of

MANIFEST = "manifest.jsonl"
CONCURRENT_READS = 8
ROWS_A_PAGE = 256
MAX_FIRST = 200
COMMIT_DELAY = timedelta(seconds=60)
"""A job may be seen as finished this much later than it says, for its transaction was slow."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class _Finished(NamedTuple):
    position: int
    prompt: str
    key: str
    sha256: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class _Fetched:
    is_new: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PullProblem:
    """An image that is in the books and cannot be had from the store."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class PulledImage:
    """One image that is in the folder."""

    path: Path
    prompt: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """What is in the folder now."""

    folder: Path
    manifest: Path
    images: int
    """How many images of the batch are there."""
    written: int
    """How many of them were not there before."""
    first: Sequence[PulledImage]
    """The first of them, at most 200, in order."""
    problems: Sequence[PullProblem]
    cut: int
    """How many images come from a prompt that was too long for the model."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "folder": str(self.folder),
            "manifest": str(self.manifest),
            "images": self.images,
            "written": self.written,
            "problems": [asdict(problem) for problem in self.problems],
            "cut": self.cut,
        }


class Puller:
    """Fills one folder from one batch. Call `pull_new` as often as you like, then `finish`."""

    def __init__(
        self, database: Database, store: ObjectStore, batch_id: UUID, folder: Path
    ) -> None:
        """Check the folder.

        Raises:
            InputError: it cannot be written to.
        """
        ensure_writable(folder)
        self._database = database
        self._store = store
        self._batch_id = batch_id
        self._folder = folder
        with database.read() as session:
            self._total = session.get_one(Batch, batch_id).total
        self._is_pulled = bytearray(self._total)
        self._problems: dict[int, PullProblem] = {}
        self._seen_until = LONG_AGO + COMMIT_DELAY
        self._written = 0

    def pull_new(self) -> int:
        """Copy the images that were finished since the last call; returns how many were written.

        Raises:
            InputError: the folder cannot be written to any more.
            ServiceUnavailableError: the store does not answer.
        """
        before = self._written
        self._pull(self._seen_until - COMMIT_DELAY)
        return self._written - before

    def finish(self) -> Pulled:
        """Copy whatever is finished and not here yet, and write the manifest.

        Raises:
            InputError: the folder cannot be written to any more.
            ServiceUnavailableError: the store does not answer.
        """
        self._pull(LONG_AGO)
        first: list[PulledImage] = []
        cut = 0
        path = self._folder / MANIFEST
        try:
            with self._database.read() as session, atomic_file(path) as file:
                for line in manifest_lines(session, self._batch_id, self._name_of_pulled):
                    file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                    cut += bool(line["prompt_lost"] or line["negative_prompt_lost"])
                    if line["file"] is not None and len(first) < MAX_FIRST:
                        first.append(PulledImage(self._folder / line["file"], line["prompt"]))
        except OSError as error:
            raise self._not_writable(error) from error
        return Pulled(
            folder=self._folder,
            manifest=path,
            images=self._is_pulled.count(1),
            written=self._written,
            first=first,
            problems=[self._problems[position] for position in sorted(self._problems)],
            cut=cut,
        )

    def _pull(self, since: datetime) -> None:
        with ThreadPoolExecutor(CONCURRENT_READS, "pull") as pool:
            for page in self._pages(since):
                new = [image for image in page if not self._is_pulled[image.position]]
                for image, fetched in zip(new, pool.map(self._fetch, new), strict=True):
                    self._record(image, fetched)

    def _pages(self, since: datetime) -> Iterator[Sequence[_Finished]]:
        """Read what was finished since, in short transactions: the store may be slow."""
        at, position = since, -1
        while page := self._page(at, position):
            yield page
            at, position = page[-1].finished_at, page[-1].position

    def _page(self, at: datetime, position: int) -> Sequence[_Finished]:
        query = (
            select(Job.position, Job.prompt, Job.image_key, Job.image_sha256, Job.finished_at)
            .where(Job.batch_id == self._batch_id, Job.state == JobState.DONE)
            .where(Job.finished_at >= at)
            .where(or_(Job.finished_at > at, Job.position > position))
            .order_by(Job.finished_at, Job.position)
            .limit(ROWS_A_PAGE)
        )
        with self._database.read() as session:
            return [_Finished._make(row) for row in session.execute(query)]

    def _record(self, image: _Finished, fetched: _Fetched) -> None:
        self._seen_until = max(self._seen_until, image.finished_at)
        self._written += fetched.is_new
        if fetched.problem is None:
            self._is_pulled[image.position] = True
            self._problems.pop(image.position, None)
        else:
            self._problems[image.position] = PullProblem(image.position, fetched.problem)

    def _fetch(self, image: _Finished) -> _Fetched:
        """Copy one image, unless it is there; runs in a thread of the pool."""
        target = self._folder / image_name(image.position, self._total, image.prompt)
        if _holds(target, image.sha256):
            return _Fetched()
        try:
            data = self._store.get(image.key)
        except ObjectNotFoundError as error:
            return _Fetched(problem=error.message)
        if sha256_of(data) != image.sha256:
            where = f"{image.key} in {self._store.display_url}"
            return _Fetched(problem=f"{where} is damaged: its SHA-256 differs")
        try:
            with atomic_file(target) as file:
                file.write(data)
        except OSError as error:
            raise self._not_writable(error) from error
        return _Fetched(is_new=True)

    def _name_of_pulled(self, position: int, prompt: str) -> str | None:
        if not self._is_pulled[position]:
            return None
        return image_name(position, self._total, prompt)

    def _not_writable(self, error: OSError) -> InputError:
        return InputError(f"{self._folder}: cannot be written to: {error.strerror}")


def _holds(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path.read_bytes()) == sha256
    except OSError:
        return False
