"""What images will cost and how long they will take: pure arithmetic in integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from producer.amounts import usd
from producer.planning.offers import Work
from shared.domain.money import device_cost
from shared.domain.rates import Basis, DeviceRate, Estimate, Range, estimate

Bought = tuple[str, str]
"""Device kind and SKU."""

WORST_LAST = (Basis.MEASURED, Basis.DECLARED, Basis.GUESS)
LEVELS = range(3)
"""Of a range: low, expected, high."""
MOST_WASTE_FACTOR = 2
"""Waste is between nothing and this many times what it was so far."""
NONE = Range(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Rated:
    """What is known of devices of a kind and SKU."""

    rates: Sequence[DeviceRate]
    """At least one."""
    nanodollars_per_hour: int
    is_example: bool
    """Whether its price is one of those that came with tenstep."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Some devices of a kind and SKU."""

    device_kind: str
    sku: str
    count: int
    is_loaded: bool = False
    """Whether they have the model, and its loading is somebody else's cost."""

    @property
    def bought(self) -> Bought:
        """Kind and SKU."""
        return self.device_kind, self.sku

    @property
    def name(self) -> str:
        """Kind and SKU as people read them: ``cuda g5.xlarge``."""
        return f"{self.device_kind} {self.sku}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "device_kind": self.device_kind,
            "sku": self.sku,
            "count": self.count,
            "has_model_loaded": self.is_loaded,
        }


class Origin(StrEnum):
    """Why a fleet is quoted."""

    ASKED = "asked"
    LIVE = "live"
    """These workers are alive."""
    ONE_DEVICE = "one_device"
    """One device of what is known, for comparison."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices that share the work."""

    devices: Sequence[Devices]
    origin: Origin

    @property
    def bought(self) -> Sequence[Bought]:
        """Each kind and SKU once."""
        return list(dict.fromkeys(devices.bought for devices in self.devices))

    @property
    def name(self) -> str:
        """How many of what: ``2 x cuda g5.xlarge, 1 x cpu``."""
        counts: dict[str, int] = {}
        for devices in self.devices:
            counts[devices.name] = counts.get(devices.name, 0) + devices.count
        return ", ".join(f"{count:,} x {name}" for name, count in counts.items())


@dataclass(frozen=True, slots=True)
class Quote:
    """What some work costs on a fleet. Money is in nano-dollars."""

    fleet: Fleet
    images: int
    render: Range
    waste: Range
    """Allowance for attempts of which no image comes."""
    model_loads: Range
    fully_loaded: Range
    """Of holding the whole fleet until the last image is there."""
    device_ns: Range
    """Time that devices are at work, of all of them together."""
    finish_ns: Range
    """From the start until the last image is there."""
    basis: Basis
    """The weakest of all that it goes by."""
    measured_images: int
    """How many images it is known from."""
    guessed_images: int
    """How many of its images have a shape that was never measured."""

    @property
    def total(self) -> Range:
        """What the work itself costs: the devices' time at it."""
        return self.render + self.waste + self.model_loads

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        money = {
            "render": self.render,
            "waste": self.waste,
            "model_loads": self.model_loads,
            "cost": self.total,
            "fully_loaded": self.fully_loaded,
        }
        return {
            "fleet": self.fleet.name,
            "origin": self.fleet.origin.value,
            "devices": [devices.to_json() for devices in self.fleet.devices],
            "images": self.images,
            "device_ns": self.device_ns._asdict(),
            "finish_ns": self.finish_ns._asdict(),
            **{f"{name}_nanodollars": amount._asdict() for name, amount in money.items()},
            **{
                f"{name}_usd": {level: usd(part) for level, part in amount._asdict().items()}
                for name, amount in money.items()
            },
            "basis": self.basis.value,
            "measured_images": self.measured_images,
            "guessed_images": self.guessed_images,
        }


class _Times(NamedTuple):
    """How long the whole work takes one device."""

    device_ns: Range
    wall_ns: Range
    load_ns: int
    basis: Basis
    measured_images: int
    guessed_images: int


class _Lane(NamedTuple):
    """Devices of a fleet that are alike, at one piece of work."""

    devices: Devices
    nanodollars_per_hour: int
    times: _Times

    @property
    def load_ns(self) -> int:
        """Until a device begins to draw."""
        return 0 if self.devices.is_loaded else self.times.load_ns


class _Share(NamedTuple):
    """A lane's part of the work."""

    lane: _Lane
    part: Fraction
    at_work: int
    """Devices that get any of it."""


def make_quote(work: Work, fleet: Fleet, rated: Mapping[Bought, Rated], waste: Fraction) -> Quote:
    """Work out what a fleet costs and when it ends.

    Args:
        work: which images.
        fleet: whose devices share them, each at its own speed.
        rated: has every kind and SKU of the fleet.
        waste: what attempts without an image have cost so far for each dollar of images.
    """
    times = {bought: _times(work, rated[bought].rates) for bought in fleet.bought}
    lanes = [
        _Lane(devices, rated[devices.bought].nanodollars_per_hour, times[devices.bought])
        for devices in fleet.devices
    ]
    wasted = (Fraction(0), waste, MOST_WASTE_FACTOR * waste)
    shares = _shares(work, lanes, wasted[1])
    render = _sum(_priced(share, _render_ns(share)) for share in shares)
    loads = _sum(_load_cost(share) for share in shares)
    finish_ns = Range(*(_finish_ns(work, lanes, level, wasted[level]) for level in LEVELS))
    render_ns = _sum(_render_ns(share) for share in shares)
    load_ns = sum(share.at_work * share.lane.load_ns for share in shares)
    return Quote(
        fleet,
        work.total,
        render=render,
        waste=_allowance(render, wasted),
        model_loads=loads,
        fully_loaded=_sum(_held(lane, finish_ns) for lane in lanes),
        device_ns=_sum([render_ns, _allowance(render_ns, wasted), Range(*[load_ns] * 3)]),
        finish_ns=finish_ns,
        basis=max((found.basis for found in times.values()), key=WORST_LAST.index),
        measured_images=sum(found.measured_images for found in times.values()),
        guessed_images=max(found.guessed_images for found in times.values()),
    )


def _times(work: Work, rates: Sequence[DeviceRate]) -> _Times:
    known = [
        (found, images)
        for shape, images in work.images.items()
        if (found := estimate(rates, shape, images)) is not None
    ]
    guesses = [(found, images) for found, images in known if found.basis is Basis.GUESS]
    return _Times(
        _sum(found.device_ns.times(images) for found, images in known),
        _sum(found.wall_ns.times(images) for found, images in known),
        max(found.load_ns for found, _ in known),
        max((found.basis for found, _ in known), key=WORST_LAST.index),
        _measured_images([found for found, _ in known]),
        sum(images for _, images in guesses),
    )


def _measured_images(known: Sequence[Estimate]) -> int:
    exact = [found.measured_images for found in known if found.basis is not Basis.GUESS]
    # Several guesses may go by the same images.
    return sum(exact) if exact else max(found.measured_images for found in known)


def _shares(work: Work, lanes: Sequence[_Lane], wasted: Fraction) -> Sequence[_Share]:
    """Give each lane the chunks that it draws until all are drawn."""
    end = _finish_ns(work, lanes, 1, wasted)
    chunks = [_chunks_by(end, lane, _chunk_ns(work, lane, 1, wasted)) for lane in lanes]
    of_all = sum(chunks)
    parts = [Fraction(drawn, of_all) for drawn in chunks]
    return [
        _Share(lane, part, min(lane.devices.count, _rounded_up(part * work.chunks)))
        for lane, part in zip(lanes, parts, strict=True)
    ]


def _finish_ns(work: Work, lanes: Sequence[_Lane], level: int, wasted: Fraction) -> int:
    """Return when the last chunk is drawn, if whoever is free takes the next."""
    chunk_ns = [_chunk_ns(work, lane, level, wasted) for lane in lanes]
    before = 0
    end = min(lane.load_ns + work.chunks * ns for lane, ns in zip(lanes, chunk_ns, strict=True))
    while before < end:
        middle = (before + end) // 2
        drawn = sum(_chunks_by(middle, lane, ns) for lane, ns in zip(lanes, chunk_ns, strict=True))
        if drawn >= work.chunks:
            end = middle
        else:
            before = middle + 1
    return end


def _chunk_ns(work: Work, lane: _Lane, level: int, wasted: Fraction) -> int:
    """Return how long a chunk takes on average, at least 1."""
    return max(1, _rounded_up(lane.times.wall_ns[level] * (1 + wasted) * Fraction(1, work.chunks)))


def _chunks_by(time_ns: int, lane: _Lane, chunk_ns: int) -> int:
    return lane.devices.count * max(0, (time_ns - lane.load_ns) // chunk_ns)


def _render_ns(share: _Share) -> Range:
    return Range(*(int(ns * share.part) for ns in share.lane.times.device_ns))


def _priced(share: _Share, device_ns: Range) -> Range:
    return Range(*(device_cost(ns, share.lane.nanodollars_per_hour) for ns in device_ns))


def _load_cost(share: _Share) -> Range:
    cost = device_cost(share.lane.load_ns, share.lane.nanodollars_per_hour)
    return Range(cost, cost, cost).times(share.at_work)


def _held(lane: _Lane, finish_ns: Range) -> Range:
    held_ns = finish_ns.times(lane.devices.count)
    return Range(*(device_cost(ns, lane.nanodollars_per_hour) for ns in held_ns))


def _allowance(amounts: Range, wasted: Sequence[Fraction]) -> Range:
    return Range(*(int(amount * factor) for amount, factor in zip(amounts, wasted, strict=True)))


def _rounded_up(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, start=NONE)
