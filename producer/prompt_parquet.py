"""From Parquet to prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_jsonable_python

from producer.prompt_csv import check_columns
from producer.prompt_lines import LINES_A_GROUP, MAX_LINE_BYTES, PromptLine
from producer.prompt_parsers import parse_fields
from producer.rejects import rejected
from shared.errors import InputError

ROWS_A_GROUP = 512
BUFFER_BYTES = 2**20
"""Of each column; without it a whole column of a row group is read at once."""
PYTHON_ERRORS = (ValueError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A value that is neither JSON nor becomes text."""

    reason: str


class ParquetPrompts:
    """A table of prompts that is read in groups of rows."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Look at the columns.

        Raises:
            InputError: it is no Parquet, has no column ``prompt``, a column twice, or no row.
        """
        self._name = name
        try:
            self._file = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
            self._columns = self._file.schema_arrow.names
            self.rows = self._file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error
        check_columns(self._columns, name)
        if not self.rows:
            raise InputError(f"{name}: holds no prompt")

    def groups(self) -> Iterator[list[PromptLine]]:
        """Read row by row, numbered from 1; null is an absent field.

        Times, decimals and bytes become text.

        Raises:
            InputError: it is broken.
        """
        number = 1
        batches = self._file.iter_batches(batch_size=ROWS_A_GROUP, use_threads=False)
        while (batch := self._next(batches)) is not None:
            columns = [_values(column) for column in batch.columns]
            is_big = batch.nbytes > MAX_LINE_BYTES
            rows = enumerate(zip(*columns, strict=True), number)
            while group := list(islice(rows, LINES_A_GROUP)):
                yield [
                    _parse_row(row_number, zip(self._columns, row, strict=True), is_big=is_big)
                    for row_number, row in group
                ]
            number += batch.num_rows

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        try:
            return next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> InputError:
        reason = str(error).split("\n", maxsplit=1)[0]
        return InputError(f"{self._name}: is broken, or no Parquet: {reason}")


def _parse_row(number: int, row: Iterable[tuple[str, Any]], *, is_big: bool) -> PromptLine:
    fields: dict[str, object] = {}
    unreadable: tuple[str, _Unreadable] | None = None
    for name, value in row:
        if isinstance(value, _Unreadable):
            unreadable = name, value
        elif name and value is not None:
            fields[name] = value
    if unreadable:
        name, value = unreadable
        return rejected(number, fields, value.reason, name)
    if is_big and _is_too_long(fields):
        return rejected(number, fields, f"is longer than {MAX_LINE_BYTES:,} bytes")
    return parse_fields(number, fields, None)


def _is_too_long(fields: Mapping[str, object]) -> bool:
    return sum(len(str(value)) for value in fields.values()) > MAX_LINE_BYTES


def _values(column: pa.Array) -> Sequence[Any]:
    kind = column.type
    try:
        if pa.types.is_dictionary(kind):
            return _values(column.dictionary_decode())
        if _is_plain(kind):
            return list(column.to_pylist())
        if _is_flat(kind):
            return list(column.cast(pa.string()).to_pylist())
    except (pa.ArrowException, *PYTHON_ERRORS):
        pass  # one of them is bad: look at each
    return [_value(scalar) for scalar in column]


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether its values are JSON already."""
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def _is_flat(kind: pa.DataType) -> bool:
    """Tell whether Arrow writes its values as text that a person understands."""
    return bool(
        _is_bytes(kind)
        or pa.types.is_decimal(kind)
        or (pa.types.is_temporal(kind) and not pa.types.is_duration(kind))
    )


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _value(scalar: pa.Scalar) -> Any:
    try:
        if not scalar.is_valid:
            return None
        if _is_flat(scalar.type):
            return scalar.cast(pa.string()).as_py()
        return to_jsonable_python(scalar.as_py())
    except (pa.ArrowException, *PYTHON_ERRORS) as error:
        if _is_bytes(scalar.type) or isinstance(error, UnicodeDecodeError):
            return _Unreadable("is not UTF-8")
        return _Unreadable(f"a value of type {scalar.type} cannot become text")
