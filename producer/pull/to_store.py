"""A batch's images into any store: an object each, or in shards."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from producer.manifest import write_manifests
from producer.progress import Report
from producer.pull.copy import ImageCopy, held_by_size
from producer.pull.owner import INDEX, take_over
from producer.pull.results import Pulled, PullOptions
from producer.pull.shards import ShardWriter
from producer.pull_format import PullFormat
from shared.db.engine import Database
from shared.errors import InputError
from shared.storage.base import ObjectStore
from shared.storage.folder import FolderStore

PARTIAL = ".partial-"


def pull_objects(
    database: Database,
    store: ObjectStore,
    batch_id: UUID,
    destination: ObjectStore,
    options: PullOptions,
    report: Report,
) -> Pulled:
    """Copy what is finished and not there yet, an object each, and write the manifests.

    Raises:
        InputError: the destination is another batch's.
        ServiceUnavailableError: one of the stores does not answer.
    """
    take_over(destination, batch_id, PullFormat.FOLDER)
    holds = held_by_size(destination)
    copy = ImageCopy(database, store, batch_id, destination, holds, options.parallel)
    if not options.manifest_only:
        copy.copy_all(report)
    place_of = copy.place_found if options.manifest_only else copy.place_of
    summary = write_manifests(database, batch_id, destination, options.manifest, place_of, report)
    return Pulled(
        to=_shown(destination),
        images=summary.images if options.manifest_only else len(copy.pulled),
        written=copy.written,
        bytes_written=copy.bytes_written,
        problems=copy.problems.told(),
        not_fetched=copy.problems.count,
        manifests=summary.names,
        cut=summary.cut,
    )


def pull_shards(
    database: Database,
    store: ObjectStore,
    batch_id: UUID,
    destination: ObjectStore,
    options: PullOptions,
    report: Report,
) -> Pulled:
    """Add shards with what is finished and in none of them, and write the manifests.

    Raises:
        InputError: the destination is another batch's, or another pull's at the moment.
        ServiceUnavailableError: one of the stores does not answer.
    """
    take_over(destination, batch_id, PullFormat.WEBDATASET)
    with _alone(destination):
        shards = ShardWriter(database, store, batch_id, destination, options)
        if not options.manifest_only:
            shards.write_all(report)
        summary = write_manifests(
            database, batch_id, destination, options.manifest, shards.place_of, report
        )
    return Pulled(
        to=_shown(destination),
        images=shards.index.images,
        written=shards.written,
        bytes_written=shards.bytes_written,
        problems=shards.problems.told(),
        not_fetched=shards.problems.count,
        manifests=summary.names,
        cut=summary.cut,
        shards=shards.index.shards,
    )


@contextmanager
def _alone(destination: ObjectStore) -> Iterator[None]:
    """Let no other pull add shards to the same folder; clear what a killed one has left.

    Of object storage nobody can have it alone.
    """
    if not isinstance(destination, FolderStore):
        yield
        return
    lock = os.open(destination.folder / INDEX / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InputError(f"{destination.folder}: another tenstep pull is writing to it") from None
    try:
        for left in list(destination.list(PARTIAL)):
            destination.delete(left.key)
        yield
    finally:
        os.close(lock)


def _shown(destination: ObjectStore) -> str:
    if isinstance(destination, FolderStore):
        return str(destination.folder)
    return destination.display_url
