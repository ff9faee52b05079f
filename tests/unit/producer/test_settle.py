"""A line's fields go before the batch's, and these before the model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.rejects import FieldError
from producer.settle import BatchDefaults, Settled, Settler
from shared.domain.prompts import MAX_SEED, PromptRequest
from shared.domain.rates import Shape
from shared.errors import ConfigurationError
from support.grids import FOUR, THREE, card_with_grids
from support.prompts import CARD


def settler_and_line(
    line: dict[str, Any], defaults: dict[str, Any] | None
) -> tuple[Settler, PromptRequest]:
    batch = BatchDefaults.model_validate(defaults or {})
    return Settler(batch, CARD), PromptRequest.model_validate({"prompt": "a", **line})


def settled(line: dict[str, Any], defaults: dict[str, Any] | None = None) -> Settled:
    settler, request = settler_and_line(line, defaults)
    return settler.settle(request)


def seeds_of(
    line: dict[str, Any], defaults: dict[str, Any] | None = None, first_position: int = 0
) -> Sequence[int]:
    settler, request = settler_and_line(line, defaults)
    return settler.seeds(request, first_position)


def negative_prompt_of(line: dict[str, Any], defaults: dict[str, Any] | None = None) -> str:
    settler, request = settler_and_line(line, defaults)
    return settler.negative_prompt(request)


def test_what_nobody_says_comes_from_the_model() -> None:
    image = settled({})

    assert (image.width, image.height) == (64, 48)
    assert (image.steps, image.squeeze) == (16, "10,6")
    assert (image.guidance_scale, image.guidance_rescale) == (4.0, 0.7)
    assert negative_prompt_of({}) == ""


def test_a_line_goes_before_the_batch_and_the_batch_before_the_model() -> None:
    line = {"width": 8, "guidance_scale": 0, "negative_prompt": ""}
    batch = {"width": 16, "height": 16, "guidance_scale": 9, "negative_prompt": "blur"}
    image = settled(line, batch)

    assert (image.width, image.height) == (8, 16)
    assert image.guidance_scale == 0
    assert negative_prompt_of(line, batch) == ""


@pytest.mark.parametrize(
    ("line", "batch", "expected"),
    [
        ({}, {}, (16, "10,6")),
        ({"steps": 20}, {}, (20, None)),
        ({}, {"steps": 20}, (20, None)),
        ({"steps": 20}, {"squeeze": "11,7"}, (20, None)),
        ({"squeeze": "11,7"}, {"steps": 20}, (20, "11,7")),
        ({"steps": 12, "squeeze": "8,4"}, {"steps": 20}, (12, "8,4")),
        ({"squeeze": "none"}, {}, (16, None)),
        ({"squeeze": " 10 , 6"}, {}, (16, "10,6")),
    ],
)
def test_steps_without_a_squeeze_mean_a_plain_grid(
    line: dict[str, Any], batch: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    image = settled(line, batch)

    assert (image.steps, image.squeeze) == expected


@pytest.mark.parametrize(
    ("line", "batch", "expected"),
    [
        ({}, {}, ("dpmsolver++", 16, "10,6")),
        ({"scheduler": "dpmsolver++"}, {}, ("dpmsolver++", 16, "10,6")),
        ({"scheduler": "euler"}, {}, ("euler", 16, None)),
        ({}, {"scheduler": "ddim"}, ("ddim", 16, None)),
        ({"scheduler": "unipc"}, {"scheduler": "ddim", "steps": 20}, ("unipc", 20, None)),
        ({"scheduler": "euler"}, {"squeeze": "11,7"}, ("euler", 16, None)),
        ({"scheduler": "euler", "steps": 30}, {}, ("euler", 30, None)),
        ({"scheduler": "euler", "squeeze": "none"}, {}, ("euler", 16, None)),
        ({"scheduler": "dpmsolver++"}, {"scheduler": "ddim"}, ("dpmsolver++", 16, None)),
        (
            {"scheduler": "dpmsolver++", "squeeze": "11,7"},
            {"scheduler": "ddim"},
            ("dpmsolver++", 16, "11,7"),
        ),
    ],
)
def test_another_scheduler_without_a_squeeze_means_a_plain_grid(
    line: dict[str, Any], batch: dict[str, Any], expected: tuple[str, int, str | None]
) -> None:
    image = settled(line, batch)

    assert (image.scheduler, image.steps, image.squeeze) == expected


@pytest.mark.parametrize(
    ("line", "batch"),
    [
        ({"scheduler": "euler", "squeeze": "10,6"}, {}),
        ({"squeeze": "10,6"}, {"scheduler": "euler"}),
    ],
)
def test_a_squeeze_of_another_scheduler_is_refused(
    line: dict[str, Any], batch: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"a squeeze is for dpmsolver\+\+, not for euler"):
        settled(line, batch)


def test_a_scheduler_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'dpmsolver\\+\\+', 'ddim', 'euler', 'unipc' or 'searched'"
    ):
        settled({"scheduler": "heun"})


@pytest.mark.parametrize(
    ("line", "batch", "expected"),
    [
        ({"scheduler": "searched", "steps": 4}, {}, ("searched", 4)),
        ({"steps": 4}, {"scheduler": "searched", "steps": 3}, ("searched", 4)),
        ({}, {"scheduler": "searched", "steps": 3}, ("searched", 3)),
        ({"scheduler": "euler"}, {"scheduler": "searched", "steps": 3}, ("euler", 3)),
    ],
)
def test_a_searched_grid_is_of_so_many_steps_and_not_squeezed(
    line: dict[str, Any], batch: dict[str, Any], expected: tuple[str, int], tmp_path: Path
) -> None:
    settler = Settler(BatchDefaults.model_validate(batch), card_with_grids(tmp_path, THREE, FOUR))

    image = settler.settle(PromptRequest.model_validate({"prompt": "a", **line}))

    assert (image.scheduler, image.steps, image.squeeze) == (*expected, None)
    assert Shape.of_image(image).iterations == expected[1]


@pytest.mark.parametrize(
    ("line", "grids", "reason"),
    [
        ({"steps": 5}, (THREE, FOUR), "no grid of 5 steps .*; there are grids of 3, 4"),
        ({}, (THREE,), "no grid of 16 steps .*; there are grids of 3"),
        ({"steps": 4}, (), "no grid of 4 steps .*; it has no searched grid"),
    ],
)
def test_a_grid_that_was_not_searched_is_refused_by_field(
    line: dict[str, Any], grids: tuple[tuple[int, ...], ...], reason: str, tmp_path: Path
) -> None:
    settler = Settler(BatchDefaults(), card_with_grids(tmp_path, *grids))

    with pytest.raises(FieldError, match=reason) as refused:
        settler.settle(
            PromptRequest.model_validate({"prompt": "a", "scheduler": "searched", **line})
        )

    assert refused.value.field == "steps"


def test_a_searched_grid_is_not_squeezed_further(tmp_path: Path) -> None:
    settler = Settler(BatchDefaults(), card_with_grids(tmp_path, THREE, FOUR))
    line = {"prompt": "a", "scheduler": "searched", "steps": 4, "squeeze": "3,2"}

    with pytest.raises(ValueError, match=r"a squeeze is for dpmsolver\+\+, not for searched"):
        settler.settle(PromptRequest.model_validate(line))


def test_broken_grids_are_told_before_any_line_is_read(tmp_path: Path) -> None:
    card = card_with_grids(tmp_path, (5, 5))

    with pytest.raises(ConfigurationError, match="searched_timesteps: 2: timesteps have to fall"):
        Settler(BatchDefaults(), card)


@pytest.mark.parametrize("squeeze", ["10", "6,10", "a,b"])
def test_a_squeeze_that_is_none_is_refused(squeeze: str) -> None:
    with pytest.raises(ValueError, match="squeeze"):
        settled({"squeeze": squeeze})


def test_a_squeeze_that_keeps_more_than_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 6 of only 5 steps"):
        settled({"steps": 5, "squeeze": "10,6"})


def test_images_of_one_line_count_on_from_its_seed() -> None:
    assert seeds_of({"seed": MAX_SEED, "n": 3}) == [MAX_SEED, 0, 1]


def test_a_line_without_a_seed_counts_on_from_the_batchs() -> None:
    seeds = seeds_of({}, {"seed": 100, "n": 2}, first_position=5)

    assert seeds == [105, 106]


def test_a_line_that_says_one_image_gets_one() -> None:
    assert len(seeds_of({"n": 1}, {"n": 4})) == 1


@given(seed=st.integers(0, MAX_SEED), position=st.integers(0, 10_000_000), count=st.integers(1, 20))
def test_every_image_of_a_line_has_a_seed_of_its_own_in_range(
    seed: int, position: int, count: int
) -> None:
    seeds = seeds_of({"n": count}, {"seed": seed}, position)

    assert len(set(seeds)) == count
    assert all(0 <= found <= MAX_SEED for found in seeds)
