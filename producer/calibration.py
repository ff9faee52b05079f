"""A few images drawn to find out how long they take: batches like any other, with their costs.

There is one for each number of images that is drawn at once, and more of them as long as a
device that lives has drawn none.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from producer.calibrated import Calibration
from producer.calibration_sums import (
    DeviceName,
    devices_that_drew,
    images_by_worker,
    images_drawn,
    passes_by_worker,
    read_calibration,
)
from producer.order import Order
from producer.prompt_files import literal_prompt
from producer.rejects import first_reason
from producer.services import Services
from producer.settle import Settler
from producer.submit import submit
from shared.db.batches import cancel_batch
from shared.db.fits import known_fit
from shared.db.fleet import live_models
from shared.db.served_models import of_model
from shared.db.tables import Batch, Worker
from shared.domain.prompts import MAX_IMAGES_A_PROMPT, PromptRequest
from shared.domain.rates import Shape
from shared.errors import InputError, TenstepError
from shared.models.card import ModelCard

NAME = "calibration"
TAGS = {"purpose": NAME}
PROMPT = "a red apple"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10
"""Beside a heartbeat's pause, for a worker to write down what it has measured."""
ON_CPU = (1, 2)
"""Tells whether two at once help: a processor is busy with one."""
ON_ACCELERATORS = (1, 2, 4, 8)
ROUNDS = 3
"""How often images are drawn at a size until all devices that live have come to some."""
PASSES_A_WORKER = 2
"""Drawn in a fleet of several devices, of which the quickest come to most."""


class Calibrator:
    """Submits a calibration, waits for what workers tell of it, and reads it."""

    def __init__(
        self,
        services: Services,
        card: ModelCard,
        order: Order,
        images: int,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """Submit nothing yet.

        Args:
            services: where.
            card: the model's.
            order: of which shape the images are, and whose.
            images: how many to draw for each size, at least.
            sizes: how many to draw at once; None decides by the devices that live.

        Raises:
            InputError: the settings of the images do not fit together.
        """
        self._services = services
        self._card = card
        self._order = order
        self._images = images
        self._sizes = sizes
        self._shape = _shape_of(order, card)
        self._tried: list[int] = []
        self._batch_ids: list[UUID] = []
        with services.database.read() as session:
            self._images_before = images_by_worker(session, card.name)
            self._passes_before = passes_by_worker(session, card.name, self._shape)

    def batches(self) -> Iterator[UUID]:
        """Submit one batch after another; each is to be drawn before the next is asked for.

        Raises:
            InputError: nobody can draw such images.
            TenstepError: workers do not tell what they measured.
        """
        for size in self._sizes_to_try():
            self._tried.append(size)
            for _ in range(ROUNDS):
                live = self._live_workers()
                if live and not self._unmeasured(size, live):
                    break
                yield self._submit(size, live)
                self._wait_for_rates()

    def _sizes_to_try(self) -> Iterator[int]:
        if self._sizes is not None:
            yield from self._sizes
            return
        yield ON_CPU[0]
        # Only now are workers sure to be alive.
        kinds = {worker.device_kind for worker in self._live_workers()}
        yield from (ON_CPU if kinds == {"cpu"} else ON_ACCELERATORS)[1:]

    def _submit(self, size: int, live: Collection[Worker]) -> UUID:
        services, images = self._services, self._images
        if len({DeviceName.of(worker) for worker in live}) > 1:
            images = max(images, PASSES_A_WORKER * size * len(live))
        images = min(-(-images // size), MAX_IMAGES_A_PROMPT // size) * size
        order = replace(
            self._order,
            name=f"{NAME} ({size} at once)",
            defaults=self._order.defaults.model_copy(update={"n": images}),
            images_per_pass=size,
        )
        source = literal_prompt(PROMPT)
        submission = submit(services.database, services.settings, self._card, source, order)
        self._batch_ids.append(submission.batch_id)
        return submission.batch_id

    def call_off(self) -> None:
        """Cancel what is left of it: nobody would go on with it later."""
        with self._services.database.write() as session:
            now = self._services.database.now(session)
            for batch_id in self._batch_ids[-1:]:
                cancel_batch(session, session.get_one(Batch, batch_id), now)

    def _wait_for_rates(self) -> None:
        patience = PATIENCE_SECONDS + self._services.settings.heartbeat_seconds
        deadline = time.monotonic() + patience
        while not self._have_rates_arrived():
            if time.monotonic() > deadline:
                raise TenstepError(
                    "the workers do not tell how long the images of batch "
                    f"{self._batch_ids[-1]} took",
                    hint="Workers of an older version measure nothing: start newer ones.",
                )
            time.sleep(POLL_SECONDS)

    def _have_rates_arrived(self) -> bool:
        with self._services.database.read() as session:
            measured = images_by_worker(session, self._card.name)
            return all(
                measured.get(worker_id, 0) - self._images_before.get(worker_id, 0) >= images
                for worker_id, images in images_drawn(session, self._batch_ids).items()
            )

    def read(self) -> Calibration:
        """Read what is known now of the devices that drew it, and which of those that live did not.

        Raises:
            MissingPriceError: the price of one was taken away meanwhile.
        """
        live = self._live_workers()
        unmeasured = {size: self._unmeasured(size, live) for size in self._tried}
        with self._services.database.read() as session:
            return read_calibration(
                session,
                self._card.name,
                self._shape,
                self._batch_ids,
                unmeasured=unmeasured,
                chunk_size=self._services.settings.chunk_size,
                now=self._services.database.now(session),
            )

    def _live_workers(self) -> Sequence[Worker]:
        silence = timedelta(seconds=self._services.settings.lease_seconds)
        with self._services.database.read() as session:
            alive = live_models(session, self._services.database.now(session), silence)
            workers = (served.worker for served in of_model(alive, self._card.name))
            return [worker for worker in workers if not worker.draining]

    def _unmeasured(self, size: int, live: Collection[Worker]) -> Sequence[DeviceName]:
        """Return the devices that live, hold so many images and have drawn none at once yet."""
        with self._services.database.read() as session:
            now = self._services.database.now(session)
            measured = passes_by_worker(session, self._card.name, self._shape)
            drew = [
                worker_id
                for (worker_id, images), passes in measured.items()
                if images == size and passes > self._passes_before.get((worker_id, images), 0)
            ]
            wanting = {DeviceName.of(worker) for worker in live} - devices_that_drew(session, drew)
            shape = self._shape
            fits = {
                device: known_fit(
                    session, self._card.name, device.name, shape.width, shape.height, now
                )
                for device in wanting
            }
        return sorted(device for device, most in fits.items() if most is None or most >= size)


def _shape_of(order: Order, card: ModelCard) -> Shape:
    try:
        settled = Settler(order.defaults, card).settle(PromptRequest(prompt=PROMPT))
    except ValueError as error:
        raise InputError(first_reason(error)[1]) from None
    return Shape.of_image(settled)
