"""How long an image takes on a device, and what follows for images of another shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isqrt
from typing import NamedTuple, Protocol, Self

from shared.domain.quality import DENOISER_PERCENT, Quality
from shared.domain.sampling import Squeeze

MILLION = 1_000_000
NANOSECONDS_SQUARED = 10**12
"""In a squared millisecond."""
LEAST_DEVIATION = 50_000
DEVIATIONS = 2
"""Of a range to either side: 19 of 20 runs are within."""
DECLARED_SPREAD = 125_000
GUESSED_FACTOR = 2
"""A guess may be wrong by this in either direction."""


class Sampled(Protocol):
    """Settings of an image, as far as they decide how long it takes."""

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def steps(self) -> int:
        """Of the base grid."""
        ...

    @property
    def squeeze(self) -> str | None:
        """Of that grid, "n,i"."""
        ...

    @property
    def guidance_scale(self) -> float:
        """1 is none."""
        ...

    @property
    def quality(self) -> str:
        """A `Quality`, or its name."""
        ...


class Shape(NamedTuple):
    """What decides how long an image takes."""

    width: int
    height: int
    iterations: int
    """Timesteps that are taken."""
    is_guided: bool
    """Guidance runs the denoiser on two rows an image."""

    @classmethod
    def of(
        cls,
        width: int,
        height: int,
        steps: int,
        squeeze: str | None,
        guidance_scale: float,
        quality: str = Quality.EXACT,
    ) -> Self:
        """Return the shape of an image with these settings.

        One that is drawn with shortcuts counts as one of fewer iterations, as many as take about
        as long. Rates are measured by exact images alone.
        """
        iterations = Squeeze.parse(squeeze).steps if squeeze else steps
        is_guided = guidance_scale != 1
        percent = DENOISER_PERCENT[Quality(quality)][is_guided]
        return cls(width, height, -(-iterations * percent // 100), is_guided)

    @classmethod
    def of_image(cls, asked: Sampled) -> Self:
        """Return the shape of an image with the settings of a job, or of whatever has them."""
        return cls.of(
            asked.width,
            asked.height,
            asked.steps,
            asked.squeeze,
            asked.guidance_scale,
            asked.quality,
        )

    @property
    def work(self) -> int:
        """Pixels of all that the denoiser runs on: what the time is about proportional to."""
        return self.width * self.height * self.iterations * (2 if self.is_guided else 1)


class Measured(NamedTuple):
    """Some images of one shape that one worker drew, added up."""

    images: int
    device_ns: int
    device_ms_squared: int
    """Sum of the squares of each image's milliseconds."""
    wall_ns: int
    """From claim to publication, shared among the images of a chunk."""

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        """Put some more images to these."""
        return type(self)(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Basis(StrEnum):
    """What a rate is known from."""

    MEASURED = "measured"
    DECLARED = "declared"
    """By somebody's word: nothing was measured."""
    GUESS = "guess"
    """Scaled from images of another shape."""


@dataclass(frozen=True, slots=True)
class DeviceRate:
    """How long an image of a shape takes on devices of one kind, SKU and name."""

    device_kind: str
    sku: str
    device_name: str
    """Empty where the rate was declared."""
    shape: Shape
    images: int
    """How many it was measured on; 0 where it was declared."""
    device_ns: int
    """Of an image, on average."""
    image_spread: int
    """Standard deviation of one worker's images, in millionths of the mean."""
    worker_spread: int
    """Standard deviation of the means of workers, in millionths of the mean."""
    wall_ns: int
    """From claim to publication, of an image on average, by one worker."""
    load_ns: int
    """To load the model, on average."""
    basis: Basis

    def spread(self, images: int) -> int:
        """Return the standard deviation of the mean of so many more images, in millionths.

        Workers differ, images differ, and the mean is only known from those that were measured.
        """
        if self.basis is not Basis.MEASURED:
            return DECLARED_SPREAD
        of_images = self.image_spread**2
        return isqrt(self.worker_spread**2 + of_images // self.images + of_images // images)


class Range(NamedTuple):
    """What is expected, and between what it is likely to be."""

    low: int
    expected: int
    high: int

    def times(self, factor: int) -> Self:
        """Return so many of it."""
        return type(self)(*(part * factor for part in self))

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        """Add low to low, and high to high: what is off is off together."""
        return type(self)(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long an image is expected to take."""

    device_ns: Range
    wall_ns: Range
    load_ns: int
    """To load the model."""
    basis: Basis
    measured_images: int
    """How many images it is known from; 0 where it was declared."""


def by_sku(rates: Iterable[DeviceRate]) -> Mapping[tuple[str, str], Sequence[DeviceRate]]:
    """Sort rates by what is bought: device kind and SKU."""
    sorted_by: dict[tuple[str, str], list[DeviceRate]] = defaultdict(list)
    for rate in rates:
        sorted_by[rate.device_kind, rate.sku].append(rate)
    return sorted_by


def estimate(rates: Sequence[DeviceRate], shape: Shape, images: int = 1) -> Estimate | None:
    """Tell how long an image of a shape takes on average, or None where nothing is known.

    Args:
        rates: of one device kind and SKU. Devices of several names count by their images.
        shape: the image's. What was not measured is guessed from the nearest shape, by pixels,
            iterations and guidance.
        images: how many are to be drawn; the mean of more is known better.
    """
    exact = [rate for rate in rates if rate.shape == shape]
    if exact:
        return _known(exact, images)
    nearest = min(rates, key=lambda rate: _distance(rate, shape), default=None)
    return None if nearest is None else _guess(nearest, shape)


def _known(rates: Sequence[DeviceRate], images: int) -> Estimate:
    weights = [max(1, rate.images) for rate in rates]
    deviations = [max(LEAST_DEVIATION, DEVIATIONS * rate.spread(images)) for rate in rates]
    return Estimate(
        _pooled([rate.device_ns for rate in rates], weights, deviations),
        _pooled([rate.wall_ns for rate in rates], weights, deviations),
        _mean([rate.load_ns for rate in rates], weights),
        rates[0].basis,
        sum(rate.images for rate in rates),
    )


def _pooled(times: Sequence[int], weights: Sequence[int], deviations: Sequence[int]) -> Range:
    """Return the mean, and a range that has those of all.

    Args:
        times: nanoseconds.
        weights: how much each counts.
        deviations: how far each may be off, in millionths.
    """
    parts = list(zip(times, deviations, strict=True))
    return Range(
        min(ns * max(0, MILLION - deviation) // MILLION for ns, deviation in parts),
        _mean(times, weights),
        max(ns * (MILLION + deviation) // MILLION for ns, deviation in parts),
    )


def _mean(values: Sequence[int], weights: Sequence[int]) -> int:
    weighted = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return weighted // sum(weights)


def _distance(rate: DeviceRate, shape: Shape) -> tuple[int, int]:
    """Order rates by how far their work is from a shape's; of equals the best known first."""
    smaller, larger = sorted((rate.shape.work, shape.work))
    return larger * MILLION // smaller, -rate.images


def _guess(nearest: DeviceRate, shape: Shape) -> Estimate:
    def scaled(nanoseconds: int) -> Range:
        expected = nanoseconds * shape.work // nearest.shape.work
        return Range(expected // GUESSED_FACTOR, expected, expected * GUESSED_FACTOR)

    return Estimate(
        scaled(nearest.device_ns),
        scaled(nearest.wall_ns),
        nearest.load_ns,
        Basis.GUESS,
        nearest.images,
    )
