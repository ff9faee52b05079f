"""A batch's images in the order in which they were finished, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from shared.db.conditions import IS_DONE
from shared.db.tables import Job
from shared.errors import InputError

SEPARATOR = "~"
MAX_POSITION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where an image stands in that order."""

    finished_at: datetime
    position: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            InputError: it is none.
        """
        at, separator, position = text.partition(SEPARATOR)
        try:
            moment, number = datetime.fromisoformat(at), int(position)
            # Near the ends of the calendar there are times that UTC does not have.
            in_utc = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InputError("this is no place in a list of images") from None
        if not separator or moment.tzinfo is None or not 0 <= number <= MAX_POSITION:
            raise InputError("this is no place in a list of images")
        return cls(in_utc, number)

    def __str__(self) -> str:
        """Write it so that a URL can name it."""
        return f"{self.finished_at.isoformat()}{SEPARATOR}{self.position}"


@dataclass(frozen=True, slots=True)
class ArrivedImage:
    """An image that is done."""

    job_id: UUID
    arrival: Arrival
    prompt: str
    sha256: str
    width: int
    height: int


def newest_images(
    session: Session,
    batch_id: UUID,
    limit: int,
    *,
    before: Arrival | None = None,
    after: Arrival | None = None,
) -> Sequence[ArrivedImage]:
    """Return images of a batch, the one that was finished last first.

    Args:
        session: reads.
        batch_id: whose.
        limit: how many at most.
        before: only what was finished before this one.
        after: only what was finished after this one; if it is too much, what was finished next.
    """
    place = tuple_(Job.finished_at, Job.position)
    query = (
        select(
            Job.id,
            Job.finished_at,
            Job.position,
            Job.prompt,
            Job.image_sha256,
            Job.width,
            Job.height,
        )
        .where(Job.batch_id == batch_id, IS_DONE)
        .limit(limit)
    )
    if before is not None:
        query = query.where(place < (before.finished_at, before.position))
    if after is not None:
        query = query.where(place > (after.finished_at, after.position))
        rows = session.execute(query.order_by(Job.finished_at, Job.position)).all()[::-1]
    else:
        newest_first = query.order_by(Job.finished_at.desc(), Job.position.desc())
        rows = session.execute(newest_first).all()
    return [
        ArrivedImage(
            row.id,
            Arrival(row.finished_at, row.position),
            row.prompt,
            row.image_sha256 or "",
            row.width,
            row.height,
        )
        for row in rows
        if row.finished_at is not None
    ]
