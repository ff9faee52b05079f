"""A report of costs as its page shows it: lines with bars, and days as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from producer.amounts import per_cent
from producer.costs import CostReport
from producer.costs.amounts import Amounts
from producer.costs.grouping import Key
from producer.costs_by import CostsBy
from producer.dashboard.scales import Scale, round_ticks
from shared.domain.jobs import WASTE, LedgerKind

FEWEST_DAYS = 7
MOST_DAYS = 92
"""Columns of the picture, and days of its table."""
TOP, BOTTOM = 6, 100
GAP = 0.2
"""Of a column's width."""
WASTED = tuple(kind for kind in LedgerKind if kind in WASTE and kind is not LedgerKind.IDLE)
KINDS = {
    LedgerKind.RENDER: "drawing images",
    LedgerKind.FAILED_ATTEMPT: "failed attempts",
    LedgerKind.DUPLICATE: "images drawn twice",
    LedgerKind.MODEL_LOAD: "loading models",
    LedgerKind.STORAGE: "keeping images",
    LedgerKind.REQUESTS: "requests to the store",
    LedgerKind.CORRECTION: "corrections of prices",
    LedgerKind.IDLE: "idle devices",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    name: str
    """``busy``, ``wasted`` or ``idle``."""
    nanodollars: int
    begin: float
    """Where it begins, in per cent."""
    length: float
    """In per cent."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """A line of the table."""

    name: str
    under: str
    """What else is to be known of it; may be empty."""
    href: str | None
    amounts: Amounts
    per_cent: float | None
    """Of the total."""
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class KindLine:
    """What was spent on one kind of thing."""

    name: str
    entries: int
    device_ns: int
    nanodollars: int
    per_cent: float | None


@dataclass(frozen=True, slots=True)
class DayColumn:
    """A day."""

    day: date
    x: float
    width: float
    parts: Sequence[Part]
    """From the bottom up: what is told is where each begins from the top."""
    total: int


@dataclass(frozen=True, slots=True)
class DayColumns:
    """Days without gaps, the oldest first, beside amounts on the axis."""

    columns: Sequence[DayColumn]
    ticks: Sequence[tuple[float, int]]
    """Where, in per cent from the top, and nano-dollars."""


def busy_wasted_idle(amounts: Amounts) -> tuple[int, int, int]:
    """Divide everything: what images came of, what none came of, and idle time."""
    wasted = sum(amounts.of(kind).nanodollars for kind in WASTED)
    return amounts.total - wasted - amounts.idle, wasted, amounts.idle


def named(report: CostReport) -> Sequence[CostLine]:
    """Return the lines of a report, each with what a person calls it."""
    lines = list(report.lines())
    dearest = max((amounts.total for _, _, amounts in lines), default=0)
    scale = Scale(0, max(dearest, 1))
    return [
        CostLine(
            *_name(report, line, key),
            amounts,
            per_cent(amounts.total, report.total.total),
            list(_parts(amounts, scale)),
        )
        for line, key, amounts in lines
    ]


def kind_lines(total: Amounts) -> Sequence[KindLine]:
    """Return what was spent on each kind of thing that anything was booked for."""
    return [
        KindLine(
            KINDS[kind],
            booked.entries,
            booked.device_ns,
            booked.nanodollars,
            per_cent(booked.nanodollars, total.total),
        )
        for kind in LedgerKind
        if (booked := total.booked.get(kind)) is not None
    ]


def day_columns(report: CostReport) -> DayColumns | None:
    """Return the newest days of a report by day as a picture; None if there is nothing to see."""
    spent = {key[0]: amounts for key, amounts in report.groups if isinstance(key[0], date)}
    if not spent:
        return None
    last = max(spent)
    first = max(min(spent), last - timedelta(days=MOST_DAYS - 1))
    # One day alone is a wall; so the days before are shown, as far as they were asked about.
    asked = report.scope.since or date.min
    first = min(first, max(last - timedelta(days=FEWEST_DAYS - 1), asked))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    highest = max(max(0, spent[day].total) for day in days if day in spent)
    scale = Scale(0, max(highest, 1), BOTTOM, TOP)
    across = Scale(0, len(days))
    return DayColumns(
        [
            DayColumn(
                day,
                across.place(number + GAP / 2),
                round(across.place(1) * (1 - GAP), 3),
                list(_parts(spent.get(day, Amounts()), scale)),
                spent.get(day, Amounts()).total,
            )
            for number, day in enumerate(days)
        ],
        [(scale.place(amount), amount) for amount in round_ticks(highest)],
    )


def _parts(amounts: Amounts, scale: Scale) -> Iterator[Part]:
    so_far = 0
    for name, amount in zip(("busy", "wasted", "idle"), busy_wasted_idle(amounts), strict=True):
        if amount > 0:  # a correction may make it less than nothing
            ends = scale.place(so_far), scale.place(so_far + amount)
            yield Part(name, amount, min(ends), round(max(ends) - min(ends), 3))
            so_far += amount


def _name(report: CostReport, line: str, key: Key) -> tuple[str, str, str | None]:
    if line == "others" and report.others is not None:
        groups = report.others.groups
        return "1 other" if groups == 1 else f"{groups:,} others", "", None
    if line == "idle_for_nobody":
        return "idle for nobody", "days on which a worker served no batch", None
    words = ["" if value is None else str(value) for value in key]
    if report.by is CostsBy.BATCH:
        batch_id, name, tenant, model = words
        return name or batch_id, f"{model} · {tenant}", f"/batches/{batch_id}" if name else None
    if report.by is CostsBy.DEVICE:
        kind, sku, device = words
        return f"{kind} {sku}".strip() or "no device", device, None
    if report.by is CostsBy.WORKER:
        worker_id, host, *devices = words
        return host or worker_id or "no worker", " ".join(filter(None, devices)), None
    return words[0] or f"no {report.by.value}", "", None
