"""How many images a device holds at once, learned by running out of memory."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import Fit


def known_fit(
    session: Session, model: str, device_name: str, width: int, height: int
) -> int | None:
    """Return how many images of a size were found to fit, or None if none ever did not."""
    return session.scalar(
        select(Fit.images).where(
            Fit.model == model,
            Fit.device_name == device_name,
            Fit.width == width,
            Fit.height == height,
        )
    )


def remember_fit(
    session: Session, model: str, device_name: str, width: int, height: int, images: int
) -> None:
    """Keep the smallest number that was found."""
    known = session.get(Fit, (model, device_name, width, height))
    if known is None:
        session.add(
            Fit(model=model, device_name=device_name, width=width, height=height, images=images)
        )
    else:
        known.images = min(known.images, images)
