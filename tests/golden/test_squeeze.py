"""SqueezedDPM++ as published: facts that must not move."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sampling import Squeeze
from worker.diffusion.squeeze import squeeze_timesteps

GRID = [967, 907, 846, 786, 725, 665, 604, 544, 484, 423, 363, 302, 242, 181, 121, 60]


def test_sixteen_steps_squeezed_to_ten() -> None:
    squeezed = squeeze_timesteps(GRID, Squeeze.parse("10,6"))
    assert squeezed == [967, 907, 846, 786, 725, 665, 532, 399, 266, 133]


def test_sixteen_steps_squeezed_to_eleven() -> None:
    squeezed = squeeze_timesteps(GRID, Squeeze.parse("11,7"))
    assert squeezed == [967, 907, 846, 786, 725, 665, 604, 480, 360, 240, 120]


@given(
    grid=st.lists(st.integers(50, 999), min_size=2, max_size=40, unique=True).map(
        lambda values: sorted(values, reverse=True)
    ),
    kept=st.integers(1, 40),
    tail=st.integers(1, 20),
)
def test_any_squeeze_keeps_the_head_and_falls_to_the_end(
    grid: list[int], kept: int, tail: int
) -> None:
    kept = min(kept, len(grid))
    squeezed = squeeze_timesteps(grid, Squeeze(kept + tail, kept))
    assert len(squeezed) == kept + tail
    assert squeezed[:kept] == grid[:kept]
    assert all(one > other for one, other in pairwise(squeezed))
    assert squeezed[-1] > 0


def test_a_squeeze_that_keeps_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 6 of only 5"):
        squeeze_timesteps(GRID[:5], Squeeze(10, 6))


def test_a_squeeze_with_no_room_for_its_tail_is_refused() -> None:
    with pytest.raises(ValueError, match="no room for 5 timesteps below 4"):
        squeeze_timesteps([9, 4], Squeeze(7, 2))
