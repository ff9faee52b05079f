"""What streams are made of: references to pictures with their captions, and what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: Longest JSON document that is read for a caption, in bytes.
MAX_DOCUMENT_BYTES = 1024**2
#: In a JSON document, the first that is there.
CAPTION_FIELDS = ("text", "caption")
#: What to do about bad examples.
CHECK = "`python -m training.data check SOURCE` says what is wrong with them"
_MOST_BYTES_A_CHARACTER = 4


@dataclass(frozen=True)
class Limits:
    """What an example may not exceed."""

    pixels: int = 64 * 1024**2
    image_bytes: int = 64 * 1024**2
    #: Longer captions are cut.
    caption_characters: int = 2000


class FlawError(Exception):
    """An example cannot be used: which part of it, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def at(self, source: str, example: str) -> Flaw:
        """Return it with the place where it is."""
        return Flaw(source, example, self.field, self.reason)


@dataclass(frozen=True)
class Flaw:
    """A bad example: in which shard or list, its key or line, the part of it, and why."""

    source: str
    example: str
    field: str
    reason: str

    def __str__(self) -> str:
        """Show it in one line, whatever names others gave their files."""
        text = f"{self.source}: {self.example}: {self.field}: {self.reason}"
        return text if text.isprintable() else ascii(text)[1:-1]


@dataclass(frozen=True, slots=True)
class Entry:
    """An example whose picture was not read yet."""

    source: str
    example: str
    #: The part of the example that is the picture.
    field: str
    caption: str
    path: Path
    #: Where the picture lies in the file, in bytes; no size is the whole file.
    offset: int = 0
    size: int | None = None
    #: Folder that the file must lie in, links followed.
    root: Path | None = None

    def read(self, limits: Limits) -> bytes:
        """Return the picture's file.

        Raises:
            FlawError: it is missing, too large, or lies outside the folder.
        """
        try:
            path = self._resolved()
            size = path.stat().st_size if self.size is None else self.size
            refuse_large(self.field, size, limits)
            with path.open("rb") as file:
                file.seek(self.offset)
                return file.read(size)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FlawError(self.field, f"cannot be read: {reason}") from None

    def _resolved(self) -> Path:
        if self.root is None:
            return self.path
        path = Path(os.path.realpath(self.path))
        if not path.is_relative_to(self.root):
            raise FlawError(self.field, "a link leads out of the folder")
        if not path.is_file():
            raise FlawError(self.field, "there is no such file")
        return path


class Shard(Protocol):
    """A part of a source that is read from its start to its end."""

    @property
    def name(self) -> str:
        """Where it lies."""

    def entries(self) -> Iterator[Entry | Flaw]:
        """Yield every example in a fixed order, without reading pictures."""


def refuse_large(field: str, size: int, limits: Limits) -> None:
    """Raise FlawError if a picture's file has too many bytes."""
    if size > limits.image_bytes:
        raise FlawError(field, f"too large: {size} bytes of at most {limits.image_bytes}")


def caption_bytes(limits: Limits) -> int:
    """Return how much of a text file may be needed for a caption."""
    return _MOST_BYTES_A_CHARACTER * limits.caption_characters


def clean_caption(text: object, field: str, limits: Limits) -> str:
    """Return a caption on one line, cut where it is too long.

    Raises:
        FlawError: it is no text, has nothing to read or cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise FlawError(field, "is not a text")
    text = " ".join(text.split())[: limits.caption_characters].rstrip()
    if not text:
        raise FlawError(field, "missing caption")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FlawError(field, "is not Unicode") from None
    return text


def json_object(raw: bytes, field: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        FlawError: it is something else, or too long.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise FlawError(field, f"too large: more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise FlawError(field, "is no JSON document") from None
    if not isinstance(document, dict):
        raise FlawError(field, "is no JSON object")
    return document


def caption_of(document: dict[str, Any], limits: Limits) -> str:
    """Return the caption of a JSON object.

    Raises:
        FlawError: it has none.
    """
    for field in CAPTION_FIELDS:
        if document.get(field) is not None:
            return clean_caption(document[field], field, limits)
    raise FlawError(CAPTION_FIELDS[0], "missing caption")
