"""Manifests of a batch into a store: ``manifest.jsonl``, ``manifest.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from producer.manifest.jobs import JobFacts, Place, job_pages, record_of
from producer.manifest.lines import manifest_line
from producer.progress import Progress, Report, unseen
from producer.pull_format import ManifestKind
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.storage.base import ObjectStore

MANIFEST = "manifest.jsonl"
PARQUET_MANIFEST = "manifest.parquet"
MAX_FIRST = 200

PlaceOf = Callable[[JobFacts], Place | None]
"""Tells where a job's image was pulled to."""
Rows = Sequence[tuple[JobFacts, Place | None]]


@dataclass(slots=True)
class ManifestSummary:
    """What was seen while manifests were written."""

    names: Sequence[str] = ()
    """What they are called in the store."""
    jobs: int = 0
    images: int = 0
    """How many images were pulled."""
    cut: int = 0
    """How many images come from a prompt that was too long for the model."""
    first: list[tuple[str, str]] = field(default_factory=list)
    """File and prompt of the first images that were pulled, at most 200, in order."""

    def note(self, rows: Rows) -> None:
        """Look at some more jobs."""
        self.jobs += len(rows)
        for facts, place in rows:
            self.images += place is not None
            record = record_of(facts.attempt)
            self.cut += bool(record.get("prompt_lost") or record.get("negative_prompt_lost"))
            if place is not None and len(self.first) < MAX_FIRST:
                self.first.append((place.file, facts.job.prompt))


def write_manifests(
    database: Database,
    batch_id: UUID,
    destination: ObjectStore,
    kind: ManifestKind,
    place_of: PlaceOf,
    report: Report = unseen,
) -> ManifestSummary:
    """Write a line for each job of a batch, in order; each manifest appears whole.

    Args:
        database: holds the batch.
        batch_id: which.
        destination: where they go.
        kind: which are written.
        place_of: tells where a job's image is.
        report: is told how many jobs were written so far.

    Raises:
        ServiceUnavailableError: they cannot be written there.
    """
    if kind is ManifestKind.NONE:
        return ManifestSummary()
    names = [
        *([MANIFEST] if kind is not ManifestKind.PARQUET else []),
        *([PARQUET_MANIFEST] if kind is not ManifestKind.JSONL else []),
    ]
    summary = ManifestSummary(names)
    with database.read() as session:
        total = session.get_one(Batch, batch_id).total
    with ExitStack() as stack:
        writers = [stack.enter_context(_WRITERS[name](destination, batch_id)) for name in names]
        for page in job_pages(database, batch_id):
            rows = [(facts, place_of(facts)) for facts in page]
            for write in writers:
                write(rows)
            summary.note(rows)
            report(Progress("jobs", summary.jobs, total))
    return summary


@contextmanager
def _jsonl(destination: ObjectStore, _: UUID) -> Iterator[Callable[[Rows], None]]:
    with destination.writer(MANIFEST, "application/jsonl") as file:

        def write(rows: Rows) -> None:
            lines = [manifest_line(facts, place) for facts, place in rows]
            file.write(b"\n".join([*lines, b""]))

        yield write


@contextmanager
def _parquet(destination: ObjectStore, batch_id: UUID) -> Iterator[Callable[[Rows], None]]:
    # Takes a while to import, and most want no Parquet.
    from producer.manifest.parquet import parquet_writer

    with (
        destination.writer(PARQUET_MANIFEST, "application/vnd.apache.parquet") as file,
        parquet_writer(file, batch_id) as write,
    ):
        yield write


_WRITERS = {MANIFEST: _jsonl, PARQUET_MANIFEST: _parquet}
