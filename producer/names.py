"""What pulled images are called."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

RENDERS = Path("renders")
MAX_SLUG_CHARACTERS = 48
DIGITS = 8
"""Enough for every batch: a name must not change while a batch is still being submitted."""


def sample_key(position: int) -> str:
    """Write a position so that keys sort by it: ``00000007``."""
    return f"{position:0{DIGITS}d}"


def image_name(position: int, prompt: str) -> str:
    """Name an image of a batch: ``00000007-a-red-apple.png``; names sort by position."""
    slug = slug_of(prompt)
    return f"{sample_key(position)}-{slug}.png" if slug else f"{sample_key(position)}.png"


def position_in(name: str) -> int | None:
    """Tell which image of a batch a file was named after; None if it was no image."""
    digits = name[:DIGITS]
    is_image = name.endswith(".png") and len(digits) == DIGITS and digits.isdecimal()
    return int(digits) if is_image and digits.isascii() else None


def default_folder(batch_name: str) -> Path:
    """Name a folder after a batch: ``renders/prompts`` for ``prompts.txt``."""
    return RENDERS / (slug_of(Path(batch_name).stem) or "render")


def slug_of(prompt: str) -> str:
    """Reduce a prompt to lower-case ASCII words joined by hyphens, whole ones if it can."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")
    if len(slug) <= MAX_SLUG_CHARACTERS:
        return slug
    whole_words, _, _ = slug[: MAX_SLUG_CHARACTERS + 1].rpartition("-")
    return whole_words or slug[:MAX_SLUG_CHARACTERS]
