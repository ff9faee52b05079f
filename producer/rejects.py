"""Lines of a prompt file that cannot be drawn, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from pydantic import ValidationError

from shared.domain.prompts import control_character_in
from shared.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from shared.settings import Settings

MAX_SHOWN = 20
MAX_SHOWN_CHARACTERS = 2_000
MAX_RAW_CHARACTERS = 2**20


class FieldError(ValueError):
    """What a field of a line says cannot be."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """One line that was refused. ``field`` is None when the line itself cannot be read."""

    line_number: int
    field: str | None
    reason: str
    raw: str
    """The line itself, or what it says as JSON; cut after 1 MiB."""

    def describe(self, source: str) -> str:
        """Say it in a line: ``prompts.jsonl:17: seed: must be …``."""
        where = f"{source}:{self.line_number}"
        return f"{where}: {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def rejected(
    line_number: int, raw: str | Mapping[str, object], reason: str, field: str | None = None
) -> RejectedLine:
    """Make a reject; what is not text becomes escapes, and fields become JSON."""
    text = (
        raw.rstrip("\r\n")
        if isinstance(raw, str)
        else json.dumps(raw, ensure_ascii=False, default=str)
    )
    shown = text[:MAX_RAW_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")
    return RejectedLine(line_number, field, reason, shown)


def rejected_by(
    error: ValueError, line_number: int, raw: str | Mapping[str, object]
) -> RejectedLine:
    """Make a reject of the first thing that a check of the line found."""
    field, reason = first_reason(error)
    return rejected(line_number, raw, reason, field)


def first_reason(error: ValueError) -> tuple[str | None, str]:
    """Return the field, if it is known, and the reason, in plain words."""
    if isinstance(error, FieldError):
        return error.field, str(error)
    if not isinstance(error, ValidationError):
        return None, str(error)
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    if first["type"] == "string_pattern_mismatch":
        return field, control_character_in(first["input"]) or first["msg"]
    message = first["msg"]
    for said, plain in PLAIN_WORDS.items():
        message = message.replace(said, plain)
    return field, message


PLAIN_WORDS = {
    "Input should be": "must be",
    "String should have": "must have",
    "Value error, ": "",
    "Field required": "is missing",
}
"""Pydantic's phrases in the words of our errors."""


@dataclass(frozen=True, slots=True)
class Rejects:
    """What was refused of one prompt file."""

    source: str
    count: int
    first: Sequence[RejectedLine]
    """At most 20 of them, each line cut after 2,000 characters."""
    path: Path | None
    """A JSON object a line for each of them; None when there is none."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "count": self.count,
            "first": [line.to_json() for line in self.first],
            "file": str(self.path) if self.path else None,
        }


def rejects_path(settings: Settings, batch_id: UUID) -> Path:
    """Name the file that lists the refused lines of a batch."""
    return settings.data_dir / "rejects" / f"{batch_id}.jsonl"


class RejectLog:
    """Writes every reject to a file that is made with the first one; keeps a few in memory."""

    def __init__(self, source: str, path: Path) -> None:
        self._source = source
        self._path = path
        self._file: TextIO | None = None
        self._count = 0
        self._first: list[RejectedLine] = []

    def add(self, line: RejectedLine) -> None:
        """Record one.

        Raises:
            ServiceUnavailableError: the file cannot be written.
        """
        self._count += 1
        if len(self._first) < MAX_SHOWN:
            self._first.append(replace(line, raw=line.raw[:MAX_SHOWN_CHARACTERS]))
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8")
            self._file.write(json.dumps({"source": self._source, **line.to_json()}) + "\n")
        except OSError as error:
            raise ServiceUnavailableError(
                f"cannot write the rejects to {self._path}: {error.strerror}",
                hint="Set TENSTEP_DATA_DIR to a folder that you may write to.",
            ) from error

    def close(self) -> Rejects:
        """Finish the file and say what is in it."""
        if self._file is not None:
            self._file.close()
        path = self._path if self._count else None
        return Rejects(self._source, self._count, tuple(self._first), path)

    def discard(self) -> None:
        """Remove the file: what it belongs to did not happen."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
