"""A batch's images in WebDataset's tar shards, which are added to and never changed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain
from uuid import UUID

from producer.manifest import JobFacts, Place, job_pages, manifest_line
from producer.names import sample_key
from producer.progress import Progress, Report
from producer.pull.fetch import Problems, UnavailableImageError, fetch_image, map_ahead
from producer.pull.results import PullOptions
from producer.pull.shard_index import ShardIndex, shard_name
from shared.db.batches import count_jobs
from shared.db.engine import Database
from shared.domain.jobs import JobState
from shared.storage.base import ObjectStore

SHARD_BYTES = 1 << 30
TAR = "application/x-tar"

Fetched = tuple[JobFacts, bytes]


class ShardWriter:
    """Puts images that are finished and in no shard yet into new shards."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        batch_id: UUID,
        destination: ObjectStore,
        options: PullOptions,
    ) -> None:
        """Read what the shards hold that are there.

        Raises:
            InputError: it cannot be told of one of them.
            ServiceUnavailableError: the destination cannot be read.
        """
        self.index = ShardIndex(destination)
        self.problems = Problems()
        self.written = 0
        self.bytes_written = 0
        self._database = database
        self._store = store
        self._batch_id = batch_id
        self._destination = destination
        self._options = options

    def write_all(self, report: Report) -> None:
        """Write shards until no finished image is left.

        Raises:
            ServiceUnavailableError: one of the stores does not answer.
        """
        with closing(self._fetched(report)) as images:
            for first in images:
                self._write_shard(chain([first], images))

    def place_of(self, facts: JobFacts) -> Place | None:
        """Tell which shard holds an image; None if none does."""
        position = facts.job.position
        number = self.index.shard_of(position)
        return None if number is None else Place(f"{sample_key(position)}.png", shard_name(number))

    def _fetched(self, report: Report) -> Generator[Fetched]:
        """Yield the images that are in no shard, in order."""
        with self._database.read() as session:
            total = count_jobs(session, self._batch_id)[JobState.DONE]
        done = self.index.images
        with closing(map_ahead(self._fetch, self._missing(), self._options.parallel)) as fetched:
            for facts, data in fetched:
                if isinstance(data, str):
                    self.problems.add(facts.job.position, data)
                    continue
                yield facts, data
                done += 1
                report(Progress("images", done, max(done, total), self.bytes_written))

    def _missing(self) -> Iterator[JobFacts]:
        for page in job_pages(self._database, self._batch_id):
            for facts in page:
                is_done = facts.job.state == JobState.DONE
                if is_done and self.index.shard_of(facts.job.position) is None:
                    yield facts

    def _fetch(self, facts: JobFacts) -> bytes | str:
        """Return an image, or why it cannot be had; runs in a thread of its own."""
        key, sha256 = facts.job.image_key, facts.job.image_sha256
        try:
            return fetch_image(self._store, key or "", sha256 or "")
        except UnavailableImageError as error:
            return str(error)

    def _write_shard(self, images: Iterator[Fetched]) -> None:
        """Take images until a shard is full. Its index comes first, and then it appears."""
        number = self.index.next_number
        name = shard_name(number)
        with self._destination.writer(name, TAR) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                positions = self._fill(tar, images, name)
            self.index.announce(number, file.tell(), positions)
        self.index.add(number, positions)
        self.written += len(positions)

    def _fill(self, tar: tarfile.TarFile, images: Iterator[Fetched], shard: str) -> Sequence[int]:
        positions: list[int] = []
        for facts, data in images:
            _add_sample(tar, facts, data, shard)
            positions.append(facts.job.position)
            self.bytes_written += len(data)
            if len(positions) >= self._options.shard_images or tar.offset >= SHARD_BYTES:
                break
        return positions


def _add_sample(tar: tarfile.TarFile, facts: JobFacts, data: bytes, shard: str) -> None:
    """Add an image, its line of the manifest and its prompt, one after the other."""
    key = sample_key(facts.job.position)
    line = manifest_line(facts, Place(f"{key}.png", shard))
    members = {"png": data, "json": line, "txt": facts.job.prompt.encode()}
    finished_at = facts.job.finished_at
    for extension, content in members.items():
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size = len(content)
        member.mtime = int(finished_at.timestamp()) if finished_at else 0
        tar.addfile(member, io.BytesIO(content))
