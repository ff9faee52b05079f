"""A batch's images into a folder, while it is drawn or afterwards."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from producer.manifest import write_manifests
from producer.manifest.write import MANIFEST
from producer.progress import Report, unseen
from producer.pull.copy import ImageCopy, held_by_content
from producer.pull.results import PulledFolder, PulledImage, PullOptions
from shared.db.engine import Database
from shared.files import ensure_writable
from shared.storage.base import ObjectStore
from shared.storage.folder import FolderStore


class Puller:
    """Fills one folder from one batch. Call `pull_new` as often as you like, then `finish`."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        batch_id: UUID,
        folder: Path,
        options: PullOptions | None = None,
    ) -> None:
        """Check the folder.

        Raises:
            InputError: it cannot be written to.
        """
        ensure_writable(folder)
        self._database = database
        self._batch_id = batch_id
        self._folder = folder
        self._options = options or PullOptions()
        # Images can be had again: they need not survive a power cut.
        self._destination = FolderStore(folder, durable=False)
        self._copy = ImageCopy(
            database,
            store,
            batch_id,
            self._destination,
            held_by_content(folder),
            self._options.parallel,
        )

    def pull_new(self) -> int:
        """Copy the images that were finished since the last call; returns how many were written.

        Raises:
            ServiceUnavailableError: the store does not answer, or the folder is full.
        """
        before = self._copy.written
        self._copy.copy_new()
        return self._copy.written - before

    def finish(self, report: Report = unseen) -> PulledFolder:
        """Copy whatever is finished and not here yet, and write the manifest.

        Raises:
            ServiceUnavailableError: the store does not answer, or the folder is full.
        """
        copy, options = self._copy, self._options
        if not options.manifest_only:
            copy.copy_all(report)
        summary = write_manifests(
            self._database,
            self._batch_id,
            self._destination,
            options.manifest,
            copy.place_found if options.manifest_only else copy.place_of,
            report,
        )
        return PulledFolder(
            to=str(self._folder),
            images=summary.images if options.manifest_only else len(copy.pulled),
            written=copy.written,
            bytes_written=copy.bytes_written,
            problems=copy.problems.told(),
            not_fetched=copy.problems.count,
            manifests=summary.names,
            cut=summary.cut,
            folder=self._folder,
            manifest=self._folder / MANIFEST,
            first=[PulledImage(self._folder / file, prompt) for file, prompt in summary.first],
        )
