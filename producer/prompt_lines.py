"""The lines of a prompt file, before and after they are understood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from producer.rejects import RejectedLine
from shared.domain.prompts import PromptRequest

MAX_LINE_BYTES = 2**20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line of text with its ending. Bytes that are not UTF-8 are lone surrogates in it."""

    number: int
    text: str
    is_too_long: bool


@dataclass(frozen=True, slots=True)
class AcceptedLine:
    """One line that can be drawn."""

    line_number: int
    request: PromptRequest


PromptLine = AcceptedLine | RejectedLine


def raw_lines(file: IO[bytes]) -> Iterator[RawLine]:
    """Read a file line by line, from 1; of a line over 1 MiB only that much is kept."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        is_too_long = len(data) > MAX_LINE_BYTES
        if is_too_long:
            _skip_rest_of_line(file, data)
        if number == 1:
            data = data.removeprefix(BOM)
        yield RawLine(number, data.decode("utf-8", "surrogateescape"), is_too_long)


def _skip_rest_of_line(file: IO[bytes], data: bytes) -> None:
    while data and not data.endswith(b"\n"):
        data = file.readline(MAX_LINE_BYTES)


def unreadable_because(text: str, *, is_too_long: bool) -> str | None:
    """Say why a line cannot be read at all, or None."""
    if is_too_long:
        return f"is longer than {MAX_LINE_BYTES:,} bytes"
    for position, character in enumerate(text):
        if "\udc80" <= character <= "\udcff":
            return f"is not UTF-8: byte 0x{ord(character) - 0xDC00:02X} at character {position + 1}"
    return None
