"""A file by which a health check tells that a process still goes round, and does not hang."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from shared.clock import utc_now
from shared.files import atomic_file

NAME = "pods-alive-until"
LONGEST_ROUND = timedelta(minutes=5)


def note_alive(folder: Path, pause: timedelta) -> None:
    """Say until when there is no reason to worry.

    Args:
        folder: of this process's data.
        pause: until the next round begins.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / NAME) as file:
        file.write((utc_now() + pause + LONGEST_ROUND).isoformat().encode())


def is_alive(folder: Path) -> bool:
    """Tell whether a process with that folder has gone round lately."""
    try:
        return utc_now() < datetime.fromisoformat((folder / NAME).read_text("utf-8"))
    except FileNotFoundError:
        return False
