"""A thousand faults among good lines are found, each where it is, and cost nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from producer.prompt_files import open_prompts
from producer.prompt_lines import MAX_LINE_BYTES, AcceptedLine
from producer.rejects import MAX_RAW_CHARACTERS
from shared.domain.prompts import MAX_SEED

FAULTS = 1_000
LONG_LINES = 3
GOOD_LINES_A_FAULT = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Bad bytes, and what has to be said of them; no reason for an odd line that is skipped."""

    raw: bytes
    field: str | None = None
    reason: str | None = None


def of_object(**fields: object) -> bytes:
    return json.dumps(fields).encode()


NUL = "control character U+0000 at character 2"
TOO_LONG = "must have at most 8192 characters"
TOO_SMALL = "must be greater than or equal to 8"
TOO_LARGE = f"must be less than or equal to {MAX_SEED}"
USED_BEFORE = "'first' is already the id of line "
BOM_INSIDE = "begins with a byte order mark"
LONG_LINE = Fault(b"x" * (MAX_LINE_BYTES + 1), None, "is longer than 1,048,576 bytes")

JSONL_FAULTS = {
    "bad JSON": Fault(b'{"prompt": "a"', None, "is not JSON: EOF"),
    "wrong type": Fault(of_object(prompt=[5]), "prompt", "must be a valid string"),
    "unknown encoding": Fault(b'{"prompt": "caf\xe9"}', None, "is not UTF-8: byte 0xE9"),
    "NUL": Fault(of_object(prompt="a\0b"), "prompt", NUL),
    "long prompt": Fault(of_object(prompt="x" * 8_193), "prompt", TOO_LONG),
    "negative size": Fault(of_object(prompt="a", width=-8), "width", TOO_SMALL),
    "seed overflow": Fault(of_object(prompt="a", seed=MAX_SEED + 1), "seed", TOO_LARGE),
    "missing field": Fault(of_object(text="a"), "prompt", "is missing"),
    "second id": Fault(of_object(prompt="a", custom_id="first"), "custom_id", USED_BEFORE),
    "blank line": Fault(b"  "),
    "BOM": Fault(b"\xef\xbb\xbf" + of_object(prompt="a"), None, BOM_INSIDE),
    "carriage return": Fault(b'{"prompt": "a\rb"}', None, "is not JSON: control character"),
}
CSV_FAULTS = {
    "open quote": Fault(b'"a', None, "cannot be split into cells: text follows a closing quote"),
    "wrong type": Fault(b"a,,many", "seed", "must be a valid integer"),
    "unknown encoding": Fault(b"caf\xe9", None, "is not UTF-8: byte 0xE9 at character 4"),
    "NUL": Fault(b"a\0b", "prompt", NUL),
    "long prompt": Fault(b"x" * 8_193, "prompt", TOO_LONG),
    "negative size": Fault(b"a,,,-8", "width", TOO_SMALL),
    "seed overflow": Fault(b"a,,%d" % (MAX_SEED + 1), "seed", TOO_LARGE),
    "missing field": Fault(b",,5", "prompt", "is missing"),
    "second id": Fault(b"a,first", "custom_id", USED_BEFORE),
    "blank line": Fault(b",,"),
    "BOM": Fault(b"\xef\xbb\xbfa", None, BOM_INSIDE),
    "carriage return": Fault(b"a\rb", None, "cannot be split into cells: a carriage return"),
    "too many cells": Fault(b"a,,1,8,8", None, "has 5 cells, the header has 4"),
    "line break": Fault(b'"a\nb"', "prompt", "control character U+000A at character 2"),
}
JSONL_BEGIN = b"\xef\xbb\xbf" + of_object(prompt="good 1", custom_id="first")
CSV_BEGIN = b'\xef\xbb\xbfprompt,custom_id,seed,width\n"good 2",first'


def good_object(number: int) -> bytes:
    return of_object(prompt=f"good {number}", custom_id=f"c{number}", note="\N{SNOWMAN}")


def good_row(number: int) -> bytes:
    return f'"good {number}",c{number},,64'.encode()


def plant(
    begin: bytes, faults: Mapping[str, Fault], good: Callable[[int], bytes]
) -> tuple[bytes, dict[int, Fault]]:
    """Write a file in which faults lie at random; returns it and where they are."""
    dice = random.Random(17)
    lines: list[Fault | None] = [None] * (FAULTS * GOOD_LINES_A_FAULT)
    lines += [*islice(cycle(faults.values()), FAULTS), *[LONG_LINE] * LONG_LINES]
    dice.shuffle(lines)
    content = [begin]
    planted = {}
    number = begin.count(b"\n") + 2
    for fault in [*lines, None]:
        if fault is not None:
            planted[number] = fault
        ending = b"\r" * dice.randrange(2)
        content.append(good(number) + ending if fault is None else fault.raw)
        number += content[-1].count(b"\n") + 1
    return b"\n".join(content), planted


@pytest.mark.parametrize(
    ("name", "begin", "faults", "good"),
    [
        ("p.jsonl", JSONL_BEGIN, JSONL_FAULTS, good_object),
        ("p.csv", CSV_BEGIN, CSV_FAULTS, good_row),
    ],
)
def test_exactly_the_planted_faults_are_refused(
    tmp_path: Path,
    name: str,
    begin: bytes,
    faults: Mapping[str, Fault],
    good: Callable[[int], bytes],
) -> None:
    content, planted = plant(begin, faults, good)
    (tmp_path / name).write_bytes(content)

    with open_prompts(str(tmp_path / name)) as source:
        lines = list(source.lines)

    accepted = [line for line in lines if isinstance(line, AcceptedLine)]
    assert len(accepted) == FAULTS * GOOD_LINES_A_FAULT + 2
    assert all(line.request.prompt == f"good {line.line_number}" for line in accepted)
    rejects = [line for line in lines if not isinstance(line, AcceptedLine)]
    expected = {number: fault for number, fault in planted.items() if fault.reason}
    assert [line.line_number for line in rejects] == list(expected)
    for reject, fault in zip(rejects, expected.values(), strict=True):
        assert reject.field == fault.field
        assert reject.reason.startswith(fault.reason or "")
        raw = fault.raw[:MAX_RAW_CHARACTERS].decode("utf-8", "backslashreplace")
        assert reject.raw == raw.replace("\\xe9", "\\udce9")
