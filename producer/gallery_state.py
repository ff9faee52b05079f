"""Which jobs a gallery shows."""

from __future__ import annotations

from enum import StrEnum


class GalleryState(StrEnum):
    """A job's state, or any."""

    DONE = "done"
    FAILED = "failed"
    ALL = "all"
