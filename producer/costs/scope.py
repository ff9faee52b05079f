"""Which part of the books is asked about, and what is in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.costs.idle import share_out_idle
from shared.db.cost_sums import CostRow, booked_workers, read_costs, read_costs_by
from shared.db.prices import MissingPriceError, price_steps
from shared.db.settlement import online_until
from shared.db.tables import Batch, Worker

DAY = "day"
MOST_NAMED = 5_000
"""Ids in one statement; of more, everything is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is asked about; what is None does not matter."""

    batch_id: UUID | None = None
    since: date | None = None
    """The first day, in UTC."""
    until: date | None = None
    """The last day."""
    tenant: str | None = None
    tag: tuple[str, str] | None = None
    """Key and value."""

    @property
    def end(self) -> datetime:
        """The first moment that is no longer asked about."""
        if self.until is None:
            return datetime.max.replace(tzinfo=UTC)
        return datetime.combine(self.until + timedelta(days=1), time(), UTC)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id) if self.batch_id else None,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "tenant": self.tenant,
            "tag": self.tag and "=".join(self.tag),
        }


class Settled(NamedTuple):
    """How far the idle time of the workers in a scope is in the books."""

    until: datetime | None
    """Up to when all of it is; None when none is missing."""
    at_work: int
    """Workers that go on, whose idle time since then is missing."""
    ended: int
    """Workers that have ended, and the same."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "idle_booked_until": self.until and self.until.isoformat(),
            "workers_at_work": self.at_work,
            "workers_ended_unsettled": self.ended,
        }


class ScopedCosts(NamedTuple):
    """What was booked in a scope."""

    rows: Sequence[CostRow]
    """Idle time is shared out; none is missing and none is there twice."""
    workers: Mapping[UUID, Worker]
    """Those in the rows and, if no batch is chosen, those that were online."""
    settled: Settled


def read_scope(session: Session, scope: Scope, column: str | None = None) -> ScopedCosts:
    """Read the sums of the books in a scope, never the books.

    Of chosen batches it is what was booked for them, and their shares of idle time.

    Args:
        session: reads.
        scope: what is asked about.
        column: ``worker_id`` or ``day`` if nothing else of the rows matters: then they are few
            where no batch is chosen, and of no batch.

    Raises:
        MissingPriceError: the device of a worker has no price: what it cost is not known.
    """
    chosen = _chosen(session, scope)
    if chosen is not None:
        rows = _of_batches(session, scope, chosen)
    elif column is not None:
        rows = list(read_costs_by(session, column, since=scope.since, until=scope.until))
    else:
        rows = _everything(session, scope)
    in_rows = {row.worker_id for row in rows if row.worker_id is not None}
    if chosen is None and column == DAY:
        in_rows = booked_workers(session, scope.since, scope.until)
    known = select(Worker)
    if chosen is not None and len(in_rows) <= MOST_NAMED:
        known = known.where(Worker.id.in_(in_rows))
    workers = {
        worker.id: worker
        for worker in session.scalars(known)
        if worker.id in in_rows or (chosen is None and _was_online(worker, scope))
    }
    require_prices(session, workers.values())
    return ScopedCosts(rows, workers, _settled(workers.values(), scope))


def require_prices(session: Session, workers: Iterable[Worker]) -> None:
    """Make sure that each worker's device had a price when it went online.

    Raises:
        MissingPriceError: it had none.
    """
    first_online: dict[tuple[str, str], datetime] = {}
    for worker in workers:
        device = (worker.device_kind, worker.device_sku)
        first_online[device] = min(first_online.get(device, worker.online_at), worker.online_at)
    for (kind, sku), online_at in sorted(first_online.items()):
        steps = price_steps(session, kind, sku)
        if not steps or steps[0].effective_from > online_at:
            raise MissingPriceError(kind, sku)


def _chosen(session: Session, scope: Scope) -> set[UUID] | None:
    """Return the batches that are asked about, or None for all."""
    if scope.batch_id is None and scope.tenant is None and scope.tag is None:
        return None
    batches = select(Batch.id, Batch.tags)
    if scope.batch_id is not None:
        batches = batches.where(Batch.id == scope.batch_id)
    if scope.tenant is not None:
        batches = batches.where(Batch.tenant == scope.tenant)
    found = session.execute(batches)
    return {
        batch_id
        for batch_id, tags in found
        if scope.tag is None or "=".join(scope.tag) in tag_names(tags)
    }


def tag_names(tags: Mapping[str, Any] | None) -> list[str]:
    """Write a batch's tags as ``key=value``."""
    return [f"{key}={value}" for key, value in (tags or {}).items()]


def _everything(session: Session, scope: Scope) -> list[CostRow]:
    return share_out_idle(read_costs(session, since=scope.since, until=scope.until))


def _of_batches(session: Session, scope: Scope, batch_ids: Collection[UUID]) -> list[CostRow]:
    """Read what their workers did at all, which idle time is shared by, and keep what is theirs."""
    few = batch_ids if len(batch_ids) <= MOST_NAMED else None
    own = read_costs(session, batch_ids=few, since=scope.since, until=scope.until)
    drawn = [row for row in own if row.worker_id is not None and row.batch_id in batch_ids]
    rows = [row for row in own if row.worker_id is None]
    if drawn:
        worker_ids = {row.worker_id for row in drawn if row.worker_id is not None}
        all_work = read_costs(
            session,
            worker_ids=worker_ids if len(worker_ids) <= MOST_NAMED else None,
            since=min(row.day for row in drawn),
            until=max(row.day for row in drawn),
        )
        # Nothing is taken from both statements, which are not of the same moment.
        rows += share_out_idle(row for row in all_work if row.worker_id is not None)
    return [row for row in rows if row.batch_id in batch_ids]


def _was_online(worker: Worker, scope: Scope) -> bool:
    is_early_enough = worker.online_at < scope.end
    return is_early_enough and (scope.since is None or online_until(worker).date() >= scope.since)


def _settled(workers: Iterable[Worker], scope: Scope) -> Settled:
    behind = [
        worker
        for worker in workers
        if worker.settled_until != online_until(worker) and _booked_until(worker) < scope.end
    ]
    return Settled(
        min(map(_booked_until, behind), default=None),
        at_work=sum(worker.stopped_at is None for worker in behind),
        ended=sum(worker.stopped_at is not None for worker in behind),
    )


def _booked_until(worker: Worker) -> datetime:
    return worker.settled_until or worker.online_at
