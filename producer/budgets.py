"""Budgets as their owners set and see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from producer.amounts import usd
from shared.db.budgets import first_day, tenant_spending
from shared.db.cost_tables import TenantBudget
from shared.db.tables import Batch
from shared.db.tallies import read_tally
from shared.domain.budgets import BudgetPeriod
from shared.domain.jobs import JobState


@dataclass(frozen=True, slots=True)
class BudgetView:
    """What somebody may spend, and has spent."""

    batch_id: str | None
    tenant: str
    period: BudgetPeriod
    max_nanodollars: int | None
    """None is no limit."""
    spent_nanodollars: int
    held: int | None = None
    """Jobs of the batch that are held, for want of money or of approval."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        most = self.max_nanodollars
        return {
            "batch_id": self.batch_id,
            "tenant": self.tenant,
            "period": self.period.value,
            "max_nanodollars": most,
            "max_usd": None if most is None else usd(most),
            "spent_nanodollars": self.spent_nanodollars,
            "spent_usd": usd(self.spent_nanodollars),
            "held": self.held,
        }


def set_batch_budget(session: Session, batch: Batch, max_nanodollars: int | None) -> None:
    """Say what a batch may cost; the dispatcher holds its jobs, or lets them go on."""
    session.refresh(batch, with_for_update=True)
    batch.max_nanodollars = max_nanodollars
    batch.budget_announced_at = None  # when it is spent again, that is news
    session.flush()


def set_tenant_budget(
    session: Session,
    tenant: str,
    max_nanodollars: int | None,
    period: BudgetPeriod,
    now: datetime,
) -> None:
    """Say what a tenant's batches may cost together; None lifts the limit."""
    budget = session.get(TenantBudget, tenant, with_for_update=True)
    session.execute(  # when that is spent again, it is news too
        update(Batch)
        .where(Batch.tenant == tenant, Batch.budget_announced_at.is_not(None))
        .values(budget_announced_at=None),
        execution_options={"synchronize_session": False},
    )
    if max_nanodollars is None:
        if budget is not None:
            session.delete(budget)
    elif budget is None:
        session.add(
            TenantBudget(tenant=tenant, max_nanodollars=max_nanodollars, period=period, set_at=now)
        )
    else:
        budget.max_nanodollars, budget.period, budget.set_at = max_nanodollars, period, now
    session.flush()


def batch_budget(session: Session, batch: Batch) -> BudgetView:
    """Return a batch's own budget."""
    tally = read_tally(session, batch.id)
    return BudgetView(
        str(batch.id),
        batch.tenant,
        BudgetPeriod.EVER,
        batch.max_nanodollars,
        tally.nanodollars,
        tally.counts[JobState.HELD],
    )


def tenant_budget(session: Session, tenant: str, now: datetime) -> BudgetView:
    """Return a tenant's budget, or what it has spent without one."""
    budget = session.get(TenantBudget, tenant)
    period = BudgetPeriod.EVER if budget is None else BudgetPeriod(budget.period)
    most = None if budget is None else budget.max_nanodollars
    spent = tenant_spending(session, tenant, first_day(period, now))
    return BudgetView(None, tenant, period, most, spent)


def all_budgets(session: Session, now: datetime) -> Sequence[BudgetView]:
    """Return every budget that is set: tenants' first, then batches' from the newest on."""
    tenants = session.scalars(select(TenantBudget.tenant).order_by(TenantBudget.tenant)).all()
    limited = select(Batch).where(Batch.max_nanodollars.is_not(None)).order_by(Batch.id.desc())
    return [
        *(tenant_budget(session, tenant, now) for tenant in tenants),
        *(batch_budget(session, batch) for batch in session.scalars(limited)),
    ]
