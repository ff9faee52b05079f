"""A table's rows are prompts as the lines of a file are."""

from __future__ import annotations

import io
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer.prompt_files import open_prompts
from producer.prompt_lines import AcceptedLine
from producer.rejects import RejectedLine
from shared.errors import InputError


def read(path: Path, columns: dict[str, Any]) -> tuple[list[AcceptedLine], list[RejectedLine]]:
    pq.write_table(pa.table(columns), path)
    with open_prompts(str(path)) as source:
        lines = list(source.lines)
    accepted = [line for line in lines if isinstance(line, AcceptedLine)]
    return accepted, [line for line in lines if isinstance(line, RejectedLine)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.parquet"


def test_a_row_is_a_prompt_and_null_is_an_absent_field(path: Path) -> None:
    accepted, rejects = read(
        path,
        {
            "prompt": ["a", "b"],
            "seed": pa.array([7, None], pa.uint32()),
            "guidance_scale": pa.array([None, 2.5], pa.float32()),
            "custom_id": ["x", None],
            "sku": [None, "s"],
        },
    )

    assert [line.line_number for line in accepted] == [1, 2]
    first, second = (line.request for line in accepted)
    assert (first.prompt, first.seed, first.custom_id, first.metadata) == ("a", 7, "x", {})
    assert (second.seed, second.guidance_scale, second.metadata) == (None, 2.5, {"sku": "s"})
    assert rejects == []


def test_bad_rows_among_good_ones_are_named_with_number_and_field(path: Path) -> None:
    accepted, rejects = read(
        path,
        {
            "prompt": ["a", None, "b\0", "c", "d", "e"],
            "seed": [1, 2, 3, -4, 5, 6],
            "custom_id": ["x", None, None, None, "x", None],
        },
    )

    assert [line.request.prompt for line in accepted] == ["a", "e"]
    assert [line.describe("p") for line in rejects] == [
        "p:2: prompt: is missing",
        "p:3: prompt: control character U+0000 at character 2",
        "p:4: seed: must be greater than or equal to 0",
        "p:5: custom_id: 'x' is already the id of line 1",
    ]
    assert rejects[2].raw == '{"prompt": "c", "seed": -4}'


def test_values_that_json_cannot_hold_become_text(path: Path) -> None:
    [line], _ = read(
        path,
        {
            "prompt": pa.array([b"a dog"]),
            "when": [datetime(2030, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)],
            "precise": pa.array([1], pa.timestamp("ns")),
            "day": [date(2030, 1, 2)],
            "took": [timedelta(seconds=90)],
            "price": [Decimal("1.50")],
            "kind": pa.array(["apple"]).dictionary_encode(),
            "nested": [{"tags": ["a", "b"], "when": date(2030, 1, 2), "price": Decimal("0.5")}],
        },
    )

    assert line.request.prompt == "a dog"
    assert line.request.metadata == {
        "when": "2030-01-02 03:04:05.006000Z",
        "precise": "1970-01-01 00:00:00.000000001",
        "day": "2030-01-02",
        "took": "PT1M30S",
        "price": "1.50",
        "kind": "apple",
        "nested": {"tags": ["a", "b"], "when": "2030-01-02", "price": "0.5"},
    }


def test_a_value_that_is_neither_json_nor_text_costs_its_row_alone(path: Path) -> None:
    accepted, rejects = read(
        path,
        {
            "prompt": pa.array([b"a", b"caf\xe9", b"c", b"d"]),
            "data": pa.array([None, None, b"\xff", None]),
            "score": [1.0, 1.0, 1.0, float("nan")],
        },
    )

    assert [line.request.prompt for line in accepted] == ["a"]
    assert [line.describe("p") for line in rejects] == [
        "p:2: prompt: is not UTF-8",
        "p:3: data: is not UTF-8",
        "p:4: score: must be a finite number",
    ]


def test_text_that_is_not_utf8_costs_its_row_alone(path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    [accepted], [reject] = read(path, {"prompt": broken})

    assert accepted.request.prompt == "a"
    assert reject.describe("p") == "p:2: prompt: is not UTF-8"


def test_a_row_over_a_mebibyte_is_refused_alone(path: Path) -> None:
    [accepted], [reject] = read(path, {"prompt": ["a", "b"], "note": ["x" * (2**20 + 1), "y"]})

    assert accepted.line_number == 2
    assert reject.reason == "is longer than 1,048,576 bytes"


def test_a_table_of_many_row_groups_is_read_in_order_with_its_progress(path: Path) -> None:
    table = pa.table({"prompt": [f"p {number}" for number in range(1, 3_001)]})
    pq.write_table(table, path, row_group_size=700)

    with open_prompts(str(path)) as source:
        assert source.expected == 3_000
        shares = []
        for number, line in enumerate(source.lines, 1):
            assert isinstance(line, AcceptedLine)
            assert (line.line_number, line.request.prompt) == (number, f"p {number}")
            shares.append(source.progress() or 0.0)
        assert shares == sorted(shares)
        assert shares[0] < 0.1
        assert source.progress() == 1
        assert [line.line_number for line in source.again().lines] == list(range(1, 3_001))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused, open_prompts(str(path)) as source:
        list(source.lines)
    return refused.value.message.replace(f"{path.parent}/", "")


def test_a_table_that_holds_no_prompts_is_refused(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "seed": [1]}), path)
    assert refusal(path) == "p.parquet: no column named prompt (columns: text, seed)"
    pq.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), path)
    assert refusal(path) == "p.parquet: two columns are named prompt"
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    assert refusal(path) == "p.parquet: holds no prompt"
    path.write_bytes(b"PAR1")
    assert refusal(path).startswith("p.parquet: is broken, or no Parquet: ")


def test_a_table_that_is_broken_half_way_is_one_error(path: Path) -> None:
    pq.write_table(pa.table({"prompt": [f"{n * 7919} a prompt" for n in range(50_000)]}), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = b"\xff" * 2_000
    path.write_bytes(content)

    assert refusal(path).startswith("p.parquet: is broken, or no Parquet: ")


@pytest.mark.parametrize("packed", [None, "gzip", "zstd"])
def test_a_table_may_come_through_a_pipe_and_be_packed(
    path: Path, monkeypatch: pytest.MonkeyPatch, packed: str | None
) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pa.output_stream(path, compression=packed) as file:
        pq.write_table(pa.table({"prompt": ["a", "b"]}), file)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(path.read_bytes())))

    with open_prompts("-") as source:
        lines = list(source.lines)
        assert list(source.again().lines) == lines
    assert [line.request.prompt for line in lines if isinstance(line, AcceptedLine)] == ["a", "b"]
