from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest

from producer.planning.offers import Work
from producer.quote import Bought, Devices, Fleet, Origin, Quote, Rated, make_quote
from shared.domain.money import NANOSECONDS_PER_HOUR
from shared.domain.rates import Basis, DeviceRate, Range, Shape

SHAPE = Shape(64, 64, 10, is_guided=True)
UNKNOWN = Shape(128, 128, 10, is_guided=True)
SECOND = 10**9
A_DOLLAR_AN_HOUR = 10**9
RATE = DeviceRate(
    device_kind="cpu",
    sku="",
    device_name="a device",
    shape=SHAPE,
    images=16,
    device_ns=36 * SECOND,
    image_spread=0,
    worker_spread=0,
    wall_ns=40 * SECOND,
    load_ns=72 * SECOND,
    basis=Basis.MEASURED,
)
"""An image takes a hundredth of an hour on the device, which is one cent."""
CENT = A_DOLLAR_AN_HOUR // 100
QUICK = replace(RATE, device_kind="cuda", sku="g5.xlarge", device_ns=SECOND, wall_ns=4 * SECOND)
RATED: Mapping[Bought, Rated] = {
    ("cpu", ""): Rated([RATE], A_DOLLAR_AN_HOUR, is_example=False),
    ("cuda", "g5.xlarge"): Rated([QUICK], 2 * A_DOLLAR_AN_HOUR, is_example=False),
}
NO_WASTE = Fraction(0)


def quoted(
    *devices: Devices, images: int = 64, chunk_size: int = 8, waste: Fraction = NO_WASTE
) -> Quote:
    work = Work({SHAPE: images}, chunk_size)
    return make_quote(work, Fleet(devices, Origin.ASKED), RATED, waste)


def cpus(count: int, *, is_loaded: bool = False) -> Devices:
    return Devices("cpu", "", count, is_loaded=is_loaded)


def test_one_device_costs_its_time_at_the_images_and_the_loading_of_its_model() -> None:
    quote = quoted(cpus(1))

    assert quote.render == Range(64 * CENT * 95 // 100, 64 * CENT, 64 * CENT * 105 // 100)
    assert quote.model_loads == Range(2 * CENT, 2 * CENT, 2 * CENT)
    assert quote.waste == Range(0, 0, 0)
    assert quote.total.expected == 66 * CENT
    assert quote.device_ns.expected == (64 * 36 + 72) * SECOND
    assert quote.finish_ns.expected == (64 * 40 + 72) * SECOND
    assert (quote.basis, quote.measured_images) == (Basis.MEASURED, 16)


def test_fully_loaded_is_every_device_held_until_the_last_image_is_there() -> None:
    quote = quoted(cpus(3))

    held = 3 * quote.finish_ns.expected * A_DOLLAR_AN_HOUR
    assert quote.fully_loaded.expected == pytest.approx(held / NANOSECONDS_PER_HOUR, rel=1e-9)
    assert quote.fully_loaded.expected > quote.total.expected


def test_more_devices_cost_the_same_images_and_more_loads_and_end_sooner() -> None:
    one, four = quoted(cpus(1)), quoted(cpus(4))

    assert four.render == one.render
    assert four.model_loads == one.model_loads.times(4)
    assert four.finish_ns.expected == (16 * 40 + 72) * SECOND


def test_chunks_are_not_cut_so_a_device_too_many_does_not_help() -> None:
    five, eight = quoted(cpus(5), images=16), quoted(cpus(2), images=16)

    assert five.finish_ns == eight.finish_ns
    assert five.model_loads == eight.model_loads, "only two of the five get a chunk"
    assert five.fully_loaded.expected > eight.fully_loaded.expected


def test_workers_that_have_the_model_do_not_load_it_again() -> None:
    quote = quoted(cpus(1, is_loaded=True))

    assert quote.model_loads == Range(0, 0, 0)
    assert quote.finish_ns.expected == 64 * 40 * SECOND


def test_of_a_mixed_fleet_each_draws_as_much_as_it_is_fast() -> None:
    loaded = [cpus(1, is_loaded=True), Devices("cuda", "g5.xlarge", 1, is_loaded=True)]

    quote = quoted(*loaded, images=88)

    on_cpu, on_cuda = 8, 80
    assert quote.finish_ns.expected == on_cpu * 40 * SECOND == on_cuda * 4 * SECOND
    cuda_image = 2 * A_DOLLAR_AN_HOUR // 3600
    assert quote.render.expected == pytest.approx(on_cpu * CENT + on_cuda * cuda_image, rel=1e-6)


def test_waste_is_between_nothing_and_twice_what_it_was() -> None:
    quote = quoted(cpus(1), waste=Fraction(1, 10))

    assert quote.waste == Range(0, quote.render.expected // 10, quote.render.high // 5)
    assert quote.total.high == quote.render.high + quote.waste.high + quote.model_loads.high
    assert quote.finish_ns.expected == (64 * 44 + 72) * SECOND


def test_a_shape_that_was_never_measured_makes_the_whole_quote_a_guess() -> None:
    work = Work({SHAPE: 10, UNKNOWN: 5}, 8)

    quote = make_quote(work, Fleet([cpus(1)], Origin.ASKED), RATED, NO_WASTE)

    assert quote.basis is Basis.GUESS
    assert quote.guessed_images == 5
    assert quote.render.expected == (10 + 5 * 4) * CENT
    assert quote.render.high == 10 * CENT * 105 // 100 + 2 * 5 * 4 * CENT


def test_what_programs_read_is_whole_nano_dollars_and_exact_dollars() -> None:
    document = quoted(cpus(2)).to_json()

    assert document["fleet"] == "2 x cpu"
    assert document["cost_nanodollars"]["expected"] == 68 * CENT
    assert document["cost_usd"]["expected"] == "0.680000000"
    assert document["basis"] == "measured"
