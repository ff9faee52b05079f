"""What passes of different sizes took, by worker, and how many images are best drawn at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.adding import add_to_rows
from shared.db.cost_tables import PassRate
from shared.db.fits import known_fit, unlearn_fits
from shared.db.rates import LATEST_WORKERS
from shared.db.tables import Worker
from shared.domain.pass_rates import MeasuredPasses, PassSize, best_pass_of
from shared.domain.rates import Shape

KNOWN_FOR = timedelta(seconds=5)
MOST_KNOWN = 1_000
"""Answers that are kept; then it begins anew."""


def record_passes(
    session: Session,
    worker_id: UUID,
    model: str,
    measured: Mapping[PassSize, MeasuredPasses],
    now: datetime,
) -> None:
    """Add what a worker has measured of a model; old lessons of memory may grow by it."""
    rows = [
        {
            "worker_id": worker_id,
            "model": model,
            **size.shape._asdict(),
            "images": size.images,
            **sums._asdict(),
            "updated_at": now,
        }
        for size, sums in measured.items()
    ]
    add_to_rows(session, PassRate, rows, most=("peak_bytes",), latest=("updated_at",))
    unlearn_fits(session, worker_id, model, measured, now)


def best_pass(
    session: Session,
    model: str,
    device_kind: str,
    device_name: str,
    shape: Shape,
    *,
    default: int,
    now: datetime,
) -> int:
    """Return how many images of a shape are best drawn at once by devices of a name.

    Args:
        session: reads.
        model: the model's name.
        device_kind: the devices'.
        device_name: theirs.
        shape: the images'.
        default: how many where nothing says that fewer are as fast; see
            `shared.domain.pass_rates.default_pass`.
        now: lessons of memory age.
    """
    rates = pass_rates(session, model, device_kind, device_name, shape)
    most = known_fit(session, model, device_name, shape.width, shape.height, now)
    return best_pass_of(rates, default, most)


class RememberedPasses:
    """Answers as `best_pass` does, and by the same measurements for a few seconds.

    It is asked for every chunk, and what it goes by changes slowly.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, frozenset[str], Shape], tuple[int, datetime]] = {}

    def best(
        self,
        session: Session,
        model: str,
        device_kind: str,
        device_names: frozenset[str],
        shape: Shape,
        *,
        default: int,
        now: datetime,
    ) -> int:
        """Return how many images of a shape are best drawn at once by all of some devices.

        Args:
            session: reads, now and then.
            model: the model's name.
            device_kind: the devices'.
            device_names: theirs, at least one; the one that draws fewest decides.
            shape: the images'.
            default: how many where nothing says that fewer are as fast.
            now: the time.
        """
        key = (model, device_kind, device_names, shape)
        best, until = self._known.get(key, (0, now))
        if now < until:
            return best
        best = min(
            best_pass(session, model, device_kind, name, shape, default=default, now=now)
            for name in device_names
        )
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[key] = best, now + KNOWN_FOR
        return best


def pass_rates(
    session: Session, model: str, device_kind: str, device_name: str, shape: Shape
) -> Mapping[int, int]:
    """Return the nanoseconds of an image, by how many were drawn at once.

    Of each number of images the latest five workers that drew it count.
    """
    latest_first = (Worker.started_at.desc(), Worker.id.desc())
    rank = func.row_number().over(partition_by=PassRate.images, order_by=latest_first)
    ranked = (
        select(PassRate.images, PassRate.passes, PassRate.device_ns, rank.label("rank"))
        .join(Worker, Worker.id == PassRate.worker_id)
        .where(
            PassRate.model == model,
            Worker.device_kind == device_kind,
            Worker.device_name == device_name,
            *(getattr(PassRate, name) == value for name, value in shape._asdict().items()),
        )
        .subquery()
    )
    rows = session.execute(
        select(ranked.c.images, func.sum(ranked.c.passes), func.sum(ranked.c.device_ns))
        .where(ranked.c.rank <= LATEST_WORKERS)
        .group_by(ranked.c.images)
    )
    return {images: int(device_ns) // (images * int(passes)) for images, passes, device_ns in rows}
