"""Names of pulled images say where they belong and what they show, on any file system."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.names import default_folder, image_name, position_in


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red apple", "00000007-a-red-apple.png"),
        ("../../etc/passwd", "00000007-etc-passwd.png"),
        ("Été à Zürich!", "00000007-ete-a-zurich.png"),
        ("a dog's face", "00000007-a-dogs-face.png"),
        ("日本", "00000007.png"),
        ("word " * 40, "00000007-word-word-word-word-word-word-word-word-word.png"),
    ],
)
def test_a_name_is_position_and_prompt(prompt: str, name: str) -> None:
    assert image_name(7, prompt) == name


def test_names_sort_by_position_however_many_there_are() -> None:
    names = [image_name(position, "z") for position in (2, 10, 999_999, 9_999_999)]

    assert names == sorted(names)


@given(st.text())
def test_a_name_is_short_and_plain_whatever_the_prompt(prompt: str) -> None:
    name = image_name(0, prompt)

    assert name.isascii()
    assert len(name) < 64
    assert Path(name).name == name


@given(st.text(), st.integers(min_value=0, max_value=9_999_999))
def test_a_name_tells_the_position_again(prompt: str, position: int) -> None:
    assert position_in(image_name(position, prompt)) == position


@pytest.mark.parametrize(
    "name",
    ["manifest.jsonl", "contact-sheet.png", "00007-five.png", "00000007.txt", "١٢٣٤٥٦٧٨.png"],
)
def test_a_file_that_is_no_image_of_the_batch_has_no_position(name: str) -> None:
    assert position_in(name) is None


def test_a_batch_that_is_named_like_a_path_gets_a_folder_below_renders() -> None:
    assert default_folder("../../prompts.txt") == Path("renders/prompts")
    assert default_folder("..") == Path("renders/render")
