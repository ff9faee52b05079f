"""Reads prompts from text, JSONL and CSV, line by line, in constant memory."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from producer.names import slug_of
from producer.prompt_format import PromptFormat, format_of_name
from producer.prompt_lines import AcceptedLine, PromptLine, RawLine, raw_lines
from producer.prompt_parsers import check_csv_header, parse_csv, parse_jsonl, parse_text
from producer.rejects import rejected
from producer.seen_ids import SeenIds
from shared.domain.prompts import PromptRequest
from shared.errors import InputError

STDIN = "stdin"
SPOOL_BYTES = 8 * 2**20

Parser = Callable[[Iterator[RawLine]], Iterator[PromptLine]]

PARSERS: dict[PromptFormat, Parser] = {
    PromptFormat.TEXT: parse_text,
    PromptFormat.JSONL: parse_jsonl,
    PromptFormat.CSV: parse_csv,
}


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Prompts that are ready to be read, once."""

    name: str
    """What the user calls it: a path, ``stdin``, or a few words of the prompt."""
    lines: Iterator[PromptLine]


@contextmanager
def open_prompts(
    source: str, *, prompt_format: PromptFormat | None = None
) -> Iterator[PromptSource]:
    """Open a file, or standard input for ``-``, and check all that needs no reading through.

    Args:
        source: a path or ``-``.
        prompt_format: how it is written; None tells by the name, or by its first line where the
            name has no suffix.

    Raises:
        InputError: it is missing, a folder, empty, unreadable, in UTF-16, of an unknown
            kind, or a CSV without a column ``prompt``.
    """
    if source == "-":
        with _seekable(sys.stdin.buffer) as file:
            yield _prompts(file, STDIN, prompt_format)
        return
    chosen = prompt_format or format_of_name(source)
    with _opened(source) as opened, _seekable(opened) as file:
        yield _prompts(file, source, chosen)


def literal_prompt(prompt: str) -> PromptSource:
    """Make a source of one prompt that was given on the command line.

    Raises:
        InputError: it is blank.
    """
    if not prompt.strip():
        raise InputError("the prompt is empty")
    return PromptSource(
        slug_of(prompt) or "prompt", parse_text(iter([RawLine(1, prompt, is_too_long=False)]))
    )


def _prompts(file: IO[bytes], name: str, chosen: PromptFormat | None) -> PromptSource:
    try:
        parser = PARSERS[chosen or _sniff(file)]
        _refuse_utf16(file, name)
        if parser is parse_csv:
            check_csv_header(raw_lines(file), name)
            file.seek(0)
        return PromptSource(name, _checked(parser(raw_lines(file)), name))
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error


def _checked(lines: Iterator[PromptLine], name: str) -> Iterator[PromptLine]:
    """Refuse a file without a prompt, and every second use of a custom_id."""
    seen = SeenIds()
    is_empty = True
    try:
        for line in lines:
            is_empty = False
            yield _refuse_second_use(line, seen) if isinstance(line, AcceptedLine) else line
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    finally:
        seen.close()
    if is_empty:
        raise InputError(f"{name}: holds no prompt")


def _refuse_second_use(line: AcceptedLine, seen: SeenIds) -> PromptLine:
    custom_id = line.request.custom_id
    if custom_id is None:
        return line
    first = seen.first_line(custom_id, line.line_number)
    if first is None:
        return line
    reason = f"{custom_id!r} is already the id of line {first}"
    return rejected(line.line_number, _as_json(line.request), reason, "custom_id")


def _as_json(request: PromptRequest) -> str:
    return request.model_dump_json(exclude_unset=True)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; its errors are others'
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a prompt file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    with file:
        yield file


@contextmanager
def _seekable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copy a pipe to disk first: a slow writer must not hold the database's write lock."""
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        shutil.copyfileobj(file, spool)
        spool.seek(0)
        yield spool


def _sniff(file: IO[bytes]) -> PromptFormat:
    first = next((line.text for line in raw_lines(file) if line.text.strip()), "")
    file.seek(0)
    return PromptFormat.JSONL if first.lstrip().startswith("{") else PromptFormat.TEXT


def _refuse_utf16(file: IO[bytes], name: str) -> None:
    begin = file.read(2)
    file.seek(0)
    if begin in {b"\xff\xfe", b"\xfe\xff"}:
        raise InputError(f"{name}: is in UTF-16", hint="Save it as UTF-8.")
