"""The time in a UUIDv7, for the database to read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

HEX_DIGITS = 12
"""Of the 48 bits that a UUIDv7 begins with."""


class MillisecondsOf(FunctionElement[int]):
    """When a UUIDv7 was made, in milliseconds since 1970; its argument is the column."""

    type = BigInteger()
    inherit_cache = True


@compiles(MillisecondsOf, "postgresql")
def _by_bits(element: MillisecondsOf, compiler: SQLCompiler, **options: Any) -> str:
    key = compiler.process(element.clauses, **options)
    # uuid_extract_timestamp is not in Postgres before 17.
    return f"('x' || left(replace(CAST({key} AS TEXT), '-', ''), {HEX_DIGITS}))::bit(48)::bigint"


@compiles(MillisecondsOf, "sqlite")
def _by_digits(element: MillisecondsOf, compiler: SQLCompiler, **options: Any) -> str:
    key = compiler.process(element.clauses, **options)
    digits = [
        f"(instr('0123456789abcdef', substr({key}, {place}, 1)) - 1)"
        for place in range(1, HEX_DIGITS + 1)
    ]
    shifted = [f"({digit} << {4 * (HEX_DIGITS - 1 - place)})" for place, digit in enumerate(digits)]
    return f"({' + '.join(shifted)})"
