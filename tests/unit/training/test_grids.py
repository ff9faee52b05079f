"""Grids of timesteps: the search finds what is least, and a model keeps what was found."""

from __future__ import annotations

import json
import math
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sampling import SchedulerName, Squeeze
from shared.errors import ConfigurationError
from shared.models.card import read_card, read_json
from shared.models.grids import KEY, grid_of, read_grids
from support.grids import FOUR, THREE, keep_grids
from support.tiny_model import write_tiny_model
from training.grids.__main__ import main
from training.grids.descent import Grid, descend
from training.grids.errors import Question, SolverErrors
from training.grids.saved import CONFIG, RECORD, save_grid
from training.grids.search import in_turn
from training.grids.squeezes import squeeze_of
from worker.devices import Device
from worker.diffusion.solvers import plot_course
from worker.inspection import verify
from worker.loading import load_pipeline

WANTED = (999, 700, 333, 50)
START = (999, 600, 400, 200)
QUESTIONS = [Question("ab", 5), Question("cd", 6), Question("ef", 7)]


def away(grid: Grid) -> float:
    return sum(abs(one - other) for one, other in zip(grid, WANTED, strict=True))


def test_the_least_error_is_found_and_the_first_timestep_stays() -> None:
    found = descend(START, away, 500)

    assert found.grid[0] == 999
    assert found.error == away(found.grid) <= 3
    assert found.evaluations <= 500
    assert not found.is_interrupted


def test_the_least_error_is_found_where_timesteps_hang_together() -> None:
    def bent(grid: Grid) -> float:
        return sum((later - earlier / 2) ** 2 for earlier, later in pairwise(grid))

    found = descend((960, 900, 800, 700, 60), bent, 2_000)

    assert found.grid == pytest.approx((960, 480, 240, 120, 60), abs=5)


def test_what_was_evaluated_is_not_evaluated_again_and_evaluations_are_counted() -> None:
    asked: list[Grid] = []

    def error_of(grid: Grid) -> float:
        asked.append(grid)
        return away(grid)

    found = descend(START, error_of, 25)

    assert len(asked) == len(set(asked)) == found.evaluations == 25
    assert found.error == min(map(away, asked))


def test_an_interrupted_search_keeps_the_best_that_it_found() -> None:
    numbers = count(1)

    def error_of(grid: Grid) -> float:
        if next(numbers) == 12:
            raise KeyboardInterrupt
        return away(grid)

    found = descend(START, error_of, 500)

    assert found.is_interrupted
    assert found.evaluations == 11
    assert found.error < away(START)


@given(st.sets(st.integers(0, 999), min_size=2, max_size=12), st.integers(0, 2**16))
def test_every_grid_that_is_tried_falls(timesteps: set[int], salt: int) -> None:
    def error_of(grid: Grid) -> float:
        assert all(later < earlier for earlier, later in pairwise(grid))
        assert min(grid) >= 0
        return float(hash((grid, salt)) % 1000)

    descend(tuple(sorted(timesteps, reverse=True)), error_of, 60)


@pytest.mark.parametrize(
    "grids",
    [
        *([], {"2": [5]}, {"2": [5, 5]}, {"2": [3, 5]}, {"2": [1000, 5]}, {"x": []}, {"1": [2.5]}),
        *({"0": []}, {"02": [5, 3]}, {"1": [True]}, {"1": 5}, {"1": [-1]}, None),
    ],
)
def test_broken_grids_are_refused_by_name(grids: object) -> None:
    with pytest.raises(ConfigurationError, match=KEY):
        read_grids({KEY: grids})


def test_a_grid_of_another_number_is_asked_for_in_vain() -> None:
    with pytest.raises(ValueError, match=r"no grid of 5 steps .* grids of 2, 3"):
        grid_of({KEY: {"3": [9, 8, 7], "2": [9, 7]}}, 5)


@pytest.mark.parametrize(
    ("steps", "base_steps", "kept"),
    [
        *((4, 6, 2), (6, 10, 4), (8, 13, 5), (10, 16, 6)),
        *((12, 19, 7), (16, 26, 10), (25, 40, 15), (50, 80, 30)),
    ],
)
def test_any_number_of_steps_is_squeezed_in_the_published_proportions(
    steps: int, base_steps: int, kept: int
) -> None:
    assert squeeze_of(steps) == (base_steps, Squeeze(steps, kept))

    course = plot_course({}, SchedulerName.DPM_SOLVER, base_steps, f"{steps},{kept}")

    assert len(course.timesteps) == steps


def test_one_step_is_not_squeezed() -> None:
    with pytest.raises(ValueError, match="n > i > 0"):
        squeeze_of(1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


def errors_of(model: Path) -> SolverErrors:
    card = read_card(model)
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=1)
    config = read_json(model / "scheduler" / CONFIG)
    return SolverErrors(pipeline, card, config, QUESTIONS, reference_steps=30, batch=2)


def test_more_steps_are_nearer_to_the_reference(model: Path) -> None:
    errors = errors_of(model)
    config = read_json(model / "scheduler" / CONFIG)

    few, many, all_of_them = (
        errors.along([int(timestep) for timestep in course.timesteps])
        for course in (
            plot_course(config, SchedulerName.DPM_SOLVER, steps, None) for steps in (4, 15, 30)
        )
    )

    assert few.shape == (len(QUESTIONS),)
    assert (many < few).all()
    assert all_of_them == pytest.approx(np.zeros(3), abs=1e-5)


def test_what_is_remembered_of_other_grids_changes_no_error(model: Path) -> None:
    grids = [FOUR, (*FOUR[:3], 20), (FOUR[0], 700, *FOUR[2:]), THREE, FOUR]

    remembering = errors_of(model)

    for grid in grids:
        assert np.array_equal(remembering.along(grid), errors_of(model).along(grid))


def test_a_model_keeps_its_grids_and_draws_along_them(model: Path) -> None:
    scheduler = model / "scheduler"
    before = read_json(scheduler / CONFIG)

    for grid in (THREE, FOUR, (990, 400, 30)):
        save_grid(scheduler, grid, {"evaluations": len(grid)})

    card = read_card(model)
    assert card.searched_grids == {3: (990, 400, 30), 4: FOUR}
    config = read_json(scheduler / CONFIG)
    assert {key: value for key, value in config.items() if key != KEY} == before
    assert plot_course(config, SchedulerName.SEARCHED, 3, None).timesteps == [990, 400, 30]
    assert read_json(scheduler / RECORD) == {"3": {"evaluations": 3}, "4": {"evaluations": 4}}
    assert not list(scheduler.glob(".partial*"))


def test_a_broken_grid_is_not_written(model: Path) -> None:
    with pytest.raises(ConfigurationError, match="timesteps have to fall"):
        save_grid(model / "scheduler", (5, 5), {})

    assert read_card(model).searched_grids == {}
    assert not (model / "scheduler" / RECORD).exists()


def test_a_model_with_broken_grids_is_not_loaded(model: Path) -> None:
    keep_grids(model, (5, 5))

    with pytest.raises(ConfigurationError, match="searched_timesteps: 2: timesteps have to fall"):
        load_pipeline(read_card(model), Device.parse("cpu"), threads=1)


def test_every_second_prompt_is_held_out() -> None:
    assert in_turn("abcde") == ("ace", "bd")
    with pytest.raises(ValueError, match="two prompts are needed"):
        in_turn(["a"])


SIDES = ("searched_with", "held_out")
SMALL = ("--images", "2", "--check", "3", "--reference-steps", "20", "--threads", "1")


def test_a_search_goes_on_from_what_was_saved_and_says_what_it_came_to(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(model), "--steps", "4", "3", *SMALL, "--evaluations", "6", "--json"]

    first, second = (
        (main(words), json.loads(capsys.readouterr().out))[1] for _ in ("first", "again")
    )

    assert set(first["4"]["errors"]) == {"plain", "squeezed", "searched"}
    assert second["4"]["errors"]["saved"] == first["4"]["errors"]["searched"]
    for steps in ("3", "4"):
        errors = {name: way["searched_with"] for name, way in second[steps]["errors"].items()}
        assert errors["searched"] == min(errors.values())
        assert math.isfinite(second[steps]["errors"]["searched"]["held_out"][0])
        assert read_card(model).searched_grids[int(steps)] == tuple(second[steps]["timesteps"])
    record = read_json(model / "scheduler" / RECORD)["4"]
    assert record["errors"] == second["4"]["errors"]
    assert {"weights_sha256", "guidance_scale", "reference", "evaluations"} <= record.keys()
    prompts = [{question["prompt"] for question in record[side]} for side in SIDES]
    seeds = [{question["seed"] for question in record[side]} for side in SIDES]
    assert not prompts[0] & prompts[1]
    assert not seeds[0] & seeds[1]


def test_grids_are_searched_with_prompts_of_a_file_and_written_elsewhere(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("abc\n\ndef\nghi\n", "utf-8")
    out = tmp_path / "out"
    words = ["--steps", "3", *SMALL, "--evaluations", "2", "--prompts"]

    assert main([str(model), *words, str(tmp_path / "prompts.txt"), "--out", str(out)]) == 0

    assert "searched" in capsys.readouterr().out
    assert read_card(model).searched_grids == {}
    assert list(read_grids(read_json(out / CONFIG))) == [3]
    record = read_json(out / RECORD)["3"]
    assert [question["prompt"] for question in record["searched_with"]] == ["abc", "ghi"]
    assert {question["prompt"] for question in record["held_out"]} == {"def"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "1"], "error: squeeze n,i needs n > i > 0"),
        (["--steps", "4", "1000"], "error: 1000 steps are more than"),
        (["--prompts", "gone.txt"], "gone.txt"),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(
    model: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(model), *SMALL, *words]) == 2

    assert said in capsys.readouterr().err
    assert read_card(model).searched_grids == {}


def test_a_model_whose_own_scheduler_is_searched_is_loaded_checked_and_drawn_with(
    model: Path,
) -> None:
    keep_grids(model, FOUR)
    card = json.loads((model / "tenstep.json").read_text("utf-8"))
    card["sampler"] |= {"scheduler": "searched", "steps": 4, "squeeze": None}
    (model / "tenstep.json").write_text(json.dumps(card), "utf-8")

    assert len(verify(read_card(model))) == 64
