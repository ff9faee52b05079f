"""Reads prompts from files of every format, line by line, in constant memory."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

from producer.names import slug_of
from producer.prompt_content import Content, opened_content, unpacked_content
from producer.prompt_csv import parse_table
from producer.prompt_format import PromptFormat, format_of_name
from producer.prompt_lines import AcceptedLine, LineGroup, PromptLine, as_text, line_groups
from producer.prompt_openai import parse_openai
from producer.prompt_parsers import parse_fields, parse_jsonl, parse_text
from producer.rejects import rejected
from producer.seen_ids import SeenIds
from shared.errors import InputError
from shared.settings import Settings

PARQUET_MAGIC = b"PAR1"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DELIMITERS = {PromptFormat.CSV: ",", PromptFormat.TSV: "\t"}

Groups = Iterator[Sequence[PromptLine]]


def _not_known() -> None:
    return None


def _like_no_other() -> str:
    return secrets.token_hex(32)


def _only_once() -> PromptSource:
    raise InputError("these prompts cannot be read twice")


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Prompts that are ready to be read."""

    name: str
    """What the user calls it: a path, ``stdin``, or a few words of the prompt."""
    lines: Iterator[PromptLine]
    """Each line once, in order."""
    expected: int | None = None
    """Lines that there are; None if only reading can tell."""
    progress: Callable[[], float | None] = field(default=_not_known)
    """Returns the share that has been read, from 0 to 1, or None."""
    fingerprint: Callable[[], str] = field(default=_like_no_other)
    """Returns a SHA-256, in hex, of the content as it lies there and of its format."""
    again: Callable[[], PromptSource] = field(default=_only_once)
    """Returns the same prompts from the first line on; then the lines here must not be used."""


@contextmanager
def open_prompts(
    source: str,
    *,
    prompt_format: PromptFormat | None = None,
    settings: Settings | None = None,
    model: str | None = None,
) -> Iterator[PromptSource]:
    """Open a prompt file and check all that needs no reading through.

    It may be packed with gzip or zstd. It can be opened, and read, any number of times; standard
    input only once, but what came of it can be read again while it is open.

    Args:
        source: a path, ``s3://bucket/key``, or ``-`` for standard input.
        prompt_format: how it is written; None tells by the name, or by how it begins where the
            name has no suffix.
        settings: where the object storage is; needed for ``s3://`` alone.
        model: lines that can name a model must name this one; None lets them name any.

    Raises:
        InputError: it is missing, a folder, empty, unreadable, broken, in UTF-16, of an unknown
            kind, or a table without a column ``prompt``.
        ServiceUnavailableError: the object storage does not answer.
    """
    chosen = prompt_format or (None if source == "-" else format_of_name(source))
    with (
        opened_content(source, settings) as content,
        prompts_in(content, chosen, model=model) as prompts,
    ):
        yield prompts


@contextmanager
def prompts_in(
    content: Content, prompt_format: PromptFormat | None, *, model: str | None = None
) -> Iterator[PromptSource]:
    """Read what is open already; None tells the format by how it begins.

    Args:
        content: what is open.
        prompt_format: how it is written.
        model: as in `open_prompts`.

    Raises:
        InputError: as `open_prompts` does, of the content.
    """
    known = prompt_format or sniffed_format(content)
    salt = f"tenstep prompts as {known}\n"
    if known is PromptFormat.PARQUET:
        with unpacked_content(content) as unpacked:
            yield _parquet_source(unpacked, lambda: content.sha256(salt))
    else:
        yield _line_source(content, known, model, lambda: content.sha256(salt))


def literal_prompt(prompt: str) -> PromptSource:
    """Make a source of one prompt that was given on the command line.

    Raises:
        InputError: it is blank.
    """
    text = prompt.strip()
    if not text:
        raise InputError("the prompt is empty")
    return source_of(
        slug_of(text) or "prompt",
        lambda: iter([[parse_fields(1, {"prompt": text}, text)]]),
        expected=1,
        fingerprint=lambda: fingerprint_of("a prompt", text),
    )


def source_of(
    name: str,
    groups: Callable[[], Groups],
    *,
    expected: int | None = None,
    progress: Callable[[], float | None] | None = None,
    fingerprint: Callable[[], str],
) -> PromptSource:
    """Make a source that can be read again.

    Args:
        name: what the user calls it.
        groups: begins to read, and returns parsed lines in groups.
        expected: lines that there are.
        progress: the share that has been read; None counts lines against ``expected``.
        fingerprint: hashes the content.

    Raises:
        InputError: it cannot be read.
    """
    count = _Count()
    return PromptSource(
        name,
        _checked(groups(), name, count),
        expected=expected,
        progress=progress or (lambda: count.lines / expected if expected else None),
        fingerprint=fingerprint,
        again=lambda: source_of(
            name, groups, expected=expected, progress=progress, fingerprint=fingerprint
        ),
    )


def fingerprint_of(*content: object) -> str:
    """Hash plain values: SHA-256, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _parquet_source(content: Content, fingerprint: Callable[[], str]) -> PromptSource:
    from producer.prompt_parquet import ParquetPrompts

    table = ParquetPrompts(content.file, content.name)
    return source_of(content.name, table.groups, expected=table.rows, fingerprint=fingerprint)


def _line_source(
    content: Content,
    prompt_format: PromptFormat,
    model: str | None,
    fingerprint: Callable[[], str],
) -> PromptSource:
    return source_of(
        content.name,
        lambda: _parsed(content, prompt_format, model),
        progress=content.share_read,
        fingerprint=fingerprint,
    )


def _parsed(content: Content, prompt_format: PromptFormat, model: str | None) -> Groups:
    groups = line_groups(content.blocks())
    first = next(groups, None)
    if first is None:
        raise InputError(f"{content.name}: holds no prompt")
    _refuse_utf16(first, content.name)
    groups = chain([first], groups)
    if prompt_format in DELIMITERS:
        return parse_table(groups, content.name, DELIMITERS[prompt_format])
    if prompt_format is PromptFormat.OPENAI:
        return parse_openai(groups, model)
    return parse_jsonl(groups) if prompt_format is PromptFormat.JSONL else parse_text(groups)


class _Count:
    """Of lines that were read."""

    lines = 0


def _checked(groups: Groups, name: str, count: _Count) -> Iterator[PromptLine]:
    """Refuse a file without a prompt, and every second use of a custom_id."""
    seen = SeenIds()
    try:
        for group in groups:
            yield from _with_ids_once(group, seen)
            count.lines += len(group)
    finally:
        seen.close()
    if not count.lines:
        raise InputError(f"{name}: holds no prompt")


def _with_ids_once(group: Sequence[PromptLine], seen: SeenIds) -> Sequence[PromptLine]:
    uses = [
        (line.line_number, used)
        for line in group
        if isinstance(line, AcceptedLine) and (used := line.request.custom_id) is not None
    ]
    second = seen.second_uses(uses)
    if not second:
        return group
    return [_refused_second_use(line, second.get(line.line_number)) for line in group]


def _refused_second_use(line: PromptLine, first: int | None) -> PromptLine:
    if first is None or not isinstance(line, AcceptedLine):
        return line
    reason = f"{line.request.custom_id!r} is already the id of line {first}"
    return rejected(line.line_number, line.raw_text(), reason, "custom_id")


def sniffed_format(content: Content) -> PromptFormat:
    """Tell how a file without a suffix is written by how it begins: Parquet, JSONL or text."""
    blocks = content.blocks()
    begin = next(blocks, b"")
    if begin.startswith(PARQUET_MAGIC):
        return PromptFormat.PARQUET
    lines = (line for group in line_groups(chain([begin], blocks)) for line in group.lines)
    first = next((line for line in lines if line.strip()), b"")
    is_object = as_text(first).lstrip().startswith("{")
    return PromptFormat.JSONL if is_object else PromptFormat.TEXT


def _refuse_utf16(first: LineGroup, name: str) -> None:
    if first.lines[0].startswith(UTF16_MARKS):
        raise InputError(f"{name}: is in UTF-16", hint="Save it as UTF-8.")
