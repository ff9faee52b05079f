"""What pulled images are called."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

RENDERS = Path("renders")
MAX_SLUG_CHARACTERS = 48
LEAST_DIGITS = 5


def image_name(position: int, total: int, prompt: str) -> str:
    """Name an image of a batch: ``00007-a-red-apple.png``; names sort by position."""
    digits = max(LEAST_DIGITS, len(str(total - 1)))
    slug = slug_of(prompt)
    return f"{position:0{digits}d}-{slug}.png" if slug else f"{position:0{digits}d}.png"


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
