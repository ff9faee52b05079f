"""What is to be drawn, and the devices that can be had for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from shared.domain.money import NANOSECONDS_PER_HOUR
from shared.domain.rates import Basis, Shape


@dataclass(frozen=True, slots=True)
class Work:
    """Images to draw, at least one; they come in chunks of one shape each, evenly mixed."""

    images: Mapping[Shape, int]
    chunk_size: int

    @property
    def total(self) -> int:
        """Images of all shapes."""
        return sum(self.images.values())

    @property
    def chunks(self) -> int:
        """Chunks: so many devices can be at work at once, and no more."""
        return sum(-(-images // self.chunk_size) for images in self.images.values())


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of device that can be had, and what is known of it."""

    device_kind: str
    sku: str
    nanodollars_per_hour: int
    image_ns: Mapping[Shape, int]
    """Expected wall time of an image of each shape, in nanoseconds; at least 1."""
    late_image_ns: Mapping[Shape, int]
    """How long it may well take."""
    load_ns: int
    """To load the model."""
    start_up_ns: int
    """From paying for it until it begins to load the model."""
    basis: Basis
    most: int | None = None
    """How many can be had at once, at least 1; None is any number."""
    is_example: bool = False
    """Whether its price is one of those that came with tenstep."""
    is_spot: bool = False

    @property
    def name(self) -> str:
        """Kind and SKU: ``cuda g5.xlarge``."""
        return f"{self.device_kind} {self.sku}".rstrip()

    @property
    def ready_ns(self) -> int:
        """From paying for it until it draws."""
        return self.start_up_ns + self.load_ns


def on_spot(
    offer: Offer, factor: Fraction, interruptions_per_hour: Fraction, chunk_size: int
) -> Offer:
    """Return a device that costs less and may be taken away.

    An interruption costs what it takes to be ready again, and half a chunk that was drawn in
    vain. As so many come to an hour of drawing, each image takes its share of that longer.

    Args:
        offer: at its full price.
        factor: share of the full price that is paid, above 0 and at most 1; the price is
            rounded up to a nano-dollar.
        interruptions_per_hour: of drawing, on one device; not negative.
        chunk_size: images of a chunk.
    """
    rate = Fraction(interruptions_per_hour, NANOSECONDS_PER_HOUR)

    def longer(image_ns: int) -> int:
        lost = offer.ready_ns + Fraction(chunk_size * image_ns, 2)
        return ceil(image_ns * (1 + rate * lost))

    return replace(
        offer,
        nanodollars_per_hour=ceil(offer.nanodollars_per_hour * factor),
        image_ns={shape: longer(ns) for shape, ns in offer.image_ns.items()},
        late_image_ns={shape: longer(ns) for shape, ns in offer.late_image_ns.items()},
        is_spot=True,
    )
