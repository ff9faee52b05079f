"""Ids as OpenAI's API writes them: what it is, then 32 hexadecimal digits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

from producer.api.problems import ApiError, not_found

FILE = "file-"
BATCH = "batch_"
HEX = re.compile("[0-9a-f]{32}")
EXAMPLE_FILE = f"{FILE}0197f3a25c1e7bb09f6e1f2d3c4b5a69"
EXAMPLE_BATCH = f"{BATCH}0197f3a25c207d118a4b0a1b2c3d4e5f"
MAX_SHOWN = 64


def to_id(prefix: str, row_id: UUID) -> str:
    """Write an id."""
    return prefix + row_id.hex


def of_id(prefix: str, text: str) -> UUID:
    """Read an id.

    Raises:
        ApiError: it is none, and so there is nothing that has it: 404.
    """
    found = _parsed(prefix, text)
    if found is None:
        raise not_found(f"{prefix.rstrip('-_')} {text[:MAX_SHOWN]}")
    return found


def of_cursor(prefix: str, text: str | None) -> UUID | None:
    """Read where a page of a list begins.

    Raises:
        ApiError: it is no id: 400.
    """
    if text is None:
        return None
    found = _parsed(prefix, text)
    if found is None:
        raise ApiError(HTTPStatus.BAD_REQUEST, "after: is not an id of such a list", param="after")
    return found


def page(objects: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Make a page of a list.

    Args:
        objects: the page, and one more if there is one.
        limit: how many the page may have.
    """
    shown = objects[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(objects) > limit,
    }


def _parsed(prefix: str, text: str) -> UUID | None:
    digits = text.removeprefix(prefix)
    return UUID(digits) if digits != text and HEX.fullmatch(digits) else None
