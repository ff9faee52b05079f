"""A template and lists of values are prompts without a file."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pytest

from producer.prompt_files import PromptSource
from producer.prompt_format import TemplateMode
from producer.prompt_lines import AcceptedLine
from producer.rejects import RejectedLine
from producer.templates import template_prompts
from shared.errors import InputError


def prompts_of(source: PromptSource) -> list[tuple[int, str]]:
    return [
        (line.line_number, line.request.prompt)
        for line in source.lines
        if isinstance(line, AcceptedLine)
    ]


def test_a_product_takes_each_with_each_and_the_last_variable_goes_fastest(tmp_path: Path) -> None:
    animals = tmp_path / "animals"
    animals.write_text("dog\n\n  cat \r\n", "utf-8")
    source = template_prompts(
        "a {colour} {animal}, studio light", {"colour": "red, green", "animal": str(animals)}
    )

    assert source.name == "a-colour-animal-studio-light"
    assert source.expected == 4
    assert prompts_of(source) == [
        (1, "a red dog, studio light"),
        (2, "a red cat, studio light"),
        (3, "a green dog, studio light"),
        (4, "a green cat, studio light"),
    ]


def test_a_zip_takes_the_first_of_each_then_the_second(tmp_path: Path) -> None:
    source = template_prompts("{b}{a} {a}", {"a": "1,2", "b": "x,y"}, mode=TemplateMode.ZIP)

    assert source.expected == 2
    assert prompts_of(source) == [(1, "x1 1"), (2, "y2 2")]


def test_a_prompt_keeps_the_values_that_it_is_made_of() -> None:
    line = next(template_prompts("a {colour} dog", {"colour": "red,blue"}).lines)

    assert isinstance(line, AcceptedLine)
    assert line.request.metadata == {"colour": "red"}


def test_two_braces_are_one(tmp_path: Path) -> None:
    source = template_prompts("{{x}} {x}", {"x": "a,b"})

    assert prompts_of(source) == [(1, "{x} a"), (2, "{x} b")]


def test_values_are_never_taken_for_placeholders() -> None:
    source = template_prompts("{x}", {"x": "{x.__class__},{0}"})

    assert prompts_of(source) == [(1, "{x.__class__}"), (2, "{0}")]


def test_a_list_may_be_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "values.txt.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfa\nb"))

    assert prompts_of(template_prompts("{x}", {"x": str(path)})) == [(1, "a"), (2, "b")]


def test_a_prompt_that_comes_out_too_long_is_refused_alone() -> None:
    source = template_prompts("{x}{y}", {"x": "a," + "x" * 5_000, "y": "b," + "y" * 5_000})

    lines = list(source.lines)
    assert [line.line_number for line in lines if isinstance(line, RejectedLine)] == [4]
    assert len(lines) == 4


def test_ten_billion_prompts_are_not_made_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("\n".join(map(str, range(100_000))), "utf-8")
    source = template_prompts("{a} {b}", {"a": str(path), "b": str(path)})

    assert source.expected == 10**10
    last = list(islice(source.lines, 3))[-1]
    assert isinstance(last, AcceptedLine)
    assert last.request.prompt == "0 2"


@pytest.mark.parametrize(
    ("template", "variables", "said"),
    [
        ("a dog", {}, "the template has no placeholder"),
        ("a {colour} dog", {"animal": "a,b"}, "there are no values for {colour}"),
        (
            "a {x}",
            {"x": "a,b", "animal": "a,b"},
            "animal: the template has no placeholder {animal}",
        ),
        ("a {}", {"x": "a,b"}, "{} is no placeholder"),
        ("a {0}", {"0": "a,b"}, "{0} is no placeholder"),
        ("a {x.real}", {"x": "a,b"}, "{x.real} is no placeholder"),
        ("a {x[0]}", {"x": "a,b"}, "{x[0]} is no placeholder"),
        ("a {x!r}", {"x": "a,b"}, "{x!r} is no placeholder"),
        ("a {x:>999999999}", {"x": "a,b"}, "{x:>999999999} is no placeholder"),
        ("a {x", {"x": "a,b"}, "the template is wrong: expected '}' before end of string"),
        ("a x}", {"x": "a,b"}, "the template is wrong: single '}' encountered"),
        ("{seed}", {"seed": "1,2"}, "seed: is a field of every prompt"),
        ("{x}", {"x": "colours.txt"}, "x: there is no file colours.txt"),
        ("{x}", {"x": " , "}, "x:  ,  holds no value"),
        ("{x}", {"x": "a,b\0"}, "x: control character U+0000 at character 2"),
    ],
)
def test_a_template_that_does_not_fit_is_refused_with_what_is_wrong(
    template: str, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        template_prompts(template, variables)

    assert said in refused.value.message


def test_lists_to_be_zipped_are_of_one_length() -> None:
    with pytest.raises(InputError, match="differ in length: a has 2, b has 3"):
        template_prompts("{a}{b}", {"a": "1,2", "b": "1,2,3"}, mode=TemplateMode.ZIP)


def test_a_bad_value_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "values.txt"
    path.write_bytes(b"red\n\ncaf\xe9\n")

    with pytest.raises(InputError, match=r"values\.txt:3: is not UTF-8: byte 0xE9 at character 4"):
        template_prompts("{x}", {"x": str(path)})


def test_the_fingerprint_is_of_template_values_and_mode() -> None:
    def fingerprint(
        template: str = "{a}{b}", a: str = "1,2", mode: TemplateMode = TemplateMode.ZIP
    ) -> str:
        return template_prompts(template, {"a": a, "b": "3,4"}, mode=mode).fingerprint()

    assert fingerprint() == fingerprint()
    others = {
        fingerprint(),
        fingerprint("{b}{a}"),
        fingerprint(a="1,5"),
        fingerprint(mode=TemplateMode.PRODUCT),
    }
    assert len(others) == 4
