"""Costs as CSV and as Parquet, for spreadsheets and for programs.

A report has a row for each of its lines, and these columns:

* ``line``, a string: ``group``; ``others``, the sum of groups that were not wanted one by
  one; ``idle_for_nobody``, the idle time of days on which a worker served nobody. The rows
  add up to the total, unless groups by tag overlap.
* What the groups differ in, strings but for the day, which is a date (``date32``), in UTC:
  ``batch_id, batch_name, tenant, model`` by batch; ``model``; ``device_kind, sku,
  device_name`` by device; ``worker_id, host`` and those by worker; ``tenant``; ``tag``, which
  is ``key=value``; ``day``. Null where there is none: storage has no worker.
* ``images, device_ns, idle_ns``, integers (``int64``); times in nanoseconds.
* Money: ``render, failed_attempt, duplicate, model_load, storage, requests, correction`` as it
  was booked; ``busy``, all of these that are work on a device; ``idle``, the share of idle
  time; ``fully_loaded``, everything; ``busy_per_image, fully_loaded_per_image``, null without
  images. Each is a column ``NAME_nanodollars`` (``int64``), in CSV also ``NAME_usd``, an
  exact decimal number of dollars.

Jobs have ``position`` (``int64``), ``custom_id`` and ``state`` (strings), ``device_ns``
(``int64``) and the money ``cost``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from producer.amounts import usd
from producer.costs.amounts import Amounts
from producer.costs.jobs import JobCost
from producer.costs.report import CostReport

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_GROUP = 20_000


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    DAY = "day"
    MONEY = "money"
    """Nano-dollars."""


class Exported(NamedTuple):
    """Rows to be written."""

    columns: Mapping[str, Kind]
    rows: Iterable[tuple[Any, ...]]
    """Values in the order of the columns; read once."""


def exported_report(report: CostReport) -> Exported:
    """Make a row of each line of a report."""
    columns = {
        "line": Kind.TEXT,
        **{name: Kind.DAY if name == "day" else Kind.TEXT for name in report.columns},
        **dict.fromkeys(("images", "device_ns", "idle_ns"), Kind.INTEGER),
        **dict.fromkeys(Amounts().money(), Kind.MONEY),
    }
    rows = (
        (line, *key, amounts.images, amounts.device_ns, amounts.idle_ns, *amounts.money().values())
        for line, key, amounts in report.lines()
    )
    return Exported(columns, rows)


def exported_jobs(jobs: Iterable[JobCost]) -> Exported:
    """Make a row of each job, as they come."""
    columns = {
        "position": Kind.INTEGER,
        "custom_id": Kind.TEXT,
        "state": Kind.TEXT,
        "device_ns": Kind.INTEGER,
        "cost": Kind.MONEY,
    }
    rows = (
        (job.position, job.custom_id, job.state.value, job.device_ns, job.nanodollars)
        for job in jobs
    )
    return Exported(columns, rows)


def write_csv(exported: Exported, file: IO[str]) -> int:
    """Write a heading and the rows; returns how many rows."""
    writer = csv.writer(file, lineterminator="\n")
    kinds = exported.columns.items()
    writer.writerow([heading for name, kind in kinds for heading in _headings(name, kind)])
    count = 0
    for row in exported.rows:
        cells = zip(row, exported.columns.values(), strict=True)
        writer.writerow([cell for value, kind in cells for cell in _cells(value, kind)])
        count += 1
    return count


def _headings(name: str, kind: Kind) -> Iterator[str]:
    if kind is Kind.MONEY:
        yield f"{name}_nanodollars"
        yield f"{name}_usd"
    else:
        yield name


def _cells(value: Any, kind: Kind) -> Iterator[Any]:
    yield value
    if kind is Kind.MONEY:
        yield None if value is None else usd(value)


def write_parquet(exported: Exported, file: IO[bytes]) -> int:
    """Write the rows; returns how many."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(exported.columns)
    rows = iter(exported.rows)
    count = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(rows, ROWS_A_GROUP)):
            columns = zip(*some, strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(some)
    return count


def _schema(columns: Mapping[str, Kind]) -> pa.Schema:
    import pyarrow as pa

    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.DAY: pa.date32(),
        Kind.MONEY: pa.int64(),
    }
    return pa.schema(
        [
            (f"{name}_nanodollars" if kind is Kind.MONEY else name, types[kind])
            for name, kind in columns.items()
        ]
    )
