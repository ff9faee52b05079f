"""The time of day, read in one place."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)
