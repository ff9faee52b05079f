"""Rates in the database: measured by every image that was drawn, or declared by somebody.

Of workers with the same device and model only the latest five that drew a shape are asked:
drivers, settings and neighbours change, and what was measured long ago says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from math import isqrt
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from shared.db.adding import add_to_row
from shared.db.cost_tables import DeclaredRate, MeasuredRate, PassRate
from shared.db.model_tables import WorkerModel
from shared.db.tables import Worker
from shared.domain.pass_rates import choose_pass
from shared.domain.rates import (
    DECLARED_SPREAD,
    MILLION,
    NANOSECONDS_SQUARED,
    Basis,
    DeviceRate,
    Measured,
    Shape,
)

LATEST_WORKERS = 5
LONE_WORKER_SPREAD = 100_000
"""By how much workers are taken to differ where only one was measured."""
NO_DEVICE_NAME = ""
"""Of a rate that somebody declared, for all devices of a kind and SKU."""


def record_rates(
    session: Session,
    worker_id: UUID,
    model: str,
    measured: Mapping[Shape, Measured],
    now: datetime,
) -> None:
    """Add what a worker has measured since the last time of images of one of its models."""
    for shape, sums in sorted(measured.items()):
        key = {"worker_id": worker_id, "model": model, **shape._asdict()}
        amounts = {**sums._asdict(), "updated_at": now}
        add_to_row(session, MeasuredRate, key, amounts, latest=("updated_at",))


def read_rates(session: Session, model: str) -> Sequence[DeviceRate]:
    """Return what is known of a model's images, by device kind, SKU, device name and shape.

    Where passes of several numbers of images were measured, it is what images take at the
    number that is best drawn at once: what was drawn otherwise, to find that out, says nothing.

    A rate that was declared stands only where that shape was not measured on that SKU. It is
    taken for images with guidance.
    """
    rows = session.execute(_latest(model, MeasuredRate, Shape._fields, Measured._fields)).all()
    passes = _best_passes(session, model)
    rates = [
        _device_rate(device, Shape(*shape), [_OfWorker._make(row[7:]) for row in group], passes)
        for (device, shape), group in groupby(rows, key=lambda row: (row[:3], row[3:7]))
    ]
    known = {(rate.device_kind, rate.sku, rate.shape) for rate in rates}
    declared = select(DeclaredRate).where(DeclaredRate.model == model)
    others = [_declared_rate(row) for row in session.scalars(declared)]
    rates += [rate for rate in others if (rate.device_kind, rate.sku, rate.shape) not in known]
    return rates


class _OfWorker(NamedTuple):
    """What one worker has measured."""

    images: int
    device_ns: int
    device_ms_squared: int
    wall_ns: int
    load_ns: int


BestPasses = Mapping[tuple[Any, ...], Sequence[_OfWorker]]
"""By device kind, SKU, device name and shape."""


def _best_passes(session: Session, model: str) -> BestPasses:
    key = (*Shape._fields, "images")
    sums = ("passes", "device_ns", "device_ms_squared")
    by_images: dict[tuple[Any, ...], dict[int, list[_OfWorker]]] = {}
    for row in session.execute(_latest(model, PassRate, key, sums)):
        *of, images, passes, device_ns, squares, load_ns = row
        of_worker = _OfWorker(images * passes, device_ns, squares, 0, load_ns)
        by_images.setdefault(tuple(of), {}).setdefault(images, []).append(of_worker)
    return {of: measured[_best(measured)] for of, measured in by_images.items()}


def _best(measured: Mapping[int, Sequence[_OfWorker]]) -> int:
    return choose_pass({images: _mean_ns(workers) for images, workers in measured.items()})


def _mean_ns(workers: Sequence[_OfWorker]) -> int:
    return sum(worker.device_ns for worker in workers) // sum(worker.images for worker in workers)


def _latest(
    model: str, table: type[MeasuredRate | PassRate], key: Sequence[str], sums: Sequence[str]
) -> Select[Any]:
    """Select device, key, sums and time to load, of the latest workers of each device and key."""
    device = (Worker.device_kind, Worker.device_sku, Worker.device_name)
    keys = tuple(getattr(table, name) for name in key)
    latest_first = (Worker.started_at.desc(), Worker.id.desc())
    rank = func.row_number().over(partition_by=(*device, *keys), order_by=latest_first)
    ranked = (
        select(
            *device,
            *keys,
            *(getattr(table, name) for name in sums),
            func.coalesce(WorkerModel.load_ns, Worker.load_ns).label("load_ns"),
            rank.label("rank"),
        )
        .join(Worker, Worker.id == table.worker_id)
        .outerjoin(
            WorkerModel,
            and_(WorkerModel.worker_id == table.worker_id, WorkerModel.model == table.model),
        )
        .where(table.model == model)
        .subquery()
    )
    columns = [column for column in ranked.c if column.name != "rank"]
    key_columns = columns[: len(device) + len(keys)]
    return select(*columns).where(ranked.c.rank <= LATEST_WORKERS).order_by(*key_columns)


def _device_rate(
    device: tuple[str, str, str], shape: Shape, workers: Sequence[_OfWorker], passes: BestPasses
) -> DeviceRate:
    best = passes.get((*device, *shape), workers)
    images = sum(worker.images for worker in best)
    device_ns = sum(worker.device_ns for worker in best)
    wall_ns = sum(worker.wall_ns for worker in workers) // sum(worker.images for worker in workers)
    # What an image takes beside the device is the same however many are drawn at once.
    beside_ns = max(0, wall_ns - _mean_ns(workers))
    return DeviceRate(
        *device,
        shape=shape,
        images=images,
        device_ns=device_ns // images,
        image_spread=_image_spread(best, device_ns),
        worker_spread=_worker_spread(best, images, device_ns),
        wall_ns=wall_ns if best is workers else device_ns // images + beside_ns,
        load_ns=sum(worker.load_ns for worker in workers) // len(workers),
        basis=Basis.MEASURED,
    )


def _image_spread(workers: Sequence[_OfWorker], device_ns: int) -> int:
    """Return by how much images of the same worker differ, in millionths of the mean."""
    if not device_ns:
        return 0
    images = sum(worker.images for worker in workers)
    of_means = sum(worker.device_ns**2 // worker.images for worker in workers)
    squares = sum(worker.device_ms_squared for worker in workers) * NANOSECONDS_SQUARED
    freedom = max(1, images - len(workers))
    # Rounding to milliseconds may make it less than nothing.
    variance = max(0, squares - of_means) // freedom
    return isqrt(variance) * images * MILLION // device_ns


def _worker_spread(workers: Sequence[_OfWorker], images: int, device_ns: int) -> int:
    """Return by how much the means of workers differ, in millionths of the mean."""
    if len(workers) == 1 or not device_ns:
        return LONE_WORKER_SPREAD
    mean = device_ns // images
    squares = sum(
        worker.images * (worker.device_ns // worker.images - mean) ** 2 for worker in workers
    )
    variance = squares * len(workers) // (images * (len(workers) - 1))
    return isqrt(variance) * images * MILLION // device_ns


def _declared_rate(row: DeclaredRate) -> DeviceRate:
    return DeviceRate(
        row.device_kind,
        row.sku,
        NO_DEVICE_NAME,
        shape=Shape(row.width, row.height, row.iterations, is_guided=True),
        images=0,
        device_ns=row.device_ns,
        image_spread=0,
        worker_spread=DECLARED_SPREAD,
        wall_ns=row.device_ns,
        load_ns=row.load_ns,
        basis=Basis.DECLARED,
    )
