"""The formats of prompt files. Light, because the command line names them at start-up."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from shared.errors import InputError

OBJECT_SCHEME = "s3://"


class PromptFormat(StrEnum):
    """How a prompt file is written."""

    TEXT = "text"
    """A prompt a line."""
    JSONL = "jsonl"
    """A JSON object a line."""
    CSV = "csv"
    """A header with a column ``prompt``, then a prompt a row."""
    TSV = "tsv"
    """The same with tabs for commas; cells are quoted as in a CSV."""
    PARQUET = "parquet"
    """A table with a column ``prompt``."""
    OPENAI = "openai"
    """A request of OpenAI's batches a line."""


class Compression(StrEnum):
    """What a prompt file is packed with."""

    GZIP = "gzip"
    ZSTD = "zstd"


class TemplateMode(StrEnum):
    """Which values of several lists come together in a prompt."""

    PRODUCT = "product"
    """Each with each; the last list goes fastest."""
    ZIP = "zip"
    """The first of each, then the second of each."""


SUFFIXES = {
    ".txt": PromptFormat.TEXT,
    ".jsonl": PromptFormat.JSONL,
    ".ndjson": PromptFormat.JSONL,
    ".csv": PromptFormat.CSV,
    ".tsv": PromptFormat.TSV,
    ".parquet": PromptFormat.PARQUET,
}
PACKED_SUFFIXES = {
    ".gz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
}


def compression_of_name(name: str) -> Compression | None:
    """Tell what a file is packed with from its name; None for none of ours."""
    return PACKED_SUFFIXES.get(Path(name).suffix.lower())


def format_of_name(name: str) -> PromptFormat | None:
    """Tell the format from a file's name; None for a name without a suffix.

    ``.gz`` and ``.zst`` at the end of a name are no part of that suffix.

    Raises:
        InputError: the suffix is none of ours.
    """
    inner = Path(name).with_suffix("") if compression_of_name(name) else Path(name)
    suffix = inner.suffix.lower()
    if not suffix:
        return None
    try:
        return SUFFIXES[suffix]
    except KeyError:
        raise InputError(
            f"{name}: cannot tell the format from {suffix}",
            hint=f"Use {', '.join(SUFFIXES)}, also with .gz or .zst; or say --format.",
        ) from None


def is_prompt_file(source: str) -> bool:
    """Tell whether an argument means standard input or a file, rather than a prompt itself.

    What looks like a file's name means a file even if there is none, so that a slip of the
    keyboard is an error and not a picture.
    """
    if source == "-" or source.startswith(OBJECT_SCHEME):
        return True
    path = Path(source)
    is_one_word = not any(character.isspace() for character in source)
    looks_like_path = is_one_word and (bool(path.suffix) or "/" in source)
    if looks_like_path or path.suffix.lower() in {*SUFFIXES, *PACKED_SUFFIXES}:
        return True
    try:
        return path.exists()
    except OSError:  # too long for a name
        return False
