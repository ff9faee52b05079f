"""What a picture is called."""

import pytest

from training.data.captions import STYLES, captions, with_article


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red apple", "a red apple"),
        ("apple", "an apple"),
        ("grapes", "grapes"),
        ("slice of pizza", "a slice of pizza"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("ufo", "a ufo"),
        ("face with heart eyes", "a face with heart eyes"),
        ("loaf of bread", "a loaf of bread"),
        ("bread", "bread"),
        ("bus", "a bus"),
        ("woman\N{RIGHT SINGLE QUOTATION MARK}s hat", "a woman's hat"),
    ],
)
def test_article(name: str, expected: str) -> None:
    assert with_article(name) == expected


def test_forms_that_users_type() -> None:
    kinds = captions(["red apple", "apple"], "twemoji")
    assert {"a red apple", "a red apple emoji", "an apple", "red apple"} <= set(kinds["plain"])
    assert {"a red apple, flat twemoji style", "an emoji of an apple in flat style"} <= set(
        kinds["styled"]
    )
    assert "a photo of a red apple" in kinds["light"]


@pytest.mark.parametrize("style", STYLES)
def test_only_styled_captions_name_the_style(style: str) -> None:
    kinds = captions(["rocket"], style)
    assert all("style" in text for text in kinds["styled"])
    assert not any("style" in text for text in kinds["plain"] + kinds["light"])


def test_label_is_as_frequent_as_all_other_names() -> None:
    plain = captions(["pizza", "slice of pizza", "pizza slice"], "noto")["plain"]
    assert plain.count("a pizza emoji") == 2
    assert plain.count("a slice of pizza emoji") == 1
