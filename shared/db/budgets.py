"""What a batch may still cost: reserved before an image is begun, stopped between images.

The images in workers' hands are counted as spent, at what an image of the batch has cost so
far. Before one is known, one image is drawn alone. So what was spent is never more than the
budget by more than what is in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select, union_all
from sqlalchemy.orm import Session

from shared.db.conditions import IS_LEASED
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import CostSum, TenantBudget
from shared.db.tables import Batch, Job, Tally
from shared.db.tallies import read_tally
from shared.domain.budgets import BudgetPeriod
from shared.domain.jobs import JobState, LedgerKind

LIMITS = (
    select(Batch.max_nanodollars.label("of_batch"), TenantBudget.tenant.label("of_tenant"))
    .outerjoin(TenantBudget, TenantBudget.tenant == Batch.tenant)
    .where(Batch.id == bindparam("of_batch"))
)
"""Made once, for every chunk needs it: making it takes longer than to run it."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What is left for a batch, of its own budget or of its tenant's: of the smaller one."""

    max_nanodollars: int
    spent_nanodollars: int
    in_hand: int
    """Images that are being drawn."""
    image_nanodollars: int | None
    """What an image of the batch has cost on average, rounded up; None before the first."""
    tenant: str | None
    """Whose budget it is; None is the batch's own."""

    @property
    def left_nanodollars(self) -> int:
        """May be less than nothing."""
        return self.max_nanodollars - self.spent_nanodollars

    @property
    def images(self) -> int:
        """How many more images may be begun."""
        if self.left_nanodollars <= 0:
            return 0
        if self.image_nanodollars is None:
            return max(0, 1 - self.in_hand)
        return max(0, self.left_nanodollars // max(1, self.image_nanodollars) - self.in_hand)

    @property
    def is_spent(self) -> bool:
        """Whether not a single image more is paid for, whatever becomes of those in hand."""
        return self.left_nanodollars <= 0 or self.left_nanodollars < (self.image_nanodollars or 0)


def purse_of(
    session: Session, batch_id: UUID, now: datetime, *, lock: bool = False
) -> Purse | None:
    """Tell what is left for a batch; None when it has no limit.

    Args:
        session: reads.
        batch_id: the batch.
        now: tells the month.
        lock: let nobody else spend from it until the transaction ends.
    """
    limits = session.connection().execute(LIMITS, {"of_batch": batch_id}).one()
    purses = []
    if limits.of_tenant is not None:
        purses.append(_purse_of_tenant(session, batch_id, limits.of_tenant, now, lock=lock))
    if limits.of_batch is not None:
        purses.append(_purse_of_batch(session, batch_id, lock=lock))
    there = [purse for purse in purses if purse is not None]
    return min(there, key=lambda purse: purse.left_nanodollars, default=None)


def _purse_of_batch(session: Session, batch_id: UUID, *, lock: bool) -> Purse | None:
    limit = select(Batch.max_nanodollars).where(Batch.id == batch_id)
    most = session.scalar(limit.with_for_update() if lock else limit)
    if most is None:
        return None
    tally = read_tally(session, batch_id)
    in_hand = tally.counts[JobState.LEASED]
    image = _image_cost(session, batch_id)
    return Purse(most, tally.nanodollars, in_hand, image, tenant=None)


def _purse_of_tenant(
    session: Session, batch_id: UUID, tenant: str, now: datetime, *, lock: bool
) -> Purse | None:
    budget = session.get(
        TenantBudget, tenant, with_for_update=True if lock else None, populate_existing=lock
    )
    if budget is None:
        return None
    spent = tenant_spending(session, tenant, first_day(BudgetPeriod(budget.period), now))
    leased = select(func.count()).select_from(Job).join(Batch, Batch.id == Job.batch_id)
    in_hand = session.scalar(leased.where(IS_LEASED, Batch.tenant == tenant)) or 0
    image = _image_cost(session, batch_id)
    return Purse(budget.max_nanodollars, spent, in_hand, image, tenant)


def first_day(period: BudgetPeriod, now: datetime) -> date | None:
    """Return since when spending counts; None is since ever."""
    return now.date().replace(day=1) if period is BudgetPeriod.MONTH else None


def tenant_spending(session: Session, tenant: str, since: date | None) -> int:
    """Add up what a tenant's batches have cost since a day, in nano-dollars."""
    parts = union_all(
        *(
            select(table.nanodollars)
            .join(Batch, Batch.id == table.batch_id)
            .where(Batch.tenant == tenant, *([table.day >= since] if since else ()))
            for table in (CostSum, Tally)
        )
    ).subquery()
    return int(session.scalar(select(func.sum(parts.c.nanodollars))) or 0)


def _image_cost(session: Session, batch_id: UUID) -> int | None:
    drawn = [
        row.booked
        for row in read_costs(session, batch_ids=[batch_id])
        if row.kind is LedgerKind.RENDER
    ]
    images = sum(booked.entries for booked in drawn)
    return -(-sum(booked.nanodollars for booked in drawn) // images) if images else None
