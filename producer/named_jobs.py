"""Jobs by what their owner calls them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from producer.text_search import is_storable
from shared.db.batches import find_batch
from shared.db.details import require_details
from shared.db.tables import Batch, Job
from shared.errors import InputError


def find_jobs(session: Session, batch: Batch, name: str) -> Sequence[Job]:
    """Return a batch's jobs by their line's own id, or the one by its position or its id.

    Raises:
        DetailsDroppedError: the batch's jobs were removed.
        InputError: there is none.
    """
    require_details(batch)
    for condition in _readings(name):
        found = session.scalars(
            select(Job).where(Job.batch_id == batch.id, condition).order_by(Job.position)
        ).all()
        if found:
            return found
    raise InputError(
        f"batch {batch.id} has no job {_printable(name)}",
        hint=f"By its custom_id or its position: tenstep jobs {batch.id} lists them.",
    )


def find_job(session: Session, name: str, batch_reference: str | None) -> Job:
    """Return one job: by its id alone, or by a name in a batch, the newest by default.

    Raises:
        InputError: there is no such batch or job, or several have that name.
    """
    by_id = None if batch_reference else _by_id(session, name)
    if by_id is not None:
        return by_id
    batch = find_batch(session, batch_reference)
    found = find_jobs(session, batch, name)
    if len(found) > 1:
        raise InputError(
            f"{name} is {len(found):,} images of batch {batch.id}",
            hint=f"Name one by its position: {found[0].position} to {found[-1].position}.",
        )
    return found[0]


def _by_id(session: Session, name: str) -> Job | None:
    job_id = _uuid(name)
    return None if job_id is None else session.get(Job, job_id)


def _readings(name: str) -> list[ColumnElement[bool]]:
    readings = []
    job_id = _uuid(name)
    if job_id is not None:
        readings.append(Job.id == job_id)
    if is_storable(name):
        readings.append(Job.custom_id == name)
    if re.fullmatch(r"\d{1,18}", name):
        readings.append(Job.position == int(name))
    return readings


def _uuid(name: str) -> UUID | None:
    with contextlib.suppress(ValueError):
        return UUID(name)
    return None


def _printable(name: str) -> str:
    """Keep the line on which it is told one that a terminal can show."""
    return name if name.isprintable() else ascii(name)
