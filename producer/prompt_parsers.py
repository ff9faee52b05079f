"""From lines to prompts, for each format of prompt file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from producer.prompt_lines import AcceptedLine, PromptLine, RawLine, unreadable_because
from producer.rejects import rejected, rejected_by
from shared.domain.prompts import PromptRequest
from shared.errors import InputError


def parse_text(lines: Iterator[RawLine]) -> Iterator[PromptLine]:
    """Read a prompt a line; blank lines are skipped."""
    for line in lines:
        text = line.text.strip()
        if text:
            reason = unreadable_because(line.text, is_too_long=line.is_too_long)
            yield (
                rejected(line.number, text, reason)
                if reason
                else _validated(line.number, text, {"prompt": text})
            )


def parse_jsonl(lines: Iterator[RawLine]) -> Iterator[PromptLine]:
    """Read a JSON object a line; blank lines are skipped."""
    for line in lines:
        text = line.text.strip()
        if text:
            yield _parse_object(line, text)


def _parse_object(line: RawLine, text: str) -> PromptLine:
    reason = unreadable_because(line.text, is_too_long=line.is_too_long)
    if reason:
        return rejected(line.number, text, reason)
    try:
        # NaN and infinity are no JSON, and Postgres would refuse them later.
        fields = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        where = str(error).replace("at line 1 column", "at character")
        return rejected(line.number, text, f"is not JSON: {where}")
    if not isinstance(fields, dict):
        return rejected(line.number, text, "must be a JSON object")
    return _validated(line.number, text, fields)


def parse_csv(lines: Iterator[RawLine]) -> Iterator[PromptLine]:
    """Read a CSV row by row; an empty cell is an absent field, a blank row is skipped.

    A row is numbered by its first line: quoted cells may hold line breaks.
    """
    feed = _CsvFeed(lines)
    reader = csv.reader(feed)
    header = [name.strip() for name in next(reader)]
    while True:
        feed.begin_row()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield rejected(feed.first_line, feed.raw, f"is not CSV: {error}")
            continue
        if any(cell.strip() for cell in row):
            yield _parse_row(feed, header, row)


def _parse_row(feed: _CsvFeed, header: Sequence[str], row: Sequence[str]) -> PromptLine:
    reason = unreadable_because(feed.raw, is_too_long=feed.is_too_long)
    if reason is None and len(row) > len(header):
        reason = f"has {len(row)} cells, the header has {len(header)}"
    if reason:
        return rejected(feed.first_line, feed.raw, reason)
    fields = {name: cell for name, cell in zip(header, row, strict=False) if name and cell.strip()}
    return _validated(feed.first_line, feed.raw, fields)


class _CsvFeed:
    """Hands lines to ``csv.reader`` and remembers those of the row in progress."""

    def __init__(self, lines: Iterator[RawLine]) -> None:
        self._lines = lines
        self._row: list[RawLine] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._row.append(line)
        return line.text

    def begin_row(self) -> None:
        self._row.clear()

    @property
    def first_line(self) -> int:
        return self._row[0].number

    @property
    def raw(self) -> str:
        return "".join(line.text for line in self._row).rstrip("\r\n")

    @property
    def is_too_long(self) -> bool:
        return any(line.is_too_long for line in self._row)


def check_csv_header(lines: Iterator[RawLine], name: str) -> None:
    """Look at the first row.

    Raises:
        InputError: it has no column ``prompt``, or a column twice; or there is no row.
    """
    try:
        header = [column.strip() for column in next(csv.reader(line.text for line in lines))]
    except StopIteration:
        raise InputError(f"{name}: holds no prompt") from None
    except csv.Error as error:
        raise InputError(f"{name}:1: is not CSV: {error}") from None
    if "prompt" not in header:
        found = ", ".join(column[:40] for column in header if column) or "none"
        raise InputError(
            f"{name}:1: no column named prompt (columns: {found[:200]})",
            hint="The first row of a CSV names the columns, separated by commas.",
        )
    twice = next((column for column in header if column and header.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name}:1: two columns are named {twice}")


def _validated(line_number: int, raw: str, fields: dict[str, Any]) -> PromptLine:
    try:
        return AcceptedLine(line_number, PromptRequest.model_validate(fields))
    except ValidationError as error:
        return rejected_by(error, line_number, raw)
