"""How long a simulated device takes: as long as it is told, or as what it imitates is known to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from shared.db.outcomes import PhaseTimes
from shared.db.rates import read_rates
from shared.domain.money import NANOSECONDS, share_evenly
from shared.domain.prompts import ImageSettings
from shared.domain.rates import DeviceRate, Shape, by_sku, estimate
from shared.models.card import ModelCard
from shared.settings import Settings

TEXT_PERCENT = 2
DECODE_PERCENT = 8
"""Of an image's time; the denoiser has the rest, 90 to 95 % on accelerators."""
MOST_LOAD_NS = 10 * NANOSECONDS
"""A simulated load is no longer, whatever it imitates: nobody tries a fleet to wait for it."""
BACK_TO_BACK_NS = 5_000_000
MOST_LATE_NS = 1_000_000
"""By how much a sleep ends late on a host that has time; more is the host's own doing."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What passes and images take, in whole nanoseconds."""

    image_ns: int
    """Of any image, where no rate is known."""
    pass_ns: int = 0
    """Of a pass, however many images it has."""
    load_ns: int = 0
    rates: Sequence[DeviceRate] = ()
    """What is known of the devices that it imitates."""
    note: str = ""
    """What the times are from, as a sentence."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the times of the settings."""
        return cls(
            image_ns=_nanoseconds(settings.simulated_image_seconds),
            pass_ns=_nanoseconds(settings.simulated_pass_seconds),
            load_ns=_nanoseconds(settings.simulated_load_seconds),
            note=f"Every image took {settings.simulated_image_seconds:g} s.",
        )

    @classmethod
    def imitating(cls, session: Session, kind: str, card: ModelCard, settings: Settings) -> Self:
        """Take the times that the books know of a device kind, or else those of the settings.

        Of several SKUs it is that of the settings, where images of it are known, and else the
        one of which most are.
        """
        told = cls.of(settings)
        skus = {
            sku: rates
            for (known, sku), rates in by_sku(read_rates(session, card.name)).items()
            if known == kind
        }
        if not skus:
            return cls(
                told.image_ns,
                told.pass_ns,
                told.load_ns,
                note=f"Nothing is known of {kind}. {told.note}",
            )
        best_known = max(skus, key=lambda sku: sum(rate.images for rate in skus[sku]))
        sku = settings.device_sku if settings.device_sku in skus else best_known
        rates = skus[sku]
        images = sum(rate.images for rate in rates)
        return cls(
            told.image_ns,
            pass_ns=told.pass_ns,
            load_ns=told.load_ns or min(MOST_LOAD_NS, max(rate.load_ns for rate in rates)),
            rates=rates,
            note=f"It took as long as {' '.join(filter(None, (kind, sku)))}, "
            + (f"of which {images} images were measured." if images else "as was declared."),
        )

    def of_pass(self, jobs: Sequence[ImageSettings]) -> Sequence[PhaseTimes]:
        """Return what each image of a pass takes, its share of what the pass itself takes in."""
        return [
            _phases(self._of_image(job) + share)
            for job, share in zip(jobs, share_evenly(self.pass_ns, len(jobs)), strict=True)
        ]

    def _of_image(self, job: ImageSettings) -> int:
        if not self.rates:
            return self.image_ns
        shape = Shape.of_image(job)
        known = estimate(self.rates, shape)
        return self.image_ns if known is None else known.device_ns.expected


class DeviceClock:
    """Waits for as long as a device would be at work; takes no processor time.

    A sleep ends a little late. What a device is asked right after that begins when the device
    was done, not when its host woke up, so that lateness does not add up.
    """

    def __init__(self) -> None:
        self._late_ns = 0
        self._woke_ns = 0

    def work(self, nanoseconds: int) -> None:
        """Be at work for so long."""
        begin = time.monotonic_ns()
        late = self._late_ns if begin - self._woke_ns < BACK_TO_BACK_NS else 0
        end = begin + nanoseconds - late
        while (left := end - time.monotonic_ns()) > 0:
            time.sleep(left / NANOSECONDS)
        self._woke_ns = time.monotonic_ns()
        self._late_ns = min(MOST_LATE_NS, self._woke_ns - end)


def _phases(image_ns: int) -> PhaseTimes:
    text, decode = image_ns * TEXT_PERCENT // 100, image_ns * DECODE_PERCENT // 100
    return PhaseTimes(text_encode_ns=text, denoise_ns=image_ns - text - decode, decode_ns=decode)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
