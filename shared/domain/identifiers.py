"""Keys that sort by the time they were made."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562, section 5.7)."""
    return uuid7()


NOBODY = UUID(int=0)
"""Stands in keys of sums for no batch, or no worker: a key cannot be null."""
