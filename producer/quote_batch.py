"""What a batch was expected to cost when it was submitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.planning.offers import Work
from producer.quote import Bought, Devices, Fleet, Origin, Quote, Rated, make_quote
from producer.quote_grounds import live_fleet, local_fleet, rated_where_priced, waste_so_far
from shared.db.tables import Job
from shared.domain.rates import Shape
from shared.settings import Settings


def quote_batch(
    session: Session,
    settings: Settings,
    model: str,
    images: Mapping[Shape, int],
    workers: int,
    now: datetime,
) -> dict[str, Any] | None:
    """Quote what was just submitted, or return None where too little is known.

    It is quoted for the workers that are alive, else for those that will be started for it,
    else for the device that is known to draw it most cheaply.

    Args:
        session: reads.
        settings: the submitter's.
        model: whose images.
        images: how many of each shape are to be drawn.
        workers: how many this host starts if none is alive; 0 leaves it to others.
        now: whose prices.
    """
    rated = rated_where_priced(session, model, now)
    if not rated or not images:
        return None
    work = Work(images, settings.chunk_size)
    waste = waste_so_far(session, model)
    fleet = live_fleet(session, settings, model, now)
    if fleet is None and workers:
        fleet = local_fleet(settings, workers)
    if fleet is None:
        quotes = (make_quote(work, each, rated, waste) for each in one_of_each(rated))
        return _as_kept(min(quotes, key=lambda quote: quote.total.expected), now)
    if any(bought not in rated for bought in fleet.bought):
        return None
    return _as_kept(make_quote(work, fleet, rated, waste), now)


def without_reused(
    session: Session, batch_id: UUID, images: Mapping[Shape, int]
) -> Mapping[Shape, int]:
    """Leave out the images of a batch that were there before: they cost nothing."""
    kind = (Job.width, Job.height, Job.steps, Job.squeeze, Job.guidance_scale, Job.quality)
    reused = (
        select(*kind, func.count())
        .where(Job.batch_id == batch_id, Job.reused_from.is_not(None))
        .group_by(*kind)
    )
    left = Counter(images)
    for width, height, steps, squeeze, scale, quality, count in session.execute(reused):
        left[Shape.of(width, height, steps, squeeze, scale, quality)] -= count
    return +left


def one_of_each(rated: Mapping[Bought, Rated]) -> list[Fleet]:
    """Return a fleet of one device for each kind and SKU that is known."""
    return [Fleet([Devices(*bought, count=1)], Origin.ONE_DEVICE) for bought in rated]


def _as_kept(quote: Quote, now: datetime) -> dict[str, Any]:
    low, expected, high = quote.total
    return {
        "nanodollars_low": low,
        "nanodollars_expected": expected,
        "nanodollars_high": high,
        "images": quote.images,
        "basis": quote.basis.value,
        "measured_images": quote.measured_images,
        "device": quote.fleet.name,
        "quoted_at": now.isoformat(),
    }
