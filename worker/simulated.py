"""A stand-in for an accelerator: takes its time, fails when told to, and draws no prompt.

It serves to try a fleet, its queue and its books without hardware, and to plan one: a device
that imitates a kind takes as long as the books know that kind to. Whatever it leaves says
that it was simulated.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence

import numpy as np

from shared.db.engine import Database
from shared.domain.money import NANOSECONDS
from shared.domain.prompts import ImageSettings
from shared.errors import PermanentRenderError, TransientRenderError
from shared.models.card import ModelCard
from shared.settings import Settings
from shared.version import VERSION
from worker.backends.base import BackendRecord
from worker.devices import Device
from worker.drawing import Drawing
from worker.latency import DeviceClock, Latency

KILL = "simulate: kill"
HANG = "simulate: hang"
FAIL = "simulate: fail"
FAIL_ONCE_IN_TWO = "simulate: fail once in two"
LOSE_DEVICE = "simulate: lose the device"
NOTE = "Simulated: no model ran, the picture is a plain colour."
HANGS_SECONDS = 3600.0


class AcceleratorError(RuntimeError):
    """Named as torch's own, for errors of a driver."""


def simulated_pipeline(
    card: ModelCard, device: Device, settings: Settings, database: Database
) -> SimulatedPipeline:
    """Take as long as loading a model would, and return what pretends to draw with it.

    Args:
        card: the model that it pretends to run.
        device: what it calls itself, and imitates.
        settings: how long it takes, where nothing better is known, and what it holds.
        database: knows how long other devices took; asked now and not again.
    """
    if device.imitates is None:
        latency = Latency.of(settings)
    else:
        with database.read() as session:
            latency = Latency.imitating(session, device.imitates, card, settings)
    time.sleep(latency.load_ns / NANOSECONDS)
    return SimulatedPipeline(card, device, latency, settings.simulated_images)


class SimulatedPipeline:
    """Sleeps for every image, then paints it in a colour of its own.

    Prompts that begin with one of this module's constants do as they say. Its time is all
    spent in drawing, none in preparing; that a part of it was the text encoder's is a matter
    of the books.
    """

    def __init__(
        self, card: ModelCard, device: Device, latency: Latency, most_images: int = 0
    ) -> None:
        """Describe the device.

        Args:
            card: the model that it pretends to run.
            device: what it calls itself.
            latency: how long it takes.
            most_images: images a pass that its memory holds; 0 is no limit.
        """
        self._card = card
        self._device = device
        self._latency = latency
        self._most_images = most_images
        self._clock = DeviceClock()
        self._passes = 0
        self._is_lost = False

    def prepare(self, jobs: Sequence[ImageSettings]) -> Sequence[ImageSettings]:
        """Take a batch as it is."""
        return jobs

    def draw_prepared(
        self, prepared: Sequence[ImageSettings], *, check_safety: bool = True
    ) -> list[Drawing]:
        """Pretend to draw a batch.

        Raises:
            AcceleratorError: a prompt asked for it, in this pass or in an earlier one.
            MemoryError: the batch is larger than the device's memory.
            PermanentRenderError: a prompt asks for it.
            TransientRenderError: a prompt asks for it, on every other pass.
        """
        self._passes += 1
        if self._most_images and len(prepared) > self._most_images:
            raise MemoryError(f"{len(prepared)} images do not fit a simulated device")
        for job in prepared:
            self._obey(job.prompt)
        if self._is_lost:
            raise AcceleratorError("a simulated device that is lost")
        times = self._latency.of_pass(prepared)
        self._clock.work(sum(each.device_ns for each in times))
        return [
            Drawing(pixels=_paint(job), timesteps=[], times=took)
            for job, took in zip(prepared, times, strict=True)
        ]

    @property
    def compiled_sizes(self) -> None:
        """It draws any size."""

    def describe(self) -> BackendRecord:
        """Say that it is none."""
        return BackendRecord(
            backend="simulated",
            backend_version=VERSION,
            precision="none",
            threads=None,
            device=str(self._device),
            device_name=f"simulated {self._device.imitates or 'device'}",
            model=self._card.name,
            weights_sha256="none",
            licence=self._card.licence,
            note=f"{NOTE} {self._latency.note}",
        )

    def _obey(self, prompt: str) -> None:
        if prompt.startswith(KILL):
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt.startswith(HANG):
            time.sleep(HANGS_SECONDS)
        if prompt.startswith(LOSE_DEVICE):
            self._is_lost = True
        if prompt.startswith(FAIL_ONCE_IN_TWO):
            if self._passes % 2:
                raise TransientRenderError("a simulated fault that goes away")
        elif prompt.startswith(FAIL):
            raise PermanentRenderError("a simulated fault that stays")


def _paint(job: ImageSettings) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    digest = hashlib.sha256(f"{job.seed} {job.prompt}".encode()).digest()
    row = np.tile(np.frombuffer(digest[:3], np.uint8), job.width)
    # Rows are copied whole: pixel by pixel it would take thirty times as long.
    return np.tile(row, (job.height, 1)).reshape(job.height, job.width, 3)
