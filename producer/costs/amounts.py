"""Some part of the books, kind by kind, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from producer.amounts import seconds, usd
from shared.db.cost_sums import Booked, CostRow
from shared.db.tallies import NOT_BOOKED
from shared.domain.jobs import ON_DEVICE, LedgerKind

Entity = TypeVar("Entity", bound=Hashable)

BUSY = (*ON_DEVICE, LedgerKind.CORRECTION)
"""Kinds that a batch's own time on devices was booked as, corrections of its price included."""


@dataclass(slots=True)
class Amounts:
    """What was booked, summed by kind. Money is in nano-dollars."""

    booked: dict[LedgerKind, Booked] = field(default_factory=dict)
    """Of idle time there are no entries: it is a share of somebody's."""

    def add(self, kind: LedgerKind, booked: Booked) -> None:
        """Put something to it."""
        known = self.booked.get(kind)
        self.booked[kind] = booked if known is None else known + booked

    def add_all(self, others: Iterable[Amounts]) -> None:
        """Put other amounts to these."""
        for other in others:
            for kind, booked in other.booked.items():
                self.add(kind, booked)

    def of(self, kind: LedgerKind) -> Booked:
        """Return what was booked of one kind."""
        return self.booked.get(kind, NOT_BOOKED)

    @property
    def images(self) -> int:
        """How many images were drawn."""
        return self.of(LedgerKind.RENDER).entries

    @property
    def device_ns(self) -> int:
        """Device time without idle time."""
        return sum(self.of(kind).device_ns for kind in BUSY)

    @property
    def idle_ns(self) -> int:
        """Device time that nobody used."""
        return self.of(LedgerKind.IDLE).device_ns

    @property
    def busy(self) -> int:
        """Cost of the work on devices, whatever came of it."""
        return sum(self.of(kind).nanodollars for kind in BUSY)

    @property
    def idle(self) -> int:
        """Cost of idle time."""
        return self.of(LedgerKind.IDLE).nanodollars

    @property
    def total(self) -> int:
        """Cost of everything: fully loaded."""
        return sum(booked.nanodollars for booked in self.booked.values())

    @property
    def busy_per_image(self) -> int | None:
        """Cost of the work on devices for each image; None without images."""
        return per_image(self.busy, self.images)

    @property
    def total_per_image(self) -> int | None:
        """Cost of everything for each image; None without images."""
        return per_image(self.total, self.images)

    def money(self) -> Mapping[str, int | None]:
        """Return every amount of money by its name, as reports are written for programs."""
        kinds = [kind for kind in LedgerKind if kind is not LedgerKind.IDLE]
        return {
            **{kind.value: self.of(kind).nanodollars for kind in kinds},
            "busy": self.busy,
            "idle": self.idle,
            "fully_loaded": self.total,
            "busy_per_image": self.busy_per_image,
            "fully_loaded_per_image": self.total_per_image,
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "images": self.images,
            "device_ns": self.device_ns,
            "device_seconds": seconds(self.device_ns),
            "idle_ns": self.idle_ns,
            "idle_seconds": seconds(self.idle_ns),
            **money_json(self.money()),
        }


def sums_by(rows: Iterable[CostRow], of: Callable[[CostRow], Entity]) -> dict[Entity, Amounts]:
    """Add up rows that have something in common.

    Args:
        rows: any number.
        of: tells what a row belongs to.
    """
    alike: dict[tuple[Entity, LedgerKind], list[Booked]] = defaultdict(list)
    for row in rows:
        alike[of(row), row.kind].append(row.booked)
    sums: dict[Entity, Amounts] = defaultdict(Amounts)
    for (entity, kind), booked in alike.items():
        sums[entity].add(kind, Booked.sum(booked))
    return dict(sums)


def sum_of(rows: Iterable[CostRow]) -> Amounts:
    """Add up rows."""
    return sums_by(rows, lambda _: None).get(None, Amounts())


def per_image(nanodollars: int, images: int) -> int | None:
    """Divide among images, rounded half up to a nano-dollar; None among none."""
    return (nanodollars + images // 2) // images if images else None


def money_json(amounts: Mapping[str, int | None]) -> dict[str, int | str | None]:
    """Write each amount as nano-dollars and as dollars, both exact."""
    written: dict[str, int | str | None] = {}
    for name, nanodollars in amounts.items():
        written[f"{name}_nanodollars"] = nanodollars
        written[f"{name}_usd"] = None if nanodollars is None else usd(nanodollars)
    return written
