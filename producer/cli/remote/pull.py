"""``tenstep pull`` through a server: images into a folder, and their manifest beside them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_json

from producer.client import NotFoundError
from producer.manifest.write import MANIFEST, MAX_FIRST
from producer.names import image_name
from producer.progress import Progress, Report
from producer.pull import PulledFolder, PulledImage, PullOptions
from producer.pull.copy import PNG, held_by_content
from producer.pull.fetch import Problems, map_ahead
from producer.pull_format import ManifestKind
from shared.domain.jobs import JobState
from shared.files import ensure_writable
from shared.storage.base import sha256_of
from shared.storage.folder import FolderStore

if TYPE_CHECKING:
    from producer.client import Client

JSON_LINES = "application/jsonl"
FOR_CLIENTS = frozenset({"job_id", "image_url"})
"""What a server adds to the lines of a manifest."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What became of a job's image."""

    name: str | None = None
    """Of its file; None if it is not there."""
    new_bytes: int | None = None
    problem: str | None = None


class RemotePuller:
    """Fills one folder from one batch of a server."""

    def __init__(
        self, client: Client, batch_id: UUID, total: int, folder: Path, options: PullOptions
    ) -> None:
        """Check the folder.

        Args:
            client: of the server; threads share it.
            batch_id: whose images.
            total: jobs that the batch has.
            folder: where to.
            options: manifests in Parquet are not written.

        Raises:
            InputError: the folder cannot be written to.
        """
        ensure_writable(folder)
        self._client = client
        self._batch_id = batch_id
        self._total = total
        self._folder = folder
        self._options = options
        self._destination = FolderStore(folder, durable=False)
        self._holds = held_by_content(folder)
        self._problems = Problems()
        self._first: list[PulledImage] = []
        self._images = self._written = self._bytes_written = self._cut = 0

    def finish(self, report: Report) -> PulledFolder:
        """Fetch whatever is done and not here yet, and write the manifest.

        Raises:
            ServiceUnavailableError: the server does not answer, or the folder is full.
        """
        wants_manifest = self._options.manifest is not ManifestKind.NONE
        with ExitStack() as stack:
            manifest: IO[bytes] | None = None
            if wants_manifest:
                manifest = stack.enter_context(self._destination.writer(MANIFEST, JSON_LINES))
            lines = stack.enter_context(closing(self._client.manifest(self._batch_id)))
            fetched = map_ahead(self._fetch, lines, self._options.parallel)
            for line, found in stack.enter_context(closing(fetched)):
                self._note(line, found)
                if manifest is not None:
                    told = {key: value for key, value in line.items() if key not in FOR_CLIENTS}
                    manifest.write(to_json({**told, "file": found.name}) + b"\n")
                done = line["position"] + 1
                report(Progress("jobs", done, max(done, self._total), self._bytes_written))
        return PulledFolder(
            to=str(self._folder),
            images=self._images,
            written=self._written,
            bytes_written=self._bytes_written,
            problems=self._problems.told(),
            not_fetched=self._problems.count,
            manifests=[MANIFEST] if wants_manifest else [],
            cut=self._cut,
            folder=self._folder,
            manifest=self._folder / MANIFEST,
            first=self._first,
        )

    def _fetch(self, line: Line) -> _Fetched:
        """Get an image that is not here; runs in a thread of its own."""
        if line["state"] != JobState.DONE:
            return _Fetched()
        name = image_name(line["position"], line["prompt"])
        if self._holds(line["position"], name, line["sha256"], line["bytes"]):
            return _Fetched(name)
        if self._options.manifest_only:
            return _Fetched()
        try:
            png = self._client.image(UUID(line["job_id"]))
        except NotFoundError as error:
            return _Fetched(problem=error.message)
        if sha256_of(png) != line["sha256"]:
            return _Fetched(problem=f"{line['key']} is damaged: its SHA-256 differs")
        self._destination.put(name, png, PNG)
        return _Fetched(name, len(png))

    def _note(self, line: Line, found: _Fetched) -> None:
        self._cut += bool(line["prompt_lost"] or line["negative_prompt_lost"])
        if found.problem is not None:
            self._problems.add(line["position"], found.problem)
        if found.name is None:
            return
        self._images += 1
        if len(self._first) < MAX_FIRST:
            self._first.append(PulledImage(self._folder / found.name, line["prompt"]))
        if found.new_bytes is not None:
            self._written += 1
            self._bytes_written += found.new_bytes
