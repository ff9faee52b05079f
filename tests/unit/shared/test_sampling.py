"""What a job may ask of the sampler."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.domain.sampling import SamplerSettings, Squeeze

SETTINGS: dict[str, Any] = {
    "steps": 16,
    "squeeze": "10,6",
    "guidance_scale": 7.5,
    "guidance_rescale": 0.8,
}


@pytest.mark.parametrize("text", ["10,6", " 10 , 6 ", "10,06"])
def test_a_squeeze_is_read(text: str) -> None:
    assert Squeeze.parse(text) == Squeeze(steps=10, kept=6)


@given(st.integers(2, 1000).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))))
def test_a_squeeze_is_written_as_it_is_read(numbers: tuple[int, int]) -> None:
    squeeze = Squeeze(*numbers)

    assert Squeeze.parse(str(squeeze)) == squeeze


@pytest.mark.parametrize(
    "text",
    ["", "10", "10,", "10;6", "10,6,3", "-10,6", "10,-6", "1e1,6", "10.0,6", "x,y", "10000,6"],
)
def test_what_is_not_two_whole_numbers_is_no_squeeze(text: str) -> None:
    with pytest.raises(ValueError, match="two whole numbers such as 10,6"):
        Squeeze.parse(text)


@pytest.mark.parametrize("text", ["6,10", "6,6", "6,0", "0,0", "1001,6"])
def test_a_squeeze_keeps_some_and_replaces_some(text: str) -> None:
    with pytest.raises(ValueError, match="needs n > i > 0"):
        Squeeze.parse(text)


def test_a_squeezed_job_runs_the_denoiser_as_often_as_the_squeeze_says() -> None:
    assert SamplerSettings(**SETTINGS).evaluations == 10
    assert SamplerSettings(**SETTINGS | {"squeeze": None}).evaluations == 16


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("steps", 5),  # the squeeze keeps six
        ("squeeze", "6,10"),
        ("squeeze", "10," + "0" * 20 + "6"),
        ("guidance_scale", -1),
        ("guidance_scale", 51),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_rescale", 1.5),
        ("guidance_rescale", float("nan")),
        ("eta", 1),
    ],
)
def test_settings_out_of_bounds_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SamplerSettings(**SETTINGS | {field: value})


def test_a_squeeze_may_keep_the_whole_grid() -> None:
    assert SamplerSettings(**SETTINGS | {"steps": 6}).evaluations == 10
