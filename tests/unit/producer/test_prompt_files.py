"""Prompt files are read line by line; what is wrong with one is said with its line number."""

from __future__ import annotations

import io
import sys
import tracemalloc
from pathlib import Path

import pytest

from producer.prompt_files import literal_prompt, open_prompts
from producer.prompt_format import PromptFormat, is_prompt_file
from producer.prompt_lines import MAX_LINE_BYTES, AcceptedLine
from producer.rejects import RejectedLine
from shared.errors import InputError


def read(
    folder: Path, name: str, content: str | bytes, prompt_format: PromptFormat | None = None
) -> tuple[list[AcceptedLine], list[RejectedLine]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_prompts(str(path), prompt_format=prompt_format) as source:
        lines = list(source.lines)
    accepted = [line for line in lines if isinstance(line, AcceptedLine)]
    return accepted, [line for line in lines if isinstance(line, RejectedLine)]


def prompts_of(lines: list[AcceptedLine]) -> list[tuple[int, str]]:
    return [(line.line_number, line.request.prompt) for line in lines]


def only_reject(folder: Path, name: str, content: str | bytes) -> str:
    _, [reject] = read(folder, name, content)
    return reject.describe(name)


def test_a_text_file_is_a_prompt_a_line_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    accepted, rejects = read(tmp_path, "p.txt", "a red apple\n\n  a dog face  \r\n \na rocket")

    assert prompts_of(accepted) == [(1, "a red apple"), (3, "a dog face"), (5, "a rocket")]
    assert rejects == []


def test_a_jsonl_file_keeps_fields_that_are_not_ours_as_metadata(tmp_path: Path) -> None:
    [line], _ = read(tmp_path, "p.jsonl", '{"prompt": "a", "seed": 7, "shop": {"sku": [1, "x"]}}')

    assert line.request.seed == 7
    assert line.request.metadata == {"shop": {"sku": [1, "x"]}}


def test_a_csv_takes_an_empty_cell_for_an_absent_field(tmp_path: Path) -> None:
    content = 'prompt,seed,steps,sku\n"a, b",7,,x1\nc,,20,\n'
    [first, second], _ = read(tmp_path, "p.csv", content)

    assert (first.request.prompt, first.request.seed, first.request.steps) == ("a, b", 7, None)
    assert first.request.metadata == {"sku": "x1"}
    assert (second.request.seed, second.request.steps) == (None, 20)
    assert second.request.metadata == {}


def test_a_csv_row_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    content = 'prompt,note\na,"two\nlines"\n\nb,"x",too much\nc,\n'
    accepted, [reject] = read(tmp_path, "p.csv", content)

    assert prompts_of(accepted) == [(2, "a"), (6, "c")]
    assert reject.describe("p.csv") == "p.csv:5: has 3 cells, the header has 2"


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, name: str) -> None:
    content = {"p.txt": "a", "p.jsonl": '{"prompt": "a"}', "p.csv": "prompt\na"}[name]
    [line], _ = read(tmp_path, name, b"\xef\xbb\xbf" + content.encode())

    assert line.request.prompt == "a"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "a"', "is not JSON: EOF while parsing an object at character 14"),
        ('["a"]', "must be a JSON object"),
        ('{"text": "a"}', "prompt: is missing"),
        ('{"prompt": "a", "seed": -1}', "seed: must be greater than or equal to 0"),
        ('{"prompt": "a", "seed": 4294967296}', "seed: must be less than or equal to 4294967295"),
        ('{"prompt": "a", "n": 0}', "n: must be greater than or equal to 1"),
        ('{"prompt": "a", "width": 65}', "width: must be a multiple of 8"),
        ('{"prompt": "a", "note": NaN}', "is not JSON: expected value at character 25"),
        ('{"prompt": "a\\u0000b"}', "prompt: control character U+0000 at character 2"),
        ('{"prompt": "a", "custom_id": "\\n"}', "custom_id: control character U+000A"),
        ('{"prompt": "a\\ud800"}', "is not JSON: "),
    ],
)
def test_a_bad_line_among_good_ones_is_named_with_its_field(
    tmp_path: Path, line: str, said: str
) -> None:
    content = f'{{"prompt": "a"}}\n\n{line}\n{{"prompt": "b"}}\n'
    accepted, [reject] = read(tmp_path, "p.jsonl", content)

    assert prompts_of(accepted) == [(1, "a"), (4, "b")]
    assert reject.describe("p.jsonl").startswith(f"p.jsonl:3: {said}")
    assert reject.raw == line


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_a_line_that_is_not_utf8_is_refused_alone(tmp_path: Path, name: str) -> None:
    lines = {
        "p.txt": [b"a", b"caf\xe9", b"b"],
        "p.jsonl": [b'{"prompt": "a"}', b'{"prompt": "caf\xe9"}', b'{"prompt": "b"}'],
        "p.csv": [b"prompt", b"caf\xe9", b"b"],
    }[name]
    accepted, [reject] = read(tmp_path, name, b"\n".join(lines))

    assert reject.line_number == 2
    assert "is not UTF-8: byte 0xE9" in reject.reason
    assert "\\udce9" in reject.raw
    assert accepted[-1].request.prompt == "b"


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_a_line_over_a_mebibyte_is_refused_and_the_next_one_read(tmp_path: Path, name: str) -> None:
    header = "prompt\n" if name == "p.csv" else ""
    good = '{"prompt": "b"}' if name == "p.jsonl" else "b"
    content = f"{header}{'x,' * MAX_LINE_BYTES}\n{good}\n"
    [accepted], [reject] = read(tmp_path, name, content)

    assert reject.reason == "is longer than 1,048,576 bytes"
    assert accepted.request.prompt == "b"
    assert accepted.line_number == reject.line_number + 1


def test_a_second_use_of_a_custom_id_names_the_first(tmp_path: Path) -> None:
    content = (
        '{"prompt": "a", "custom_id": "x"}\n{"prompt": "b"}\n{"prompt": "c", "custom_id": "x"}'
    )

    assert only_reject(tmp_path, "p.jsonl", content) == (
        "p.jsonl:3: custom_id: 'x' is already the id of line 1"
    )


def refusal(folder: Path, name: str, content: bytes | None = None) -> str:
    path = folder / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as refused, open_prompts(str(path)) as source:
        list(source.lines)
    assert refused.value.exit_code == 2
    return refused.value.message.replace(f"{folder}/", "")


def test_a_file_that_cannot_be_read_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()

    assert refusal(tmp_path, "missing.txt") == "missing.txt: no such file"
    assert refusal(tmp_path, "folder.txt") == "folder.txt: is a folder, not a prompt file"
    assert refusal(tmp_path, "p.pdf", b"%PDF") == "p.pdf: cannot tell the format from .pdf"
    assert refusal(tmp_path, "p.txt", "a".encode("utf-16")) == "p.txt: is in UTF-16"


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.txt", b""), ("p.txt", b"\n \n"), ("p.jsonl", b""), ("p.csv", b""), ("p.csv", b"prompt\n")],
)
def test_a_file_without_a_prompt_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    assert refusal(tmp_path, name, content) == f"{name}: holds no prompt"


def test_a_csv_without_a_prompt_column_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    assert refusal(tmp_path, "p.csv", b"text,seed\na,1\n") == (
        "p.csv:1: no column named prompt (columns: text, seed)"
    )
    assert (
        refusal(tmp_path, "p.csv", b"prompt,seed,seed\n") == "p.csv:1: two columns are named seed"
    )


@pytest.mark.parametrize(
    ("piped", "expected"), [(b'\n{"prompt": "a"}\n', (2, "a")), (b"a dog\n", (1, "a dog"))]
)
def test_standard_input_tells_its_format_by_its_first_line(
    monkeypatch: pytest.MonkeyPatch, piped: bytes, expected: tuple[int, str]
) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(piped)))
    with open_prompts("-") as source:
        [line] = source.lines

    assert isinstance(line, AcceptedLine)
    assert (line.line_number, line.request.prompt) == expected
    assert source.name == "stdin"


def test_a_named_format_goes_before_the_name_of_the_file(tmp_path: Path) -> None:
    [line], _ = read(tmp_path, "p.txt", '{"prompt": "a"}', PromptFormat.JSONL)

    assert line.request.prompt == "a"


def peak_bytes(path: Path, lines: int) -> int:
    line = '{{"prompt": "a red apple", "note": "{}"}}\n'
    path.write_text("".join(line.format(f"{number:040}") for number in range(lines)), "utf-8")
    tracemalloc.start()
    try:
        with open_prompts(str(path)) as source:
            assert sum(1 for _ in source.lines) == lines
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"

    peak = peak_bytes(path, lines=100_000)

    assert peak < path.stat().st_size / 3


@pytest.mark.parametrize("argument", ["-", "p.txt", "none/such", "my prompts.csv", "typo.jsnl"])
def test_what_looks_like_a_file_is_meant_as_one(argument: str) -> None:
    assert is_prompt_file(argument)


@pytest.mark.parametrize("argument", ["a red apple", "apple", "a cat/dog hybrid", "x" * 5_000])
def test_words_are_a_prompt(argument: str) -> None:
    assert not is_prompt_file(argument)


def test_a_prompt_on_the_command_line_names_its_batch_by_its_words() -> None:
    source = literal_prompt("A cat/dog hybrid, v1.5")
    [line] = source.lines

    assert source.name == "a-cat-dog-hybrid-v1-5"
    assert isinstance(line, AcceptedLine)
    assert line.request.prompt == "A cat/dog hybrid, v1.5"


def test_a_blank_prompt_on_the_command_line_is_refused() -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        literal_prompt("  ")
