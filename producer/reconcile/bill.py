"""A bill from outside, compared with the books by day and device."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.amounts import usd
from shared.db.cost_sums import read_costs
from shared.db.tables import Worker
from shared.domain.money import parse_dollars
from shared.errors import InputError

NEEDED = frozenset({"day", "device_kind", "usd"})
OPTIONAL = frozenset({"sku", "currency"})
CURRENCY = "USD"
MAX_BYTES = 64 * 1024 * 1024
MAX_LISTED_ERRORS = 20
STORE = "store"
"""The device kind of a bill's lines for keeping and writing images."""


class BillKey(NamedTuple):
    """What a line of a bill is about."""

    day: date
    device_kind: str
    sku: str


@dataclass(frozen=True, slots=True)
class BillLine:
    """One day of one kind of device, by both accounts."""

    key: BillKey
    billed_nanodollars: int
    booked_nanodollars: int

    @property
    def difference_nanodollars(self) -> int:
        """What the bill has more than the books."""
        return self.billed_nanodollars - self.booked_nanodollars

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "day": self.key.day.isoformat(),
            "device_kind": self.key.device_kind,
            "sku": self.key.sku,
            "billed_nanodollars": self.billed_nanodollars,
            "booked_nanodollars": self.booked_nanodollars,
            "difference_nanodollars": self.difference_nanodollars,
            "difference_usd": usd(self.difference_nanodollars),
        }


def read_bill(path: Path) -> Mapping[BillKey, int]:
    """Read a CSV of day, device_kind, sku (may be empty), usd, and currency if it says so.

    Lines of one day and device are added up. Nothing is recorded.

    Raises:
        InputError: it cannot be read, a column is missing or not known, or a line is bad; names
            every bad line and its field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: a bill has at most {MAX_BYTES // 2**20} MiB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            _check_columns(path, lines.fieldnames or ())
            return _add_up(path, lines)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV: {error}") from None


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = sorted(NEEDED - set(columns))
    unknown = sorted(set(columns) - NEEDED - OPTIONAL)
    if missing or unknown:
        problems = [f"column {name!r} is missing" for name in missing]
        problems += [f"column {name!r} is not known" for name in unknown]
        raise InputError(
            f"{path}: {', '.join(problems)}",
            hint="A bill has the columns day, device_kind, sku, usd; for example "
            "2026-11-24,cuda,g5.xlarge,24.144",
        )


def _add_up(path: Path, lines: csv.DictReader[str]) -> Mapping[BillKey, int]:
    billed: Counter[BillKey] = Counter()
    problems: list[str] = []
    for line in lines:
        try:
            key, nanodollars = _read_line(line)
        except ValueError as error:
            problems.append(f"{path}:{lines.line_num}: {error}")
        else:
            billed[key] += nanodollars
    if problems:
        left = len(problems) - MAX_LISTED_ERRORS
        more = [f"and {left:,} more"] if left > 0 else []
        raise InputError("\n".join([*problems[:MAX_LISTED_ERRORS], *more]))
    if not billed:
        raise InputError(f"{path}: has no lines")
    return billed


def _read_line(line: Mapping[str, str | None]) -> tuple[BillKey, int]:
    if None in line or None in line.values():
        raise ValueError("has not as many fields as the first line has columns")
    fields = {name: (text or "").strip() for name, text in line.items()}
    try:
        day = date.fromisoformat(fields["day"])
    except ValueError:
        raise ValueError(f"day: {fields['day']!r} is not a date such as 2026-11-24") from None
    if not fields["device_kind"]:
        raise ValueError("device_kind: is missing")
    if fields.get("currency", CURRENCY) != CURRENCY:
        raise ValueError(f"currency: {fields['currency']!r}: the books are in US dollars, USD")
    try:
        nanodollars = parse_dollars(fields["usd"])
    except ValueError as error:
        raise ValueError(f"usd: {error}") from None
    return BillKey(day, fields["device_kind"], fields.get("sku", "")), nanodollars


def compare_bill(session: Session, billed: Mapping[BillKey, int]) -> Sequence[BillLine]:
    """Put what is billed and what is booked side by side, over the days of the bill."""
    days = [key.day for key in billed]
    devices = {
        worker_id: (kind, sku)
        for worker_id, kind, sku in session.execute(
            select(Worker.id, Worker.device_kind, Worker.device_sku)
        )
    }
    booked: Counter[BillKey] = Counter()
    for row in read_costs(session, since=min(days), until=max(days)):
        kind, sku = (STORE, "") if row.worker_id is None else devices[row.worker_id]
        booked[BillKey(row.day, kind, sku)] += row.booked.nanodollars
    return list(_lines(billed, booked))


def _lines(billed: Mapping[BillKey, int], booked: Mapping[BillKey, int]) -> Iterator[BillLine]:
    for key in sorted({*billed, *booked}):
        yield BillLine(key, billed.get(key, 0), booked.get(key, 0))
