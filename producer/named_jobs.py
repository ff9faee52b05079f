"""Jobs by what their owner calls them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared.db.tables import Batch, Job
from shared.errors import InputError


def find_jobs(session: Session, batch: Batch, name: str) -> Sequence[Job]:
    """Return a batch's jobs by their line's own id, or the one by its position or its id.

    Raises:
        InputError: there is none.
    """
    for condition in _readings(name):
        found = session.scalars(
            select(Job).where(Job.batch_id == batch.id, condition).order_by(Job.position)
        ).all()
        if found:
            return found
    raise InputError(
        f"batch {batch.id} has no job {name}",
        hint="--job takes a custom_id, or a position: tenstep cost --jobs lists them.",
    )


def _readings(name: str) -> list[ColumnElement[bool]]:
    readings = [Job.custom_id == name]
    if re.fullmatch(r"\d{1,18}", name):
        readings.append(Job.position == int(name))
    with contextlib.suppress(ValueError):
        readings.append(Job.id == UUID(name))
    return readings
