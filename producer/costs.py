"""The bill of a batch: every entry of the books, summed; nothing is estimated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Subquery, func, select
from sqlalchemy.orm import Session

from producer.amounts import usd
from shared.db.cost_tables import LedgerEntry, Price
from shared.db.tables import Batch, Job
from shared.domain.jobs import JobState, LedgerKind
from shared.domain.money import NANOSECONDS

ROWS_A_FETCH = 1_000


@dataclass(frozen=True, slots=True)
class BillLine:
    """All entries of one kind."""

    kind: LedgerKind
    count: int
    device_ns: int
    nanodollars: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "kind": self.kind.value,
            "count": self.count,
            "device_seconds": self.device_ns / NANOSECONDS,
            "nanodollars": self.nanodollars,
            "usd": usd(self.nanodollars),
        }


@dataclass(frozen=True, slots=True)
class AppliedPrice:
    """A price that entries of the bill were booked at."""

    device_kind: str
    nanodollars_per_hour: int
    is_example: bool
    """It came with tenstep: nobody has said what the device really costs."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "device_kind": self.device_kind,
            "nanodollars_per_hour": self.nanodollars_per_hour,
            "usd_per_hour": usd(self.nanodollars_per_hour),
            "is_example": self.is_example,
        }


@dataclass(frozen=True, slots=True)
class ImageCosts:
    """Nano-dollars of one image with all attempts at it, over the images that are done."""

    count: int
    mean: int
    least: int
    most: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "count": self.count,
            "mean_nanodollars": self.mean,
            "mean_usd": usd(self.mean),
            "min_nanodollars": self.least,
            "min_usd": usd(self.least),
            "max_nanodollars": self.most,
            "max_usd": usd(self.most),
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """What a batch has cost so far."""

    batch_id: UUID
    lines: Sequence[BillLine]
    images: ImageCosts | None
    """None while no image is done."""
    prices: Sequence[AppliedPrice]

    @property
    def total_nanodollars(self) -> int:
        """The sum of the lines, exactly."""
        return sum(line.nanodollars for line in self.lines)

    @property
    def device_ns(self) -> int:
        """Device time of all lines."""
        return sum(line.device_ns for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "lines": [line.to_json() for line in self.lines],
            "device_seconds": self.device_ns / NANOSECONDS,
            "total_nanodollars": self.total_nanodollars,
            "total_usd": usd(self.total_nanodollars),
            "per_image": self.images.to_json() if self.images else None,
            "prices": [price.to_json() for price in self.prices],
        }


@dataclass(frozen=True, slots=True)
class JobCost:
    """What one job has cost, all attempts at it together."""

    position: int
    custom_id: str | None
    state: JobState
    device_ns: int
    nanodollars: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "position": self.position,
            "custom_id": self.custom_id,
            "state": self.state.value,
            "device_seconds": self.device_ns / NANOSECONDS,
            "nanodollars": self.nanodollars,
            "usd": usd(self.nanodollars),
        }


def make_bill(session: Session, batch: Batch) -> Bill:
    """Add up the books of a batch. A kind without entries is a line of zero."""
    rows = session.execute(
        select(
            LedgerEntry.kind,
            func.count(),
            func.sum(LedgerEntry.device_ns),
            func.sum(LedgerEntry.amount_nanodollars),
        )
        .where(LedgerEntry.batch_id == batch.id)
        .group_by(LedgerEntry.kind)
    )
    booked = {
        kind: BillLine(LedgerKind(kind), count, int(device_ns), int(amount))
        for kind, count, device_ns, amount in rows
    }
    always = (LedgerKind.RENDER, LedgerKind.FAILED_ATTEMPT, LedgerKind.MODEL_LOAD)
    lines = [
        booked.get(kind, BillLine(kind, 0, 0, 0))
        for kind in LedgerKind
        if kind in booked or kind in always
    ]
    return Bill(batch.id, lines, _image_costs(session, batch.id), _prices(session, batch.id))


def job_costs(session: Session, batch: Batch) -> Iterator[JobCost]:
    """Yield what each job has cost, in order. With model loads they make up the bill."""
    booked = costs_by_job(batch.id)
    rows = session.execute(
        select(
            Job.position,
            Job.custom_id,
            Job.state,
            func.coalesce(booked.c.device_ns, 0),
            func.coalesce(booked.c.nanodollars, 0),
        )
        .outerjoin(booked, booked.c.job_id == Job.id)
        .where(Job.batch_id == batch.id)
        .order_by(Job.position),
        execution_options={"yield_per": ROWS_A_FETCH},
    )
    for position, custom_id, state, device_ns, nanodollars in rows:
        yield JobCost(position, custom_id, JobState(state), int(device_ns), int(nanodollars))


def costs_by_job(batch_id: UUID) -> Subquery:
    """Build a subquery of ``job_id``, ``device_ns`` and ``nanodollars``."""
    return (
        select(
            LedgerEntry.job_id,
            func.sum(LedgerEntry.device_ns).label("device_ns"),
            func.sum(LedgerEntry.amount_nanodollars).label("nanodollars"),
        )
        .where(LedgerEntry.batch_id == batch_id, LedgerEntry.job_id.is_not(None))
        .group_by(LedgerEntry.job_id)
        .subquery()
    )


def _image_costs(session: Session, batch_id: UUID) -> ImageCosts | None:
    booked = costs_by_job(batch_id)
    cost = booked.c.nanodollars
    count, total, least, most = session.execute(
        select(func.count(), func.sum(cost), func.min(cost), func.max(cost))
        .select_from(Job)
        .join(booked, booked.c.job_id == Job.id)
        .where(Job.state == JobState.DONE)
    ).one()
    if not count:
        return None
    return ImageCosts(count, round(int(total) / count), int(least), int(most))


def _prices(session: Session, batch_id: UUID) -> Sequence[AppliedPrice]:
    rows = session.execute(
        select(LedgerEntry.device_kind, LedgerEntry.nanodollars_per_hour)
        .where(LedgerEntry.batch_id == batch_id, LedgerEntry.device_kind.is_not(None))
        .distinct()
        .order_by(LedgerEntry.device_kind, LedgerEntry.nanodollars_per_hour)
    ).all()
    return [
        AppliedPrice(kind, rate, is_example=bool(session.scalar(_example_price(kind, rate))))
        for kind, rate in rows
        if kind is not None
    ]


def _example_price(device_kind: str, nanodollars_per_hour: int) -> Select[int]:
    return select(func.count()).where(
        Price.device_kind == device_kind,
        Price.nanodollars_per_hour == nanodollars_per_hour,
        Price.is_example,
    )
