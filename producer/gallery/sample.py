"""Some jobs of a batch, evenly spread over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from producer.gallery_state import GalleryState
from shared.db.conditions import IS_DONE, IS_FAILED
from shared.db.tables import Batch, Job

# Each in the order of an index, so that ten million jobs are numbered without sorting them.
_WHICH: dict[GalleryState, tuple[ColumnElement[bool], Sequence[ColumnElement[Any]]]] = {
    GalleryState.DONE: (IS_DONE, (Job.finished_at.expression, Job.position.expression)),
    GalleryState.FAILED: (IS_FAILED, (Job.error_code.expression, Job.position.expression)),
}


def sample_positions(
    session: Session, batch_id: UUID, state: GalleryState, limit: int
) -> tuple[Sequence[int], int]:
    """Return positions of at most ``limit`` jobs, and how many jobs there are to choose from."""
    if state is GalleryState.ALL:
        total = session.get_one(Batch, batch_id).total
        return evenly(total, limit), total
    condition, order = _WHICH[state]
    ours = (Job.batch_id == batch_id, condition)
    count = session.scalar(select(func.count()).select_from(Job).where(*ours)) or 0
    numbered = (
        select(Job.position, (func.row_number().over(order_by=order) - 1).label("number"))
        .where(*ours)
        .subquery()
    )
    chosen = select(numbered.c.position).where(numbered.c.number.in_(evenly(count, limit)))
    return list(session.scalars(chosen)), count


def evenly(count: int, limit: int) -> Sequence[int]:
    """Choose numbers below ``count``, at most ``limit``, that lie equally far apart."""
    return range(count) if count <= limit else [index * count // limit for index in range(limit)]
