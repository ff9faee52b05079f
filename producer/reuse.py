"""Images that were drawn before, for jobs that ask for the very same again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.order import Order
from shared.db.bulk import NewJob, ReusedJob
from shared.db.conditions import IS_DONE
from shared.db.served_models import latest_weights
from shared.db.tables import Batch, Job
from shared.domain.fingerprint import image_fingerprint
from shared.models.grids import Grids


def images_from_before(
    session: Session,
    jobs: Sequence[NewJob],
    model: str,
    searched_grids: Grids,
    order: Order,
    now: datetime,
) -> dict[int, ReusedJob]:
    """Return the images that the same tenant has already, by the positions of these new jobs.

    What counts is the same prompt, seed and settings, drawn by the weights that the model's
    last worker had, along the same timesteps if they were searched, and looked at by the safety
    checker if these are to be.
    """
    weights = latest_weights(session, model)
    if weights is None:
        return {}
    prints = {
        job.position: image_fingerprint(job, weights, searched_grids.get(job.steps)) for job in jobs
    }
    drawn = _drawn(session, set(prints.values()), order)
    return {
        position: _reused(drawn[fingerprint], now)
        for position, fingerprint in prints.items()
        if fingerprint in drawn
    }


def _drawn(session: Session, prints: set[str], order: Order) -> dict[str | None, Any]:
    rows = session.execute(
        select(
            Job.fingerprint,
            Job.id,
            Job.reused_from,
            Job.image_key,
            Job.image_sha256,
            Job.image_bytes,
        )
        .join(Batch, Batch.id == Job.batch_id)
        .where(Job.fingerprint.in_(prints), IS_DONE)
        .where(Batch.tenant == order.tenant, Batch.safety_checker == order.safety_checker)
        # Their images are about to go.
        .where(Batch.details_dropped_at.is_(None))
    )
    return {row.fingerprint: row for row in rows}


def _reused(drawn: Any, now: datetime) -> ReusedJob:
    return ReusedJob(
        fingerprint=drawn.fingerprint,
        reused_from=(drawn.reused_from or drawn.id).hex,
        image_key=drawn.image_key,
        image_sha256=drawn.image_sha256,
        image_bytes=drawn.image_bytes,
        finished_at=now,
    )
