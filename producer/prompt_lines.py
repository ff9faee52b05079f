"""The lines of a prompt file, before and after they are understood.

Lines travel in groups, because a call a line would cost more than the work on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from producer.rejects import RejectedLine
from shared.domain.prompts import PromptRequest

MAX_LINE_BYTES = 2**20
LINES_A_GROUP = 64
"""So few that their requests are gone before the garbage collector looks for them."""
BOM = b"\xef\xbb\xbf"
BOM_CHARACTER = "\ufeff"
NO_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class LineGroup:
    """Lines that follow each other, without their line feeds."""

    first_number: int
    lines: Sequence[bytes]
    is_too_long: bool = False
    """Then it is one line, of which only the first 1 MiB is here."""


class AcceptedLine(NamedTuple):
    """One line that can be drawn."""

    line_number: int
    request: PromptRequest
    raw: bytes | str | None = None
    """The line itself; None where the source does not consist of text."""

    def raw_text(self) -> str:
        """Return the line as text, or what it says as JSON."""
        if self.raw is None:
            return self.request.model_dump_json(exclude_unset=True)
        return as_text(self.raw) if isinstance(self.raw, bytes) else self.raw


PromptLine = AcceptedLine | RejectedLine


def line_groups(blocks: Iterator[bytes]) -> Iterator[LineGroup]:
    """Cut blocks of at most 1 MiB into lines, numbered from 1.

    A byte order mark before the first is left out.
    """
    number = 1
    for lines, is_too_long in _split(blocks):
        if number == 1:
            lines[0] = lines[0].removeprefix(BOM)
        for start in range(0, len(lines), LINES_A_GROUP):
            group = lines[start : start + LINES_A_GROUP]
            yield LineGroup(number, group, is_too_long)
            number += len(group)


def _split(blocks: Iterator[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    begun = b""
    for block in blocks:
        lines = (begun + block).split(b"\n")
        begun = lines.pop()[: MAX_LINE_BYTES + 1]
        if lines and len(lines[0]) > MAX_LINE_BYTES:
            yield [lines.pop(0)[:MAX_LINE_BYTES]], True
        if lines:
            yield lines, False
    if begun:
        yield [begun[:MAX_LINE_BYTES]], len(begun) > MAX_LINE_BYTES


def as_text(line: bytes) -> str:
    """Decode a line; bytes that are not UTF-8 become lone surrogates."""
    return line.decode("utf-8", "surrogateescape")


def unreadable_because(text: str, *, is_too_long: bool = False) -> str | None:
    """Say why a line cannot be read at all, or None."""
    if is_too_long:
        return f"is longer than {MAX_LINE_BYTES:,} bytes"
    if text.isascii():
        return None
    if text.startswith(BOM_CHARACTER):
        return "begins with a byte order mark, which only a file may"
    found = NO_UTF8.search(text)
    if found is None:
        return None
    byte = ord(found.group()) - 0xDC00
    return f"is not UTF-8: byte 0x{byte:02X} at character {found.start() + 1}"
