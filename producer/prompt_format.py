"""The formats of prompt files. Light, because the command line names them at start-up."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from shared.errors import InputError


class PromptFormat(StrEnum):
    """How a prompt file is written."""

    TEXT = "text"
    """A prompt a line."""
    JSONL = "jsonl"
    """A JSON object a line."""
    CSV = "csv"
    """A header with a column ``prompt``, then a prompt a row."""


SUFFIXES = {
    ".txt": PromptFormat.TEXT,
    ".jsonl": PromptFormat.JSONL,
    ".ndjson": PromptFormat.JSONL,
    ".csv": PromptFormat.CSV,
}


def format_of_name(name: str) -> PromptFormat | None:
    """Tell the format from a file's name; None for a name without a suffix.

    Raises:
        InputError: the suffix is none of ours.
    """
    suffix = Path(name).suffix.lower()
    if not suffix:
        return None
    try:
        return SUFFIXES[suffix]
    except KeyError:
        raise InputError(
            f"{name}: cannot tell the format from {suffix}",
            hint=f"Use {', '.join(SUFFIXES)}, or say --format text, jsonl or csv.",
        ) from None


def is_prompt_file(source: str) -> bool:
    """Tell whether an argument means standard input or a file, rather than a prompt itself.

    What looks like a file's name means a file even if there is none, so that a slip of the
    keyboard is an error and not a picture.
    """
    path = Path(source)
    is_one_word = not any(character.isspace() for character in source)
    looks_like_path = is_one_word and (bool(path.suffix) or "/" in source)
    if source == "-" or looks_like_path or path.suffix.lower() in SUFFIXES:
        return True
    try:
        return path.exists()
    except OSError:  # too long for a name
        return False
