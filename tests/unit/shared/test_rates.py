from __future__ import annotations

from dataclasses import replace

import pytest

from shared.domain.rates import Basis, DeviceRate, Range, Shape, by_sku, estimate

SHAPE = Shape(64, 64, 10, is_guided=True)
SECOND = 1_000_000_000
RATE = DeviceRate(
    device_kind="cpu",
    sku="",
    device_name="a device",
    shape=SHAPE,
    images=100,
    device_ns=SECOND,
    image_spread=0,
    worker_spread=0,
    wall_ns=2 * SECOND,
    load_ns=3 * SECOND,
    basis=Basis.MEASURED,
)


def test_a_squeezed_grid_takes_fewer_iterations_than_it_has_steps() -> None:
    assert Shape.of(64, 64, 16, "10,6", 7.5) == SHAPE
    assert Shape.of(64, 64, 10, None, 7.5) == SHAPE


@pytest.mark.parametrize(("scale", "is_guided"), [(7.5, True), (1.0, False), (0.5, True)])
def test_guidance_is_every_scale_at_which_the_denoiser_runs_on_two_rows(
    scale: float, *, is_guided: bool
) -> None:
    assert Shape.of(64, 64, 10, None, scale).is_guided is is_guided


def test_a_shape_that_was_measured_is_expected_to_take_what_it_took() -> None:
    expected = estimate([RATE], SHAPE)

    assert expected is not None
    assert expected.basis is Basis.MEASURED
    assert expected.measured_images == 100
    assert expected.device_ns == Range(950_000_000, SECOND, 1_050_000_000)
    assert expected.wall_ns.expected == 2 * SECOND
    assert expected.load_ns == 3 * SECOND


def test_the_more_images_differ_the_wider_is_the_range_and_many_are_known_better_than_one() -> None:
    differing = replace(RATE, image_spread=400_000)

    one, many = estimate([differing], SHAPE, 1), estimate([differing], SHAPE, 1_000)

    assert one is not None
    assert many is not None
    assert one.device_ns == Range(196_010_000, SECOND, 1_803_990_000)
    assert many.device_ns.high < one.device_ns.high
    assert many.device_ns.high > SECOND * 105 // 100


def test_differences_between_workers_stay_however_many_images_there_are() -> None:
    differing = replace(RATE, worker_spread=100_000)

    expected = estimate([differing], SHAPE, 10**9)

    assert expected is not None
    assert expected.device_ns == Range(800_000_000, SECOND, 1_200_000_000)


def test_devices_of_several_names_count_by_their_images_and_the_range_has_all_of_them() -> None:
    slower = replace(RATE, device_name="another", device_ns=3 * SECOND, images=300)

    expected = estimate([RATE, slower], SHAPE)

    assert expected is not None
    assert expected.device_ns.expected == 2_500_000_000
    assert expected.device_ns.low <= SECOND
    assert expected.device_ns.high >= 3 * SECOND
    assert expected.measured_images == 400


@pytest.mark.parametrize(
    ("asked", "factor"),
    [
        (Shape(128, 64, 10, is_guided=True), 2),
        (Shape(64, 64, 30, is_guided=True), 3),
        (Shape(128, 128, 10, is_guided=False), 2),
    ],
)
def test_another_shape_is_a_guess_by_pixels_iterations_and_guidance(
    asked: Shape, factor: int
) -> None:
    guess = estimate([RATE], asked)

    assert guess is not None
    assert guess.basis is Basis.GUESS
    middle = factor * SECOND
    assert guess.device_ns == Range(middle // 2, middle, middle * 2)
    assert guess.wall_ns.expected == 2 * middle


def test_a_guess_goes_by_the_nearest_shape() -> None:
    far = replace(RATE, shape=Shape(512, 512, 10, is_guided=True), device_ns=SECOND)

    guess = estimate([far, RATE], Shape(64, 64, 20, is_guided=True))

    assert guess is not None
    assert guess.device_ns.expected == 2 * SECOND


def test_what_was_declared_is_less_certain_than_what_was_measured() -> None:
    declared = replace(RATE, images=0, basis=Basis.DECLARED)

    expected = estimate([declared], SHAPE)

    assert expected is not None
    assert expected.basis is Basis.DECLARED
    assert expected.measured_images == 0
    assert expected.device_ns == Range(750_000_000, SECOND, 1_250_000_000)


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    assert estimate([], SHAPE) is None


def test_what_is_bought_is_a_kind_and_a_sku() -> None:
    others = [replace(RATE, device_name="another"), replace(RATE, sku="c6a.large")]

    assert {bought: len(rates) for bought, rates in by_sku([RATE, *others]).items()} == {
        ("cpu", ""): 2,
        ("cpu", "c6a.large"): 1,
    }
