"""What each job of a batch has cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from producer.amounts import seconds, usd
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import JobState

ROWS_A_FETCH = 1_000
BEFORE_ALL = -1


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
            "device_ns": self.device_ns,
            "device_seconds": seconds(self.device_ns),
            "nanodollars": self.nanodollars,
            "usd": usd(self.nanodollars),
        }


def job_costs(
    session: Session, batch: Batch, *, after: int | None = None, limit: int | None = None
) -> Iterator[JobCost]:
    """Yield what jobs have cost, in order of position; there may be millions.

    With model loads, storage and requests, which are no job's, they make up the bill.

    Args:
        session: reads; what was not taken yet is read on.
        batch: whose jobs.
        after: begin after this position; None is at the first.
        limit: how many at most; None is all.
    """
    jobs = (
        select(Job.id, Job.position, Job.custom_id, Job.state)
        .where(Job.batch_id == batch.id, Job.position > (BEFORE_ALL if after is None else after))
        .order_by(Job.position)
        .limit(limit)
        .subquery()
    )
    is_booked = and_(Attempt.job_id == jobs.c.id, Attempt.cost_nanodollars.is_not(None))
    # What a price of the past has corrected is in what its attempts cost.
    rows = select(
        *(jobs.c[name] for name in ("position", "custom_id", "state")),
        *(Attempt.device_ns, Attempt.cost_nanodollars),
    ).outerjoin_from(jobs, Attempt, is_booked)
    found = session.execute(
        rows.order_by(jobs.c.position), execution_options={"yield_per": ROWS_A_FETCH}
    )
    for position, of_job in groupby(found, attrgetter("position")):
        yield _job_cost(position, list(of_job))


def _job_cost(position: int, attempts: Sequence[Any]) -> JobCost:
    first = attempts[0]
    return JobCost(
        position,
        first.custom_id,
        JobState(first.state),
        device_ns=sum(each.device_ns or 0 for each in attempts),
        nanodollars=sum(each.cost_nanodollars or 0 for each in attempts),
    )
