"""Whole numbers of devices that share one queue: when they end, and what they cost.

All devices draw from one queue, so they end together, but for the last chunk of each: whoever
takes the last chunk of all has as long as a whole one takes on the slowest device. No order of
the chunks makes the fleet end later than that. Every device is paid from the start to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from producer.planning.offers import Offer, Work
from shared.domain.money import NANOSECONDS_PER_HOUR, share_by_weight

HALF = Fraction(1, 2)
UNITS = 10**36
"""The whole work, in units so small that a device draws a whole number of them a nanosecond."""

Counts = tuple[int, ...]
"""Devices of each offer, in the order of the offers."""


class Device(NamedTuple):
    """What an offer means for one piece of work."""

    price: int
    """Nano-dollars an hour."""
    rate: int
    """Units of work a nanosecond, rounded down."""
    ready_ns: int
    chunk_ns: int
    """Time of its slowest chunk."""
    most: int
    """Devices that can be had and have a chunk to draw."""


class Choice(NamedTuple):
    """A fleet as the search compares it: the cheapest first, then the soonest, the smallest."""

    price_time: Fraction
    """Nano-dollars an hour times nanoseconds: the cost before it is rounded."""
    finish: Fraction
    """Nanoseconds from the start."""
    devices: int
    counts: Counts

    @property
    def finish_ns(self) -> int:
        """Whole nanoseconds from the start, rounded up."""
        return ceil(self.finish)

    @property
    def nanodollars(self) -> int:
        """The cost, rounded half up."""
        return floor(Fraction(self.price_time, NANOSECONDS_PER_HOUR) + HALF)


@dataclass(frozen=True, slots=True)
class Problem:
    """Work, and the offers to choose from."""

    work: Work
    offers: Sequence[Offer]
    devices: Sequence[Device]
    """Of each offer, in their order."""
    units: int
    """What must be drawn before the last chunk is taken."""
    by_readiness: Sequence[int]
    """Indices of the devices, the soonest ready first."""


@dataclass(frozen=True, slots=True)
class Hired:
    """The devices of one offer in a fleet."""

    offer: Offer
    devices: int
    image_ns: int
    """Of an image of the work, on average, by one device."""
    images: int
    """Their share of the work."""
    nanodollars: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices, when they are done with all the work, and what they cost."""

    hired: Sequence[Hired]
    finish_ns: int
    nanodollars: int

    @property
    def devices(self) -> int:
        """Of all offers."""
        return sum(hired.devices for hired in self.hired)


def make_problem(work: Work, offers: Sequence[Offer]) -> Problem:
    """Bring offers that differ in every way to a few whole numbers each."""
    devices = [_device(work, offer) for offer in offers]
    last_chunk = min(device.rate * device.chunk_ns for device in devices)
    return Problem(
        work,
        offers,
        devices,
        units=max(UNITS - last_chunk, 1),
        by_readiness=sorted(range(len(devices)), key=lambda index: devices[index].ready_ns),
    )


def alone_ns(work: Work, offer: Offer) -> int:
    """Return how long one device draws at all of the work."""
    return sum(images * offer.image_ns[shape] for shape, images in work.images.items())


def _device(work: Work, offer: Offer) -> Device:
    chunks_ns = [
        min(images, work.chunk_size) * offer.image_ns[shape]
        for shape, images in work.images.items()
    ]
    chunks = work.chunks
    return Device(
        offer.nanodollars_per_hour,
        UNITS // alone_ns(work, offer),
        offer.ready_ns,
        max(chunks_ns),
        chunks if offer.most is None else min(offer.most, chunks),
    )


def choice_of(problem: Problem, counts: Sequence[int]) -> Choice:
    """Work out when a fleet ends and what it costs; devices that come too late are left out.

    Args:
        problem: says what can be had.
        counts: devices of each offer, not all 0.
    """
    devices = problem.devices
    speed = before = 0
    last = Fraction(0)
    at_work: list[int] = []
    for index in problem.by_readiness:
        if not counts[index]:
            continue
        ready_ns = devices[index].ready_ns
        if at_work and last <= ready_ns:
            break
        rate = counts[index] * devices[index].rate
        speed += rate
        before += rate * ready_ns
        last = Fraction(problem.units + before, speed)
        at_work.append(index)
    finish = last + max(devices[index].chunk_ns for index in at_work)
    price = sum(counts[index] * devices[index].price for index in at_work)
    hired = [0] * len(devices)
    for index in at_work:
        hired[index] = counts[index]
    return Choice(price * finish, finish, sum(hired), tuple(hired))


def make_fleet(problem: Problem, choice: Choice) -> Fleet:
    """Say who draws how much and is paid how much; the parts add up."""
    at_work = [index for index, count in enumerate(choice.counts) if count]
    devices = [problem.devices[index] for index in at_work]
    counts = [choice.counts[index] for index in at_work]
    last = choice.finish - max(device.chunk_ns for device in devices)
    drawn = [
        ceil(count * device.rate * (last - device.ready_ns))
        for count, device in zip(counts, devices, strict=True)
    ]
    paid = [count * device.price for count, device in zip(counts, devices, strict=True)]
    cost = choice.nanodollars
    images = share_by_weight(problem.work.total, drawn)
    costs = share_by_weight(cost, paid) if any(paid) else [0] * len(paid)
    return Fleet(
        [
            Hired(
                problem.offers[index],
                count,
                UNITS // (problem.devices[index].rate * problem.work.total),
                drawn_by_them,
                cost_of_them,
            )
            for index, count, drawn_by_them, cost_of_them in zip(
                at_work, counts, images, costs, strict=True
            )
        ],
        choice.finish_ns,
        cost,
    )
