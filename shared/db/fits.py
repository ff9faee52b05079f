"""How many images a device holds at once, learned by running out of memory.

A lesson is that of all devices with the same name. It is a day's: neighbours on the device,
drivers and models' code change, so after it twice as many are tried again. If that fails the
lesson holds for another day; if it goes well, twice as many are the lesson.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from shared.db.adding import add_to_rows
from shared.db.tables import Fit, Worker
from shared.domain.pass_rates import PassSize

LESSON_HOLDS = timedelta(days=1)
GROWTH = 2
"""By how much more is tried after that: a pass that fails is halved."""


def fits_for(
    session: Session, model: str, device_name: str, now: datetime
) -> Mapping[tuple[int, int], int]:
    """Return how many images fit, by width and height; sizes that always fitted are not in it."""
    lessons = session.execute(_lessons(model, device_name))
    return {
        (width, height): _to_try(images, learned_at, now)
        for width, height, images, learned_at in lessons
    }


def known_fit(
    session: Session, model: str, device_name: str, width: int, height: int, now: datetime
) -> int | None:
    """Return how many images of a size fit, or None if none ever did not."""
    of_size = _lessons(model, device_name).where(Fit.width == width, Fit.height == height)
    lesson = session.execute(of_size).one_or_none()
    return None if lesson is None else _to_try(lesson.images, lesson.learned_at, now)


def _lessons(model: str, device_name: str) -> Select[int, int, int, datetime | None]:
    return select(Fit.width, Fit.height, Fit.images, Fit.learned_at).where(
        Fit.model == model, Fit.device_name == device_name
    )


def _to_try(images: int, learned_at: datetime | None, now: datetime) -> int:
    is_fresh = learned_at is not None and now - learned_at < LESSON_HOLDS
    return images if is_fresh else images * GROWTH


def remember_fit(
    session: Session,
    model: str,
    device_name: str,
    width: int,
    height: int,
    *,
    images: int,
    now: datetime,
) -> None:
    """Keep the smallest number that was found."""
    lesson = {
        "model": model,
        "device_name": device_name,
        "width": width,
        "height": height,
        "images": images,
        "learned_at": now,
    }
    add_to_rows(session, Fit, [lesson], least=("images",), latest=("learned_at",))


def unlearn_fits(
    session: Session,
    worker_id: UUID,
    model: str,
    drawn: Mapping[PassSize, object],
    now: datetime,
) -> None:
    """Let old lessons grow to what a worker has drawn at once since.

    A fresh lesson stays: what was drawn may have been before it.
    """
    most: dict[tuple[int, int], int] = {}
    for shape, images in drawn:
        key = shape.width, shape.height
        most[key] = max(images, most.get(key, 0))
    if not most:
        return
    device_name = session.get_one(Worker, worker_id).device_name
    is_old = or_(Fit.learned_at.is_(None), Fit.learned_at <= now - LESSON_HOLDS)
    for (width, height), images in sorted(most.items()):
        session.execute(
            update(Fit)
            .where(Fit.model == model, Fit.device_name == device_name)
            .where(Fit.width == width, Fit.height == height)
            .where(Fit.images < images, is_old)
            .values(images=images, learned_at=now),
            execution_options={"synchronize_session": False},
        )
