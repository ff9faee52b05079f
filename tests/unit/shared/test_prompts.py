"""What a user may ask of an image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.domain.prompts import (
    MAX_IMAGES_A_PROMPT,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    ImageSettings,
    PromptRequest,
    control_character_in,
)


def test_a_prompt_alone_is_a_request() -> None:
    request = PromptRequest(prompt="a red apple")

    assert (request.n, request.seed, request.width, request.metadata) == (1, None, None, {})


def test_fields_of_the_callers_own_are_kept() -> None:
    request = PromptRequest.model_validate({"prompt": "an apple", "sku": 17, "tags": ["a"]})

    assert request.metadata == {"sku": 17, "tags": ["a"]}


@pytest.mark.parametrize(
    "value", ["a\0b", float("nan"), [1, {"x": "\0"}], {"\0": 1}, [[float("inf")]]]
)
def test_metadata_that_a_database_would_refuse_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PromptRequest.model_validate({"prompt": "an apple", "note": value})

    assert caught.value.errors()[0]["loc"] == ("note",)


@pytest.mark.parametrize("extra", [{"a\0b": 1}, {str(number): 1 for number in range(65)}])
def test_the_names_of_metadata_are_bounded_and_without_zeros(extra: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        PromptRequest.model_validate({"prompt": "an apple", **extra})


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\x1b", "\x7f", "\x85"])
def test_a_control_character_is_refused_and_its_place_named(character: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PromptRequest(prompt=f"ab{character}c")

    code = f"U+{ord(character):04X}"
    assert control_character_in(f"ab{character}c") == f"control character {code} at character 3"
    assert caught.value.errors()[0]["loc"] == ("prompt",)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200))
def test_any_other_text_is_a_prompt(text: str) -> None:
    assert PromptRequest(prompt=text).prompt == text
    assert control_character_in(text) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "x" * (MAX_PROMPT_CHARACTERS + 1)),
        ("prompt", 5),
        ("negative_prompt", "a\nb"),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("seed", 1.5),
        ("n", 0),
        ("n", MAX_IMAGES_A_PROMPT + 1),
        ("width", 60),
        ("width", 0),
        ("height", 4104),
        ("steps", 0),
        ("guidance_scale", float("nan")),
        ("guidance_rescale", -0.1),
        ("custom_id", ""),
        ("custom_id", "x" * 257),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PromptRequest.model_validate({"prompt": "an apple", field: value})

    assert caught.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 0), ("seed", MAX_SEED), ("width", 8), ("height", 4096), ("n", MAX_IMAGES_A_PROMPT)],
)
def test_bounds_are_within(field: str, value: int) -> None:
    request = PromptRequest.model_validate({"prompt": "an apple", field: value})

    assert getattr(request, field) == value


@pytest.mark.parametrize("field", ["guidance_scale", "guidance_rescale"])
def test_an_image_cannot_be_guided_by_what_is_not_a_number(field: str) -> None:
    settings = {
        "prompt": "an apple",
        "seed": 1,
        "width": 64,
        "height": 64,
        "steps": 10,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.8,
    }
    assert ImageSettings.model_validate(settings).negative_prompt == ""

    with pytest.raises(ValidationError):
        ImageSettings.model_validate(settings | {field: float("nan")})
