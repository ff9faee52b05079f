"""What a batch and the books say of how its chunks are drawn, as it was a moment ago."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from shared.db.budgets import purse_of
from shared.db.fits import fits_for
from shared.db.leases import ClaimedJob
from shared.db.tables import Batch
from shared.domain.pass_rates import default_pass
from shared.domain.rates import Shape
from worker.runtime import Runtime
from worker.terms import Terms

TERMS_HOLD = timedelta(seconds=2)
"""How long a batch's terms are taken for unchanged. What it may cost every claim looks up."""
MOST_TERMS = 100


def terms_of(runtime: Runtime, session: Session, job: ClaimedJob, now: datetime) -> Terms | None:
    """Return on what terms a job's chunk is drawn; None if its model is none of the worker's."""
    shape = Shape.of_image(job)
    known = runtime.terms.get((job.batch_id, shape))
    if known is not None and now < known.until:
        return known
    batch = session.get_one(Batch, job.batch_id)
    if (known_fits := runtime.models.fits.get(batch.model)) is None:
        return None
    # Other workers of the kind may have learned something.
    fits = fits_for(session, batch.model, runtime.drawn_by.device_name, now)
    known_fits.clear()
    known_fits.update(fits)
    terms = Terms(
        batch.model,
        batch.safety_checker,
        purse_of(session, batch.id, now) is not None,
        batch.images_per_pass or _images_per_pass(runtime, session, batch.model, shape, now),
        until=now + TERMS_HOLD,
    )
    if len(runtime.terms) >= MOST_TERMS:
        runtime.terms.clear()
    runtime.terms[job.batch_id, shape] = terms
    return terms


def _images_per_pass(
    runtime: Runtime, session: Session, model: str, shape: Shape, now: datetime
) -> int:
    settings = runtime.settings
    if settings.images_per_pass:
        return settings.images_per_pass
    return runtime.passes.best(
        session,
        model,
        runtime.device_kind,
        frozenset({runtime.drawn_by.device_name}),
        shape,
        default=default_pass(runtime.device_kind, settings.chunk_size),
        now=now,
    )
