"""SqueezedDPM++: the published example, and its laws."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sampling import Squeeze
from worker.diffusion.schedule import build_scheduler, with_timesteps
from worker.diffusion.squeeze import squeeze_timesteps

GRID = [967, 907, 846, 786, 725, 665, 604, 544, 484, 423, 363, 302, 242, 181, 121, 60]


def test_ten_steps_of_sixteen_are_those_of_the_published_scheduler() -> None:
    assert squeeze_timesteps(GRID, Squeeze(10, 6)) == [
        *(967, 907, 846, 786, 725, 665),
        *(532, 399, 266, 133),
    ]


def test_eleven_steps_of_sixteen_keep_seven() -> None:
    assert squeeze_timesteps(GRID, Squeeze(11, 7)) == [
        *(967, 907, 846, 786, 725, 665, 604),
        *(480, 360, 240, 120),
    ]


grids = st.lists(st.integers(1, 999), min_size=2, max_size=40, unique=True).map(
    lambda grid: sorted(grid, reverse=True)
)


@given(grids, st.data())
def test_a_squeezed_grid_is_as_long_as_asked_keeps_its_head_and_falls(
    grid: list[int], data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, len(grid)))
    tail = data.draw(st.integers(1, 20))
    squeeze = Squeeze(kept + tail, kept)
    if grid[kept - 1] // (tail + 1) < 1:
        with pytest.raises(ValueError, match="no room"):
            squeeze_timesteps(grid, squeeze)
        return

    squeezed = squeeze_timesteps(grid, squeeze)

    assert len(squeezed) == squeeze.steps
    assert squeezed[:kept] == grid[:kept]
    assert all(later < earlier for earlier, later in pairwise(squeezed))
    assert squeezed[-1] > 0
    spaces = {a - b for a, b in zip(squeezed[kept:], [*squeezed[kept + 1 :], 0], strict=True)}
    assert len(spaces) == 1


def test_a_squeeze_cannot_keep_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="keeps 6 of only 5"):
        squeeze_timesteps(GRID[:5], Squeeze(10, 6))


def test_a_scheduler_is_set_to_the_squeezed_grid_and_its_own_sigmas() -> None:
    plain = with_timesteps(build_scheduler(), 16)
    squeezed = with_timesteps(build_scheduler(), 16, Squeeze(10, 6))

    grid = [int(t) for t in plain.timesteps]
    assert [int(t) for t in squeezed.timesteps] == squeeze_timesteps(grid, Squeeze(10, 6))
    cumulative = squeezed.alphas_cumprod[squeezed.timesteps.long()]
    expected = ((1 - cumulative) / cumulative).sqrt()
    assert squeezed.sigmas[:-1].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    first = squeezed.alphas_cumprod[0]
    assert float(squeezed.sigmas[-1]) == pytest.approx(float(((1 - first) / first).sqrt()), 1e-4)


def test_a_scheduler_that_was_set_before_is_left_as_it_was() -> None:
    scheduler = build_scheduler()
    first = with_timesteps(scheduler, 16, Squeeze(10, 6))
    second = with_timesteps(scheduler, 4)

    assert (len(first.timesteps), len(second.timesteps)) == (10, 4)
    assert scheduler.num_inference_steps is None


def test_a_checkpoints_own_configuration_wins() -> None:
    scheduler = build_scheduler(
        {"_class_name": "Other", "beta_schedule": "linear", "prediction_type": "epsilon"}
    )

    assert scheduler.config.beta_schedule == "linear"
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.solver_order == 2
