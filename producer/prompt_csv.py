"""From CSV and TSV to prompts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice

from producer.prompt_lines import (
    MAX_LINE_BYTES,
    LineGroup,
    PromptLine,
    as_text,
    unreadable_because,
)
from producer.prompt_parsers import parse_fields, reject_of_long_line
from producer.rejects import RejectedLine, rejected
from shared.errors import InputError

DELIMITER_NAMES = {",": "commas", "\t": "tabs"}
UNFINISHED = "unexpected end of data"
PLAIN_WORDS = {
    UNFINISHED: "a quote is never closed",
    "expected after": "text follows a closing quote",
    "new-line character": "a carriage return is inside it",
    "field limit": f"a cell is longer than {csv.field_size_limit():,} characters",
}
"""The phrases of Python's reader in the words of our errors."""

Row = tuple[int, str, list[str]]
"""Number of its first line, its lines, its cells."""


def parse_table(
    groups: Iterator[LineGroup], name: str, delimiter: str
) -> Iterator[list[PromptLine]]:
    """Read the header now, then row by row; an empty cell is an absent field.

    A row is numbered by its first line: quoted cells may hold line breaks. A quote that is
    never closed, or is followed by more text, costs the line that it is in and no other. Blank
    rows are skipped.

    Raises:
        InputError: there is no column ``prompt``, or a column twice; or there is no row.
    """
    rows = _rows(groups, delimiter)
    header, first = _header(rows, name, delimiter)
    return _parsed(rows, header, first)


def check_columns(columns: Sequence[str], where: str, hint: str | None = None) -> None:
    """Refuse a table without a column ``prompt`` or with a column twice.

    Raises:
        InputError: so it is.
    """
    if "prompt" not in columns:
        found = ", ".join(column[:40] for column in columns if column) or "none"
        raise InputError(f"{where}: no column named prompt (columns: {found[:200]})", hint=hint)
    twice = next((column for column in columns if column and columns.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{where}: two columns are named {twice}")


def _header(
    rows: Iterator[list[Row | RejectedLine]], name: str, delimiter: str
) -> tuple[list[str], list[Row | RejectedLine]]:
    """Return the columns, and what else was read with them."""
    for group in rows:
        for index, row in enumerate(group):
            if isinstance(row, RejectedLine):
                raise InputError(f"{name}:{row.line_number}: {row.reason}")
            number, raw, cells = row
            if any(cell.strip() for cell in cells):
                reason = unreadable_because(raw)
                if reason:
                    raise InputError(f"{name}:{number}: {reason}")
                columns = [cell.strip() for cell in cells]
                separators = DELIMITER_NAMES[delimiter]
                hint = f"The first row names the columns, separated by {separators}."
                check_columns(columns, f"{name}:{number}", hint)
                return columns, group[index + 1 :]
    raise InputError(f"{name}: holds no prompt")


def _parsed(
    rows: Iterator[list[Row | RejectedLine]],
    header: Sequence[str],
    first: list[Row | RejectedLine],
) -> Iterator[list[PromptLine]]:
    group: list[Row | RejectedLine] | None = first
    while group is not None:
        yield [
            parsed
            for row in group
            if (parsed := row if isinstance(row, RejectedLine) else _parse_row(row, header))
        ]
        group = next(rows, None)


def _parse_row(row: Row, header: Sequence[str]) -> PromptLine | None:
    number, raw, cells = row
    reason = unreadable_because(raw)
    if reason is None and len(cells) > len(header):
        reason = f"has {len(cells)} cells, the header has {len(header)}"
    fields: dict[str, object] = {
        name: cell for name, cell in zip(header, cells, strict=False) if name and cell.strip()
    }
    if not fields and not any(cell.strip() for cell in cells):
        return None
    return rejected(number, raw.strip(), reason) if reason else parse_fields(number, fields, raw)


def _rows(groups: Iterator[LineGroup], delimiter: str) -> Iterator[list[Row | RejectedLine]]:
    """Cut lines into rows; a row that a group does not finish waits for more."""
    lines: list[str] = []
    enough = 0
    next_number = 1
    for group in groups:
        next_number = group.first_number + len(group.lines)
        if group.is_too_long:
            rows = _cut(lines, group.first_number - len(lines), delimiter)
            yield [*rows, reject_of_long_line(group)]
            lines, enough = [], 0
            continue
        lines += [f"{as_text(line)}\n" for line in group.lines]
        if len(lines) >= enough:
            waiting: list[str] = []
            yield _cut(lines, next_number - len(lines), delimiter, waiting)
            # A row that is read again with every group would take the square of its lines.
            lines, enough = waiting, 2 * len(waiting)
    yield _cut(lines, next_number - len(lines), delimiter)


def _cut(
    lines: Sequence[str], first_number: int, delimiter: str, waiting: list[str] | None = None
) -> list[Row | RejectedLine]:
    """Cut lines into rows.

    Args:
        lines: what to cut.
        first_number: of the first of them.
        delimiter: between cells.
        waiting: takes the lines of a row that they do not finish; None when no more will come.
    """
    rows: list[Row | RejectedLine] = []
    start = 0
    while start < len(lines):
        begin = start
        reader = csv.reader(islice(lines, begin, None), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                end = begin + reader.line_num
                raw = lines[start] if end - start == 1 else "".join(lines[start:end])
                rows.append((first_number + start, raw, cells))
                start = end
        except csv.Error as error:
            if waiting is not None and begin + reader.line_num == len(lines):
                rest = lines[start:]
                if _is_unfinished(error) and sum(map(len, rest)) <= MAX_LINE_BYTES:
                    waiting.extend(rest)
                    return rows
            rows.append(_reject(first_number + start, lines[start], error))
            start += 1
    return rows


def _is_unfinished(error: csv.Error) -> bool:
    return str(error) == UNFINISHED


def _reject(number: int, line: str, error: csv.Error) -> RejectedLine:
    said = str(error)
    plain = next((words for begin, words in PLAIN_WORDS.items() if begin in said), said)
    reason = unreadable_because(line) or f"cannot be split into cells: {plain}"
    return rejected(number, line, reason)
