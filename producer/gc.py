"""Objects that no job refers to: left by workers that died between the store and the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ScalarResult, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import ServiceUnavailableError
from shared.storage.base import IMAGES, THUMBNAILS, ObjectStore, StoredObject, thumbnail_key

ROWS_A_FETCH = 10_000
CODE_POINTS = {"postgresql": "C", "sqlite": "BINARY"}
"""Collations that sort as stores do."""


@dataclass(slots=True)
class Collected:
    """What was found of one kind, such as of all that is below ``images/``."""

    objects: int = 0
    orphans: int = 0
    """Of these objects those that no job refers to and that are old enough."""
    orphan_bytes: int = 0
    deleted: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it as plain values."""
        return {
            "objects": self.objects,
            "orphans": self.orphans,
            "orphan_bytes": self.orphan_bytes,
            "deleted": self.deleted,
        }


@dataclass(frozen=True, slots=True)
class Garbage:
    """What was found, by kind."""

    images: Collected
    thumbnails: Collected

    def to_json(self) -> dict[str, object]:
        """Return it as plain values: the images' own, and the thumbnails' below a name."""
        return {**self.images.to_json(), "thumbnails": self.thumbnails.to_json()}


def collect_garbage(
    database: Database, store: ObjectStore, now: datetime, grace: timedelta, *, delete: bool
) -> Garbage:
    """Find images, and thumbnails of images, that no job refers to, and remove them.

    Reads the store and the books side by side, in the order of the keys: of ten million
    images no more than a page is in memory.

    Args:
        database: the books.
        store: the images.
        now: the time.
        grace: an object younger than this may belong to a job that is about to be done.
        delete: remove them; else they are only counted.

    Raises:
        ServiceUnavailableError: the store does not answer, or lists in another order.
    """

    def collect(prefix: str, referred: Iterable[str]) -> Collected:
        collected = Collected()
        for found in _unreferred(_counted(store.list(prefix), collected), iter(referred)):
            if now - found.modified_at < grace:
                continue
            collected.orphans += 1
            collected.orphan_bytes += found.bytes
            if delete and _is_unchanged(store, found):
                store.delete(found.key)
                collected.deleted += 1
        return collected

    with database.read() as session:
        with closing(_in_order(session, Job.image_key)) as keys:
            images = collect(IMAGES, keys)
        with closing(_in_order(session, Job.image_sha256)) as hashes:
            thumbnails = collect(THUMBNAILS, map(thumbnail_key, hashes))
    return Garbage(images, thumbnails)


def _in_order(session: Session, column: InstrumentedAttribute[str | None]) -> ScalarResult[str]:
    """Read what jobs have there, sorted as stores sort."""
    collation = CODE_POINTS[session.get_bind().dialect.name]
    values = select(column).where(column.is_not(None)).order_by(column.collate(collation))
    return session.scalars(values, execution_options={"yield_per": ROWS_A_FETCH})


def _counted(objects: Iterable[StoredObject], collected: Collected) -> Iterator[StoredObject]:
    last = ""
    for found in objects:
        if found.key <= last:
            # Out of step with the books, everything would look like garbage.
            raise ServiceUnavailableError(f"the store lists {found.key} after {last}")
        last = found.key
        collected.objects += 1
        yield found


def _unreferred(objects: Iterable[StoredObject], referred: Iterator[str]) -> Iterator[StoredObject]:
    key = next(referred, None)
    for found in objects:
        while key is not None and key < found.key:
            key = next(referred, None)
        if key != found.key:
            yield found


def _is_unchanged(store: ObjectStore, found: StoredObject) -> bool:
    """Look again: a worker may have drawn the very image anew, and be about to book it."""
    now_there = next(store.list(found.key), None)
    return now_there == found
