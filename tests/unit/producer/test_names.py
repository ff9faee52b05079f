"""Names of pulled images say where they belong and what they show, on any file system."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.names import default_folder, image_name


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red apple", "00007-a-red-apple.png"),
        ("../../etc/passwd", "00007-etc-passwd.png"),
        ("Été à Zürich!", "00007-ete-a-zurich.png"),
        ("a dog's face", "00007-a-dogs-face.png"),
        ("日本", "00007.png"),
        ("word " * 40, "00007-word-word-word-word-word-word-word-word-word.png"),
    ],
)
def test_a_name_is_position_and_prompt(prompt: str, name: str) -> None:
    assert image_name(7, 24, prompt) == name


def test_names_sort_by_position_however_many_there_are() -> None:
    names = [image_name(position, 1_000_001, "z") for position in (2, 10, 999_999, 1_000_000)]

    assert names == sorted(names)


@given(st.text())
def test_a_name_is_short_and_plain_whatever_the_prompt(prompt: str) -> None:
    name = image_name(0, 1, prompt)

    assert name.isascii()
    assert len(name) < 64
    assert Path(name).name == name


def test_a_batch_that_is_named_like_a_path_gets_a_folder_below_renders() -> None:
    assert default_folder("../../prompts.txt") == Path("renders/prompts")
    assert default_folder("..") == Path("renders/render")
