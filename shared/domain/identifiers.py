"""Keys that sort by the time they were made."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

MILLISECONDS_BEGIN_AT = 80
"""Which bit of a UUIDv7."""


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562, section 5.7)."""
    return uuid7()


def first_id_of(moment: datetime) -> UUID:
    """Return a key that sorts before all that are made from a moment on, to the millisecond."""
    return UUID(int=int(moment.timestamp() * 1000) << MILLISECONDS_BEGIN_AT)


def milliseconds_of(key: UUID) -> int:
    """Return when a UUIDv7 was made, in milliseconds since 1970."""
    return key.int >> MILLISECONDS_BEGIN_AT


NOBODY = UUID(int=0)
"""Stands in keys of sums for no batch, or no worker: a key cannot be null."""
