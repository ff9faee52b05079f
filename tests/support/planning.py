"""Offers of devices, with one sensible value for everything that a test does not care about."""

from __future__ import annotations

from producer.planning.offers import Offer
from shared.domain.rates import Basis, Shape

SMALL = Shape(64, 64, 10, is_guided=True)
TALL = Shape(64, 128, 10, is_guided=True)


def an_offer(
    *,
    kind: str = "cuda",
    sku: str = "",
    price: int = 1_000_000_000,
    small_ns: int = 1_000_000_000,
    tall_ns: int | None = None,
    load_ns: int = 0,
    start_up_ns: int = 0,
    most: int | None = None,
) -> Offer:
    """Make an offer whose price is in nano-dollars an hour."""
    image_ns = {SMALL: small_ns, TALL: tall_ns or 2 * small_ns}
    return Offer(
        kind,
        sku,
        price,
        image_ns,
        {shape: 2 * ns for shape, ns in image_ns.items()},
        load_ns,
        start_up_ns,
        Basis.MEASURED,
        most,
    )
