"""Grids of timesteps: the search finds what is least, and a model keeps what was found."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sampling import SchedulerName
from shared.errors import ConfigurationError
from shared.models.card import read_card, read_json
from shared.models.catalog import load_card
from shared.models.grids import KEY, grid_of, read_grids
from training.grids.__main__ import keep
from training.grids.descent import Grid, descend
from training.grids.errors import SolverErrors
from worker.diffusion.solvers import plot_course

WANTED = (999, 700, 333, 50)


def away(grid: Grid) -> float:
    return sum(abs(one - other) for one, other in zip(grid, WANTED, strict=True))


def test_the_least_error_is_found_and_the_first_timestep_stays() -> None:
    found = descend((999, 600, 400, 200), away, 500)

    assert found.grid[0] == 999
    assert found.error <= 3
    assert found.evaluations <= 500


def test_what_was_evaluated_is_not_evaluated_again_and_evaluations_are_counted() -> None:
    asked: list[Grid] = []

    def error_of(grid: Grid) -> float:
        asked.append(grid)
        return away(grid)

    found = descend((999, 600, 400, 200), error_of, 25)

    assert len(asked) == len(set(asked)) == found.evaluations == 25
    assert found.error == min(map(away, asked))


@given(st.sets(st.integers(0, 999), min_size=2, max_size=12), st.integers(0, 2**16))
def test_every_grid_that_is_tried_falls(timesteps: set[int], salt: int) -> None:
    def error_of(grid: Grid) -> float:
        assert all(later < earlier for earlier, later in pairwise(grid))
        assert min(grid) >= 0
        return float(hash((grid, salt)) % 1000)

    descend(tuple(sorted(timesteps, reverse=True)), error_of, 60)


@pytest.mark.parametrize(
    "grids",
    [[], {"2": [5]}, {"2": [5, 5]}, {"2": [3, 5]}, {"2": [1000, 5]}, {"x": []}, {"1": [2.5]}],
)
def test_broken_grids_are_refused_by_name(grids: object) -> None:
    with pytest.raises(ConfigurationError, match=KEY):
        read_grids({KEY: grids})


def test_a_grid_of_another_number_is_asked_for_in_vain() -> None:
    with pytest.raises(ValueError, match=r"no grid of 5 steps .* grids of 2, 3"):
        grid_of({KEY: {"3": [9, 8, 7], "2": [9, 7]}}, 5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    card = load_card("emoji-64")
    return Path(shutil.copytree(card.folder, tmp_path / "model"))


def test_a_model_keeps_its_grids_and_draws_along_them(model: Path) -> None:
    keep(read_card(model), [(998, 500, 20), (998, 40)])
    keep(read_card(model), [(998, 50)])

    card = read_card(model)
    assert card.searched_grids == {2: (998, 50), 3: (998, 500, 20)}
    config = read_json(model / "scheduler" / "scheduler_config.json")
    assert plot_course(config, SchedulerName.SEARCHED, 3, None).timesteps == [998, 500, 20]
    with pytest.raises(ValueError, match="no grid of 8 steps"):
        plot_course(config, SchedulerName.SEARCHED, 8, None)


def test_more_steps_are_nearer_to_the_reference(model: Path) -> None:
    errors = SolverErrors(read_card(model), ["a red apple", "a dog face"], 5)

    few, many = (
        errors.of(plot_course(errors.config, SchedulerName.DPM_SOLVER, steps, None))
        for steps in (4, 40)
    )

    assert few.shape == (2,)
    assert (many < few / 3).all()
    json.dumps(few.tolist())
