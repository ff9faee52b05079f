"""Offers of devices, made for a test or drawn by chance, and all fleets that they allow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import strategies as st

from producer.planning.fleet import Choice, Problem, choice_of, make_problem
from producer.planning.offers import Offer, Work
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


images = st.integers(1, 40)
works = st.builds(
    Work,
    images=st.dictionaries(st.sampled_from([SMALL, TALL]), images, min_size=1),
    chunk_size=st.integers(1, 8),
)
offers = st.builds(
    an_offer,
    price=st.integers(0, 9),
    small_ns=st.integers(1, 12),
    tall_ns=st.integers(1, 12),
    load_ns=st.integers(0, 30),
    start_up_ns=st.integers(0, 30),
    most=st.integers(1, 4),
)
some_offers = st.lists(offers, min_size=1, max_size=3)
problems = st.builds(make_problem, works, some_offers)


def every_fleet(problem: Problem) -> Iterator[Choice]:
    """Yield all numbers of devices, but for none at all."""
    for counts in product(*(range(device.most + 1) for device in problem.devices)):
        if any(counts):
            yield choice_of(problem, counts)
