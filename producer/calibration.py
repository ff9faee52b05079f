"""A few images drawn to find out how long they take: a batch like any other, with its costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.amounts import seconds, usd
from producer.order import Order
from producer.prompt_files import literal_prompt
from producer.services import Services
from producer.submit import submit
from shared.db.batches import cancel_batch
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import MeasuredRate
from shared.db.prices import price_in_force
from shared.db.rates import read_rates
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, LedgerKind
from shared.domain.money import NANOSECONDS, device_cost
from shared.domain.rates import MILLION, Basis, DeviceRate, Shape
from shared.errors import TenstepError
from shared.models.card import ModelCard

NAME = "calibration"
TAGS = {"purpose": NAME}
PROMPT = "a red apple"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10
"""Beside a heartbeat's pause, for a worker to write down what it has measured."""


@dataclass(frozen=True, slots=True)
class CalibratedRate:
    """A rate as quotes go by it from now on, and what it makes an image cost."""

    rate: DeviceRate
    nanodollars_per_hour: int

    @property
    def image_nanodollars(self) -> int:
        """Cost of an image's device time."""
        return device_cost(self.rate.device_ns, self.nanodollars_per_hour)

    @property
    def images_per_second(self) -> float:
        """By one worker, from claim to publication."""
        return NANOSECONDS / max(1, self.rate.wall_ns)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        rate = self.rate
        return {
            "device_kind": rate.device_kind,
            "sku": rate.sku,
            "device_name": rate.device_name,
            **rate.shape._asdict(),
            "images": rate.images,
            "device_ns": rate.device_ns,
            "device_seconds": seconds(rate.device_ns),
            "image_spread": rate.image_spread / MILLION,
            "worker_spread": rate.worker_spread / MILLION,
            "wall_ns": rate.wall_ns,
            "images_per_second": self.images_per_second,
            "load_ns": rate.load_ns,
            "load_seconds": seconds(rate.load_ns),
            "nanodollars_per_hour": self.nanodollars_per_hour,
            "image_nanodollars": self.image_nanodollars,
            "image_usd": usd(self.image_nanodollars),
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of it."""

    batch_id: UUID
    model: str
    rates: Sequence[CalibratedRate]
    """Of the devices that drew it, with what they drew before."""
    spent: Mapping[LedgerKind, int]
    """Nano-dollars that it cost to find out, by kind."""

    @property
    def nanodollars(self) -> int:
        """What it cost in all."""
        return sum(self.spent.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "model": self.model,
            "rates": [rate.to_json() for rate in self.rates],
            "spent": {kind.value: amount for kind, amount in self.spent.items()},
            "spent_nanodollars": self.nanodollars,
            "spent_usd": usd(self.nanodollars),
        }


class Calibrator:
    """Submits a calibration, waits for what workers tell of it, and reads it."""

    def __init__(self, services: Services, card: ModelCard, order: Order) -> None:
        """Submit it.

        Args:
            services: where.
            card: the model's.
            order: how many images, and of which shape.

        Raises:
            InputError: a default is wrong.
        """
        self._services = services
        self._card = card
        with services.database.read() as session:
            self._before = _measured_by_worker(session, card.name)
        submission = submit(
            services.database, services.settings, card, literal_prompt(PROMPT), order
        )
        self.batch_id = submission.batch_id

    def call_off(self) -> None:
        """Cancel what is left of it: nobody would go on with it later."""
        with self._services.database.write() as session:
            batch = session.get_one(Batch, self.batch_id)
            cancel_batch(session, batch, self._services.database.now(session))

    def wait_for_rates(self) -> None:
        """Wait until its workers have written down what they measured.

        Raises:
            TenstepError: they do not.
        """
        patience = PATIENCE_SECONDS + self._services.settings.heartbeat_seconds
        deadline = time.monotonic() + patience
        while not self._have_rates_arrived():
            if time.monotonic() > deadline:
                raise TenstepError(
                    f"the workers do not tell how long the images of batch {self.batch_id} took",
                    hint="Workers of an older version measure nothing: start newer ones.",
                )
            time.sleep(POLL_SECONDS)

    def _have_rates_arrived(self) -> bool:
        drawn = (
            select(Attempt.worker_id, func.count())
            .where(Attempt.batch_id == self.batch_id, Attempt.outcome == AttemptOutcome.DONE)
            .group_by(Attempt.worker_id)
        )
        with self._services.database.read() as session:
            measured = _measured_by_worker(session, self._card.name)
            return all(
                measured.get(worker_id, 0) - self._before.get(worker_id, 0) >= images
                for worker_id, images in session.execute(drawn)
            )

    def read(self) -> Calibration:
        """Read what is known now of the devices that drew it.

        Raises:
            MissingPriceError: the price of one was taken away meanwhile.
        """
        with self._services.database.read() as session:
            now = self._services.database.now(session)
            devices = _devices(session, self.batch_id)
            shapes = _shapes(session, self.batch_id)
            rates = [
                CalibratedRate(rate, price_in_force(session, rate.device_kind, rate.sku, now))
                for rate in read_rates(session, self._card.name)
                if rate.basis is Basis.MEASURED
                and rate.shape in shapes
                and (rate.device_kind, rate.sku, rate.device_name) in devices
            ]
            spent: dict[LedgerKind, int] = {}
            for row in read_costs(session, batch_ids=[self.batch_id]):
                spent[row.kind] = spent.get(row.kind, 0) + row.booked.nanodollars
        return Calibration(self.batch_id, self._card.name, rates, spent)


def _measured_by_worker(session: Session, model: str) -> dict[UUID, int]:
    rows = session.execute(
        select(MeasuredRate.worker_id, func.sum(MeasuredRate.images))
        .join(Worker, Worker.id == MeasuredRate.worker_id)
        .where(Worker.model == model)
        .group_by(MeasuredRate.worker_id)
    )
    return {worker_id: int(images) for worker_id, images in rows}


def _devices(session: Session, batch_id: UUID) -> set[tuple[str, str, str]]:
    drew = select(Attempt.worker_id).where(
        Attempt.batch_id == batch_id, Attempt.outcome == AttemptOutcome.DONE
    )
    rows = session.execute(
        select(Worker.device_kind, Worker.device_sku, Worker.device_name).where(Worker.id.in_(drew))
    )
    return {(kind, sku, name) for kind, sku, name in rows}


def _shapes(session: Session, batch_id: UUID) -> set[Shape]:
    columns = (Job.width, Job.height, Job.steps, Job.squeeze, Job.guidance_scale)
    rows = session.execute(select(*columns).where(Job.batch_id == batch_id).distinct())
    return {
        Shape.of(width, height, steps, squeeze, scale)
        for width, height, steps, squeeze, scale in rows
    }
