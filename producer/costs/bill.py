"""The bill of a batch, from the sums of the books; nothing is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from producer.amounts import seconds, usd
from producer.costs.amounts import Amounts, money_json, sum_of
from producer.costs.applied import AppliedPrice, applied_prices
from producer.costs.quoted import QuoteComparison, compare
from producer.costs.scope import Scope, Settled, read_scope
from shared.db.tables import Batch
from shared.domain.jobs import LedgerKind

ALWAYS_SHOWN = (LedgerKind.RENDER, LedgerKind.FAILED_ATTEMPT, LedgerKind.MODEL_LOAD)


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
            "device_seconds": seconds(self.device_ns),
            "nanodollars": self.nanodollars,
            "usd": usd(self.nanodollars),
        }


@dataclass(frozen=True, slots=True)
class ImageCosts:
    """Nano-dollars of an image, over those that were drawn."""

    count: int
    mean: int
    """Of all work on devices: failed attempts and model loads too."""
    mean_fully_loaded: int
    """Of everything."""
    least: int
    """Of drawing one image."""
    most: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        amounts = {
            "mean": self.mean,
            "mean_fully_loaded": self.mean_fully_loaded,
            "min": self.least,
            "max": self.most,
        }
        return {"count": self.count, **money_json(amounts)}


@dataclass(frozen=True, slots=True)
class Bill:
    """What a batch has cost so far. Money is in nano-dollars."""

    batch_id: UUID
    lines: Sequence[BillLine]
    """What was booked for the batch itself."""
    idle_ns: int
    """The batch's share of the time that its workers waited."""
    idle_nanodollars: int
    images: ImageCosts | None
    """None while no image is done."""
    prices: Sequence[AppliedPrice]
    quote: QuoteComparison | None
    """None when the batch was submitted without one."""
    max_nanodollars: int | None
    """Its budget, if it has one."""
    settled: Settled
    devices: Sequence[str]
    """What those that worked for it call themselves; what is no real device says so."""

    @property
    def total_nanodollars(self) -> int:
        """The sum of the lines, exactly."""
        return sum(line.nanodollars for line in self.lines)

    @property
    def fully_loaded_nanodollars(self) -> int:
        """The lines and the share of idle time."""
        return self.total_nanodollars + self.idle_nanodollars

    @property
    def device_ns(self) -> int:
        """Device time of all lines."""
        return sum(line.device_ns for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "lines": [line.to_json() for line in self.lines],
            "device_seconds": seconds(self.device_ns),
            "idle_seconds": seconds(self.idle_ns),
            **money_json(
                {
                    "total": self.total_nanodollars,
                    "idle": self.idle_nanodollars,
                    "fully_loaded": self.fully_loaded_nanodollars,
                    "max": self.max_nanodollars,
                }
            ),
            "per_image": self.images.to_json() if self.images else None,
            "prices": [price.to_json() for price in self.prices],
            "devices": list(self.devices),
            "quote": self.quote.to_json() if self.quote else None,
            **self.settled.to_json(),
        }


def make_bill(session: Session, batch: Batch) -> Bill:
    """Add up what a batch has cost. Drawing, failures and model loads are always lines.

    Raises:
        MissingPriceError: the device of one of its workers has no price.
    """
    costs = read_scope(session, Scope(batch_id=batch.id))
    amounts = sum_of(costs.rows)
    loads = {row.worker_id for row in costs.rows if row.kind is LedgerKind.MODEL_LOAD}
    loaded = {worker_id for worker_id in loads if worker_id is not None}
    return Bill(
        batch_id=batch.id,
        lines=_lines(amounts),
        idle_ns=amounts.idle_ns,
        idle_nanodollars=amounts.idle,
        images=_image_costs(amounts),
        prices=applied_prices(session, batch.id, costs.workers.values(), loaded),
        quote=compare(batch.quote, amounts.images, amounts.busy) if batch.quote else None,
        max_nanodollars=batch.max_nanodollars,
        settled=costs.settled,
        devices=sorted({worker.device_name for worker in costs.workers.values()}),
    )


def _lines(amounts: Amounts) -> Sequence[BillLine]:
    kinds = [
        kind
        for kind in LedgerKind
        if kind in ALWAYS_SHOWN or (kind in amounts.booked and kind is not LedgerKind.IDLE)
    ]
    return [
        BillLine(kind, booked.entries, booked.device_ns, booked.nanodollars)
        for kind in kinds
        for booked in [amounts.of(kind)]
    ]


def _image_costs(amounts: Amounts) -> ImageCosts | None:
    drawn = amounts.of(LedgerKind.RENDER)
    mean, loaded = amounts.busy_per_image, amounts.total_per_image
    if mean is None or loaded is None:
        return None
    least, most = drawn.least_nanodollars or 0, drawn.most_nanodollars or 0
    return ImageCosts(drawn.entries, mean, loaded, least, most)
