"""Prompts that were pasted into a form: they are kept as a file, like all others."""

from __future__ import annotations

from collections.abc import Mapping

from producer.prompt_format import SUFFIXES, PromptFormat
from producer.uploads import FileView

STEM = "pasted"
COLUMN = "prompt"
NAMES: Mapping[PromptFormat, str] = {
    known: f"{STEM}{suffix}"
    for suffix, known in SUFFIXES.items()
    if known is not PromptFormat.PARQUET
}
DELIMITERS = {PromptFormat.CSV: ",", PromptFormat.TSV: "\t"}
MAX_FIRST_LINE_CHARACTERS = 4_096


def name_of(text: str) -> str:
    """Name the file that some text is kept as; its suffix tells how it is written."""
    first = text.lstrip()[:MAX_FIRST_LINE_CHARACTERS].partition("\n")[0]
    if first.startswith("{"):
        return NAMES[PromptFormat.JSONL]
    for known, delimiter in DELIMITERS.items():
        cells = [cell.strip().strip('"') for cell in first.split(delimiter)]
        if len(cells) > 1 and COLUMN in cells:
            return NAMES[known]
    return NAMES[PromptFormat.TEXT]


def is_pasted(file: FileView) -> bool:
    """Tell if a file was pasted."""
    return file.name in NAMES.values()


def key_of(sha256: str) -> str:
    """Return a file's idempotency key: the same text, previewed again, is one file."""
    return f"{STEM}:{sha256}"
