"""A source may be packed, piped and read twice; it knows how far it is and what it holds."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from producer.prompt_files import PromptSource, literal_prompt, open_prompts
from producer.prompt_format import PromptFormat
from producer.prompt_lines import AcceptedLine
from shared.errors import InputError

JSONL = b'{"prompt": "a", "custom_id": "x"}\n{"prompt": "b", "custom_id": "y"}\n'


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


PACKERS = {".gz": gzip.compress, ".zst": zstd}


def prompts_of(source: PromptSource) -> list[str]:
    return [line.request.prompt for line in source.lines if isinstance(line, AcceptedLine)]


def read(path: Path, content: bytes, prompt_format: PromptFormat | None = None) -> list[str]:
    path.write_bytes(content)
    with open_prompts(str(path), prompt_format=prompt_format) as source:
        return prompts_of(source)


def refusal(path: Path, content: bytes) -> str:
    with pytest.raises(InputError) as refused:
        read(path, content)
    return refused.value.message.replace(f"{path.parent}/", "")


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.fixture
def pipe_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(content)))


# Packed


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b"a\nb\n"),
        ("p.jsonl", JSONL),
        ("p.csv", b"prompt\na\nb"),
        ("p.tsv", b"prompt\tseed\na\t1\nb\t2"),
    ],
)
def test_every_format_of_lines_may_be_packed(
    tmp_path: Path, suffix: str, name: str, content: bytes
) -> None:
    assert read(tmp_path / f"{name}{suffix}", PACKERS[suffix](content)) == ["a", "b"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_packed_is_known_by_its_bytes_where_the_name_does_not_tell(
    tmp_path: Path, pipe_in: Callable[[bytes], None], suffix: str
) -> None:
    packed = PACKERS[suffix](JSONL)
    assert read(tmp_path / "prompts", packed) == ["a", "b"]
    assert read(tmp_path / "prompts.jsonl", packed) == ["a", "b"]

    pipe_in(packed)
    with open_prompts("-") as source:
        assert prompts_of(source) == ["a", "b"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_files_packed_one_after_the_other_are_one_file(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]

    assert read(tmp_path / f"p.txt{suffix}", pack(b"a\n") + pack(b"b\n")) == ["a", "b"]


@pytest.mark.parametrize(("suffix", "named"), [(".gz", "gzip"), (".zst", "zstd")])
def test_a_broken_packed_file_is_one_error_that_names_it(
    tmp_path: Path, suffix: str, named: str
) -> None:
    path = tmp_path / f"p.txt{suffix}"
    packed = PACKERS[suffix](b"".join(b"prompt %d\n" % (n * 7919) for n in range(50_000)))
    broken = f"{path.name}: is broken {named}, or cut short"

    assert refusal(path, packed[: len(packed) // 2]) == broken
    assert refusal(path, packed[:-1]) == broken
    assert refusal(path, packed + b"more") == broken
    assert refusal(path, b"a dog\n") == f"{path.name}: is not packed with {named}"


def test_a_line_that_unpacks_to_gigabytes_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"a\n")
        for _ in range(64):
            file.write(b"x" * 2**20)
        file.write(b"\nb\n")

    with open_prompts(str(path)) as source:
        first, bomb, last = source.lines

    assert (first.line_number, bomb.line_number, last.line_number) == (1, 2, 3)
    assert not isinstance(bomb, AcceptedLine)
    assert bomb.reason == "is longer than 1,048,576 bytes"


# CSV and TSV


def test_cells_of_a_tsv_are_split_by_tabs_and_quoted_as_in_a_csv(tmp_path: Path) -> None:
    content = b'prompt\tnote\na, b\tx\n"say ""hi"""\ty\n"two\nlines"\tz\n'

    assert read(tmp_path / "p.tsv", content) == ["a, b", 'say "hi"']


@pytest.mark.parametrize(
    "after", [b"b\nc\n", b'b\n"c"\n', b'b,"note"\nc\n', b"b\n" + b"c\n" * 100_000]
)
def test_a_quote_that_is_never_closed_costs_its_own_line_alone(
    tmp_path: Path, after: bytes
) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'prompt,note\n"a\n' + after)

    with open_prompts(str(path)) as source:
        rejects = []
        numbers = []
        for line in source.lines:
            (numbers if isinstance(line, AcceptedLine) else rejects).append(line.line_number)

    assert rejects == [2]
    assert numbers == list(range(3, 3 + after.count(b"\n")))


def test_a_quoted_cell_may_be_longer_than_a_block_of_reading(tmp_path: Path) -> None:
    note = "a line of a note\n" * 6_000
    path = tmp_path / "p.csv"
    path.write_text(f'prompt,note\n"a","{note}"\nb,\n', "utf-8")

    with open_prompts(str(path)) as source:
        first, second = source.lines

    assert isinstance(first, AcceptedLine)
    assert first.request.metadata == {"note": note}
    assert second.line_number == 6_003


def test_blank_lines_before_the_header_of_a_csv_are_skipped(tmp_path: Path) -> None:
    assert read(tmp_path / "p.csv", b"\n\r\nprompt\na\n") == ["a"]
    assert refusal(tmp_path / "p.csv", b'"prompt\n').startswith("p.csv:1: cannot be split")
    assert refusal(tmp_path / "p.csv", b"caf\xe9,prompt\n").startswith("p.csv:1: is not UTF-8")


# Read twice, progress, fingerprint


def test_what_came_through_a_pipe_can_be_read_again(pipe_in: Callable[[bytes], None]) -> None:
    pipe_in(JSONL)

    with open_prompts("-") as source:
        first = [next(source.lines)]
        lines = list(source.again().lines)
        assert list(source.again().lines) == lines
    assert lines[:1] == first
    assert len(lines) == 2


def test_a_literal_prompt_can_be_read_again() -> None:
    source = literal_prompt("a dog")

    assert source.expected == 1
    assert prompts_of(source) == prompts_of(source.again()) == ["a dog"]


@pytest.mark.parametrize("suffix", ["", *PACKERS])
def test_progress_is_the_share_of_the_file_that_was_read(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b"prompt %d\n" % (n * 7919 * 7919) for n in range(50_000))
    path = tmp_path / f"p.txt{suffix}"
    path.write_bytes(PACKERS[suffix](content) if suffix else content)

    with open_prompts(str(path)) as source:
        assert source.expected is None
        shares = [source.progress() for _ in source.lines]

    assert None not in shares
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert known[0] < 0.5
    assert known[-1] == 1


def test_a_fingerprint_is_of_the_bytes_and_the_format(tmp_path: Path) -> None:
    def fingerprint(name: str, content: bytes, prompt_format: PromptFormat | None = None) -> str:
        (tmp_path / name).write_bytes(content)
        with open_prompts(str(tmp_path / name), prompt_format=prompt_format) as source:
            return source.fingerprint()

    same = fingerprint("p.jsonl", JSONL)
    assert len(same) == 64
    assert fingerprint("other.jsonl", JSONL) == same
    assert fingerprint("p.txt", JSONL, PromptFormat.JSONL) == same
    others = {
        fingerprint("p.txt", JSONL),
        fingerprint("p.jsonl.gz", gzip.compress(JSONL)),
        fingerprint("p.jsonl", JSONL + b"\n"),
        literal_prompt("a dog").fingerprint(),
        literal_prompt("a cat").fingerprint(),
    }
    assert len(others - {same}) == 5


@pytest.mark.parametrize("suffix", ["", *PACKERS])
def test_taking_the_fingerprint_does_not_disturb_the_reading(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b"prompt %d\n" % (n * 7919 * 7919) for n in range(50_000))
    path = tmp_path / f"p.txt{suffix}"
    path.write_bytes(PACKERS[suffix](content) if suffix else content)

    with open_prompts(str(path)) as source:
        before = source.fingerprint()
        numbers = [next(source.lines).line_number for _ in range(100)]
        assert source.fingerprint() == before
        numbers += [line.line_number for line in source.lines]

    assert numbers == list(range(1, 50_001))


def test_a_source_made_of_lines_alone_is_equal_to_no_other_and_is_read_once() -> None:
    source = PromptSource("p", iter([]))

    assert source.progress() is None
    assert source.fingerprint() != PromptSource("p", iter([])).fingerprint()
    with pytest.raises(InputError, match="cannot be read twice"):
        source.again()
