"""What the books know of a calibration's images, passes and devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Self
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.calibrated import CalibratedRate, Calibration, TriedPass, Unmeasured
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import MeasuredRate, PassRate
from shared.db.fits import known_fit
from shared.db.pass_rates import best_pass
from shared.db.prices import price_in_force
from shared.db.rates import read_rates
from shared.db.tables import Attempt, Worker
from shared.domain.jobs import AttemptOutcome, LedgerKind
from shared.domain.pass_rates import MeasuredPasses, default_pass
from shared.domain.rates import Basis, DeviceRate, Shape


class DeviceName(NamedTuple):
    """What devices have in common that draw equally fast."""

    kind: str
    name: str

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """Return that of a worker's device."""
        return cls(worker.device_kind, worker.device_name)


def images_by_worker(session: Session, model: str) -> Mapping[UUID, int]:
    """Return how many images workers have written down that they drew."""
    rows = session.execute(
        select(MeasuredRate.worker_id, func.sum(MeasuredRate.images))
        .where(MeasuredRate.model == model)
        .group_by(MeasuredRate.worker_id)
    )
    return {worker_id: int(images) for worker_id, images in rows}


def images_drawn(session: Session, batch_ids: Collection[UUID]) -> Mapping[UUID, int]:
    """Return how many images of some batches workers drew."""
    rows = session.execute(
        select(Attempt.worker_id, func.count())
        .where(Attempt.batch_id.in_(batch_ids), Attempt.outcome == AttemptOutcome.DONE)
        .group_by(Attempt.worker_id)
    )
    return dict(rows.all())


def passes_by_worker(session: Session, model: str, shape: Shape) -> Mapping[tuple[UUID, int], int]:
    """Return how many passes workers have written down, by how many images each had."""
    rows = session.execute(
        select(PassRate.worker_id, PassRate.images, PassRate.passes)
        .where(PassRate.model == model)
        .where(*(getattr(PassRate, name) == value for name, value in shape._asdict().items()))
    )
    return {(worker_id, images): passes for worker_id, images, passes in rows}


def devices_that_drew(session: Session, worker_ids: Collection[UUID]) -> set[DeviceName]:
    """Return what some workers drew on."""
    workers = session.scalars(select(Worker).where(Worker.id.in_(worker_ids)))
    return {DeviceName.of(worker) for worker in workers}


def read_calibration(
    session: Session,
    model: str,
    shape: Shape,
    batch_ids: Sequence[UUID],
    *,
    unmeasured: Mapping[int, Sequence[DeviceName]],
    chunk_size: int,
    now: datetime,
) -> Calibration:
    """Read what is known of the devices that drew a calibration.

    Args:
        session: reads.
        model: whose images.
        shape: theirs.
        batch_ids: that it consists of.
        unmeasured: the devices that live and drew no such pass, by every size that was tried.
        chunk_size: jobs a queue message, where no more are drawn at once.
        now: whose prices.

    Raises:
        MissingPriceError: the price of a device was taken away meanwhile.
    """
    drew = images_drawn(session, batch_ids)
    devices = devices_that_drew(session, drew)
    rates = [
        _calibrated(session, model, rate, unmeasured, chunk_size, now)
        for rate in read_rates(session, model)
        if rate.basis is Basis.MEASURED
        and rate.shape == shape
        and DeviceName(rate.device_kind, rate.device_name) in devices
    ]
    spent: dict[LedgerKind, int] = {}
    for row in read_costs(session, batch_ids=batch_ids):
        spent[row.kind] = spent.get(row.kind, 0) + row.booked.nanodollars
    left = [Unmeasured(*device, size) for size, names in unmeasured.items() for device in names]
    return Calibration(batch_ids, model, rates, left, spent)


def _calibrated(
    session: Session,
    model: str,
    rate: DeviceRate,
    tried: Collection[int],
    chunk_size: int,
    now: datetime,
) -> CalibratedRate:
    kind, name, shape = rate.device_kind, rate.device_name, rate.shape
    most = known_fit(session, model, name, shape.width, shape.height, now)
    measured = _passes(session, model, rate)
    return CalibratedRate(
        rate,
        price_in_force(session, kind, rate.sku, now),
        [
            TriedPass(images, measured.get(images), fits=most is None or images <= most)
            for images in sorted({*tried, *measured})
        ],
        best_pass(
            session, model, kind, name, shape, default=default_pass(kind, chunk_size), now=now
        ),
    )


def _passes(session: Session, model: str, rate: DeviceRate) -> Mapping[int, MeasuredPasses]:
    sums = (PassRate.passes, PassRate.device_ns, PassRate.device_ms_squared)
    rows = session.execute(
        select(
            PassRate.images, *(func.sum(column) for column in sums), func.max(PassRate.peak_bytes)
        )
        .join(Worker, Worker.id == PassRate.worker_id)
        .where(
            PassRate.model == model,
            Worker.device_kind == rate.device_kind,
            Worker.device_sku == rate.sku,
            Worker.device_name == rate.device_name,
            *(getattr(PassRate, name) == value for name, value in rate.shape._asdict().items()),
        )
        .group_by(PassRate.images)
    )
    return {images: MeasuredPasses(*map(int, row)) for images, *row in rows}
