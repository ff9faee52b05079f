"""A report of costs: groups whose amounts add up to what is in the books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from producer.amounts import per_cent, usd
from producer.costs.amounts import Amounts, sum_of
from producer.costs.grouping import COLUMNS, Key, group
from producer.costs.scope import DAY, Scope, Settled, read_scope
from producer.costs_by import CostsBy
from shared.db.tables import Batch
from shared.domain.jobs import WASTE, LedgerKind

COLUMN_THAT_MATTERS = {
    CostsBy.DAY: DAY,
    CostsBy.DEVICE: "worker_id",
    CostsBy.WORKER: "worker_id",
}
"""Of rows of the books, where idle time need not be shared out among batches."""


class CostGroup(NamedTuple):
    """What was spent on one thing."""

    key: Key
    """The values of the report's columns."""
    amounts: Amounts


class Others(NamedTuple):
    """Groups that are not shown one by one."""

    groups: int
    amounts: Amounts


class Waste(NamedTuple):
    """What was paid and no image came of."""

    kind: LedgerKind
    nanodollars: int
    per_cent: float | None
    """Of everything; None of nothing."""


@dataclass(frozen=True, slots=True)
class CostReport:
    """What was spent, and on what. Money is in nano-dollars."""

    by: CostsBy
    scope: Scope
    groups: Sequence[CostGroup]
    """The dearest first; days, the newest first."""
    others: Others | None
    """The groups after those, if only some are wanted."""
    idle_for_nobody: Amounts
    """Idle time of days on which a worker served nobody, unless groups have it."""
    total: Amounts
    """Of everything in the scope, each nano-dollar once."""
    groups_overlap: bool
    """Whether something is in several groups, so that they add up to more than the total."""
    settled: Settled

    @property
    def columns(self) -> Sequence[str]:
        """Names of what the groups differ in."""
        return COLUMNS[self.by]

    @property
    def waste(self) -> Sequence[Waste]:
        """What no image came of, a line each, be it nothing."""
        return [
            Waste(kind, amount, per_cent(amount, self.total.total))
            for kind in LedgerKind
            if kind in WASTE
            for amount in [self.total.of(kind).nanodollars]
        ]

    def first(self, groups: int) -> CostReport:
        """Keep so many groups, and the others as one line."""
        left = self.groups[groups:]
        if not left:
            return self
        amounts = Amounts()
        amounts.add_all(other.amounts for other in left)
        return replace(self, groups=self.groups[:groups], others=Others(len(left), amounts))

    def lines(self) -> Iterator[tuple[str, Key, Amounts]]:
        """Yield every line: what it is, whose it is, and the amounts.

        They add up to the total, unless groups overlap.
        """
        for key, amounts in self.groups:
            yield "group", key, amounts
        nobody = (None,) * len(self.columns)
        if self.others is not None:
            yield "others", nobody, self.others.amounts
        if self.idle_for_nobody.booked:
            yield "idle_for_nobody", nobody, self.idle_for_nobody

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        nobody = self.idle_for_nobody
        return {
            "by": self.by.value,
            **self.scope.to_json(),
            "groups": [self._group_json(each) for each in self.groups],
            "others": self.others
            and {"groups": self.others.groups, **self.others.amounts.to_json()},
            "idle_for_nobody": nobody.to_json() if nobody.booked else None,
            "groups_overlap": self.groups_overlap,
            "total": self.total.to_json(),
            "total_nanodollars": self.total.total,
            "total_usd": usd(self.total.total),
            "waste": [
                {
                    "kind": waste.kind.value,
                    "nanodollars": waste.nanodollars,
                    "usd": usd(waste.nanodollars),
                    "per_cent": waste.per_cent,
                }
                for waste in self.waste
            ],
            **self.settled.to_json(),
        }

    def _group_json(self, each: CostGroup) -> Mapping[str, Any]:
        values = [value.isoformat() if isinstance(value, date) else value for value in each.key]
        return {**dict(zip(self.columns, values, strict=True)), **each.amounts.to_json()}


def cost_report(
    session: Session,
    *,
    by: CostsBy,
    batch: Batch | None = None,
    since: date | None = None,
    until: date | None = None,
    tenant: str | None = None,
    tag: tuple[str, str] | None = None,
) -> CostReport:
    """Report what was spent, from the sums of the books.

    Idle time is shared out among the batches that a worker served on a day, so a report of
    some batches has their shares of it.

    Args:
        session: reads.
        by: what to group by, but not by job: that is `job_costs`.
        batch: only what it cost.
        since: the first day, in UTC.
        until: the last day.
        tenant: only whose batches.
        tag: only batches with this key and value.

    Raises:
        MissingPriceError: the device of a worker in the scope has no price.
    """
    scope = Scope(
        batch_id=batch.id if batch else None, since=since, until=until, tenant=tenant, tag=tag
    )
    costs = read_scope(session, scope, COLUMN_THAT_MATTERS.get(by))
    grouped = group(session, costs.rows, by, costs.workers)
    groups = [CostGroup(*item) for item in grouped.groups.items()]
    return CostReport(
        by=by,
        scope=scope,
        groups=sorted(groups, key=_newest_day if by is CostsBy.DAY else _dearest),
        others=None,
        idle_for_nobody=grouped.of_no_batch,
        total=sum_of(costs.rows),
        groups_overlap=grouped.overlap,
        settled=costs.settled,
    )


def _newest_day(each: CostGroup) -> int:
    [day] = each.key
    return -day.toordinal() if isinstance(day, date) else 0


def _dearest(each: CostGroup) -> tuple[int, str]:
    return -each.amounts.total, str(each.key)
