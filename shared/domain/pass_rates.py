"""How many images are drawn at once: what passes of different sizes take, and which is best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from shared.domain.rates import NANOSECONDS_SQUARED, Shape

LEAST_GAIN_PER_CENT = 3
"""A larger pass that raises the rate by less costs memory and waiting for nothing."""


class PassSize(NamedTuple):
    """What decides how long a pass takes."""

    shape: Shape
    images: int
    """How many are drawn at once."""


class MeasuredPasses(NamedTuple):
    """Some passes of one size by one worker, added up."""

    passes: int
    device_ns: int
    device_ms_squared: int
    """Sum of the squares of each image's milliseconds."""
    peak_bytes: int
    """Most memory of the device that one of them took; 0 where the device does not tell."""

    @classmethod
    def of(cls, images: int, device_ns: int, peak_bytes: int) -> Self:
        """Return one pass, whose images share its time evenly."""
        squares = (device_ns // images) ** 2 * images
        return cls(1, device_ns, squares // NANOSECONDS_SQUARED, peak_bytes)

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        """Put some more passes to these."""
        return type(self)(
            self.passes + other.passes,
            self.device_ns + other.device_ns,
            self.device_ms_squared + other.device_ms_squared,
            max(self.peak_bytes, other.peak_bytes),
        )


def choose_pass(rates: Mapping[int, int]) -> int:
    """Return the largest pass that draws faster by 3 % than every smaller one.

    Args:
        rates: nanoseconds of an image, by how many are drawn at once; at least one.
    """
    chosen, *larger = sorted(rates)
    least = rates[chosen]
    for images in larger:
        if rates[images] * (100 + LEAST_GAIN_PER_CENT) <= least * 100:
            chosen = images
        least = min(least, rates[images])
    return chosen


def best_pass_of(rates: Mapping[int, int], default: int, most: int | None) -> int:
    """Return how many images to draw at once.

    As long as the largest pass that was measured is the fastest, nobody knows whether a
    larger one is faster still, and it may be no more than what was left of a small batch.

    Args:
        rates: nanoseconds of an image, by how many were drawn at once.
        default: how many are drawn at once where nothing says that fewer are as fast.
        most: how many fit; None where that is not known.
    """
    fitting = {images: ns for images, ns in rates.items() if most is None or images <= most}
    best = choose_pass(fitting) if fitting else 1
    if not fitting or best == max(fitting):
        best = max(best, default)
    return best if most is None else min(best, most)


def default_pass(device_kind: str, chunk_size: int) -> int:
    """Return how many images a device draws at once where nothing was measured.

    A processor is busy with one image, and an image drawn alone is the same to the bit.
    """
    return 1 if device_kind == "cpu" else chunk_size


def chunk_for(images_per_pass: int, chunk_size: int) -> int:
    """Return how many jobs a message carries: full passes, at least one, at most the size."""
    return max(1, chunk_size // images_per_pass) * images_per_pass
