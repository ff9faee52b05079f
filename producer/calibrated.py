"""What came of a calibration: rates, passes of each size that was tried, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from producer.amounts import seconds, usd
from shared.domain.jobs import LedgerKind
from shared.domain.money import NANOSECONDS, device_cost
from shared.domain.pass_rates import MeasuredPasses
from shared.domain.rates import MILLION, DeviceRate


@dataclass(frozen=True, slots=True)
class TriedPass:
    """What came of drawing so many images at once on a device."""

    images: int
    measured: MeasuredPasses | None
    """None where no such pass was drawn."""
    fits: bool
    """Whether the device's memory holds so many, as far as anybody knows."""

    @property
    def image_ns(self) -> int:
        """Device time of an image; 0 where nothing was measured."""
        if self.measured is None:
            return 0
        return self.measured.device_ns // (self.measured.passes * self.images)

    @property
    def images_per_second(self) -> float:
        """By one device that is always busy; 0 where nothing was measured."""
        return NANOSECONDS / self.image_ns if self.image_ns else 0.0

    def to_json(self, *, is_chosen: bool) -> dict[str, Any]:
        """Return it as plain values."""
        measured = self.measured
        return {
            "images_per_pass": self.images,
            "passes": 0 if measured is None else measured.passes,
            "device_ns": None if measured is None else self.image_ns,
            "images_per_second": None if measured is None else self.images_per_second,
            "peak_bytes": (measured.peak_bytes or None) if measured else None,
            "fits": self.fits,
            "is_chosen": is_chosen,
        }


@dataclass(frozen=True, slots=True)
class CalibratedRate:
    """A rate as quotes go by it from now on, and what it makes an image cost."""

    rate: DeviceRate
    nanodollars_per_hour: int
    tried: Sequence[TriedPass]
    """By how many were drawn at once, fewest first."""
    images_per_pass: int
    """How many are drawn at once from now on."""

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
            "images_per_pass": self.images_per_pass,
            "passes": [
                tried.to_json(is_chosen=tried.images == self.images_per_pass)
                for tried in self.tried
            ],
        }


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A device that lives, and drew nothing at a size while others did."""

    device_kind: str
    device_name: str
    images_per_pass: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "device_kind": self.device_kind,
            "device_name": self.device_name,
            "images_per_pass": self.images_per_pass,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of it."""

    batch_ids: Sequence[UUID]
    model: str
    rates: Sequence[CalibratedRate]
    """Of the devices that drew it, with what they drew before."""
    unmeasured: Sequence[Unmeasured]
    spent: Mapping[LedgerKind, int]
    """Nano-dollars that it cost to find out, by kind."""

    @property
    def nanodollars(self) -> int:
        """What it cost in all."""
        return sum(self.spent.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_ids": [str(batch_id) for batch_id in self.batch_ids],
            "model": self.model,
            "rates": [rate.to_json() for rate in self.rates],
            "not_measured": [device.to_json() for device in self.unmeasured],
            "spent": {kind.value: amount for kind, amount in self.spent.items()},
            "spent_nanodollars": self.nanodollars,
            "spent_usd": usd(self.nanodollars),
        }
