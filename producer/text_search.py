"""Words in a text, whatever their case, on both databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute

GLOB_WILDCARDS = "*?["


def contains(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    words: str,
    *,
    dialect: str,
) -> ColumnElement[bool]:
    """Build the condition that a column contains these words as they stand, in any case.

    Args:
        column: what is searched.
        words: no character of them has a meaning of its own.
        dialect: the database's.
    """
    if words.isascii():
        return column.icontains(words, autoescape=True)
    # SQLite folds only ASCII, and Postgres only what its locale knows.
    if dialect == "postgresql":
        return column.regexp_match("".join(_any_case(one, re.escape(one)) for one in words))
    pattern = "".join(_any_case(one, f"[{one}]" if one in GLOB_WILDCARDS else one) for one in words)
    return column.bool_op("GLOB")(f"*{pattern}*")


def _any_case(character: str, itself: str) -> str:
    """Write a class of the cases of a letter; what has no case, as ``itself``."""
    cases = {character, *filter(_is_one, (character.lower(), character.upper()))}
    return itself if len(cases) == 1 else f"[{''.join(sorted(cases))}]"


def _is_one(text: str) -> bool:
    """Tell whether it is one character: the upper case of ß is two."""
    return len(text) == 1


def is_storable(text: str) -> bool:
    """Tell whether a database can hold a text: it is Unicode and has no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
