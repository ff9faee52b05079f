"""Notices what webhooks are to be told: ends of batches, and budgets that are spent.

Several servers may look at once. Whoever gets the lock of a batch writes down in one
transaction that it is announced and what is to be delivered; the others see the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, and_, literal, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from producer.amounts import usd
from producer.batch_documents import request_document
from producer.dispatch.queries import batches_over_budget
from producer.status import BatchSummary, summaries
from producer.webhooks.events import EventType, who_hears, write_event
from shared.db.api_tables import BatchRequest, Webhook
from shared.db.batches import is_finished
from shared.db.budgets import Purse, purse_of
from shared.db.conditions import IS_OVER_BUDGET
from shared.db.cost_tables import TenantBudget
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import NOTHING, read_tallies
from shared.domain.budgets import BudgetPeriod
from shared.domain.identifiers import NOBODY
from shared.domain.jobs import BatchControl
from shared.domain.requests import RequestState

AT_ONCE = 500
"""Batches that one look reads the counts of; the next look goes on from there."""

BEGIN = ("", NOBODY)

Announce = Callable[[Session, UUID, datetime], None]


class Announcer:
    """Looks, again and again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = BEGIN
        """Up to this batch the last look has read the counts."""

    def look(self) -> None:
        """Write down what is to be told and was not yet."""
        with self._database.read() as session:
            if not _anybody_hears(session):
                return
            now = self._database.now(session)
            ended = self._ended(session)
            refused = _never_began(session)
            spent = _out_of_money(session, now)
        self._announce(announce_end, ended)
        self._announce(announce_refusal, refused)
        self._announce(announce_budget, spent)

    def _ended(self, session: Session) -> Sequence[UUID]:
        found = session.execute(_unannounced(self._after)).all()
        self._after = (found[-1].tenant, found[-1].id) if len(found) == AT_ONCE else BEGIN
        candidates = [row.id for row in found]
        tallies = read_tallies(session, candidates)
        return [one for one in candidates if is_finished(tallies.get(one, NOTHING).counts)]

    def _announce(self, announce: Announce, batch_ids: Sequence[UUID]) -> None:
        for batch_id in batch_ids:
            with self._database.write() as session:
                announce(session, batch_id, self._database.now(session))


def _anybody_hears(session: Session) -> bool:
    active = select(Webhook.id).where(Webhook.disabled_at.is_(None))
    return session.scalar(active.limit(1)) is not None


def _heard_of() -> Any:
    """Select the tenants that have webhooks, and the first batch that one of these is told of."""
    other = aliased(Webhook)
    goes_before = or_(
        other.first_batch < Webhook.first_batch,
        and_(other.first_batch == Webhook.first_batch, other.id < Webhook.id),
    )
    others = select(other.id).where(
        other.tenant == Webhook.tenant, other.disabled_at.is_(None), goes_before
    )
    return (
        select(Webhook.tenant, Webhook.first_batch.label("first"))
        .where(Webhook.disabled_at.is_(None), ~others.exists())
        .subquery()
    )


def _unannounced(after: tuple[str, UUID]) -> Select[UUID, str]:
    heard_of = _heard_of()
    # Of a batch that was asked for, files may be written after its images.
    under_way = select(BatchRequest.id).where(
        BatchRequest.id == Batch.id, BatchRequest.ended_at.is_(None)
    )
    return (
        select(Batch.id, Batch.tenant)
        .join(heard_of, and_(heard_of.c.tenant == Batch.tenant, Batch.id >= heard_of.c.first))
        .where(
            Batch.end_announced_at.is_(None),
            Batch.submitted_at.is_not(None),
            tuple_(heard_of.c.tenant, Batch.id)
            > tuple_(literal(after[0]), literal(after[1], Uuid())),
            ~under_way.exists(),
        )
        # By the webhooks' tenants: SQLite begins with these, and not with all batches.
        .order_by(heard_of.c.tenant, Batch.id)
        .limit(AT_ONCE)
    )


def _never_began(session: Session) -> Sequence[UUID]:
    heard_of = _heard_of()
    is_heard = and_(heard_of.c.tenant == BatchRequest.tenant, BatchRequest.id >= heard_of.c.first)
    query = select(BatchRequest.id).join(heard_of, is_heard).where(*NEVER_BEGAN)
    return session.scalars(query.order_by(BatchRequest.id).limit(AT_ONCE)).all()


NEVER_BEGAN: tuple[ColumnElement[bool], ...] = (
    BatchRequest.ended_at.is_not(None),
    BatchRequest.in_progress_at.is_(None),
    BatchRequest.end_announced_at.is_(None),
)


def _out_of_money(session: Session, now: datetime) -> Sequence[UUID]:
    heard_of = _heard_of()
    held = list(batches_over_budget(session, None))
    found: list[UUID] = []
    for some in _in_parts(held):
        query = select(Batch.id).join(heard_of, heard_of.c.tenant == Batch.tenant)
        found += session.scalars(query.where(Batch.id.in_(some), _budget_is_news(now)))
    return found


def _in_parts(batch_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(batch_ids), AT_ONCE):
        yield batch_ids[start : start + AT_ONCE]


def _budget_is_news(now: datetime) -> ColumnElement[bool]:
    """Tell whether it was not announced yet, or for the money of a month that is over."""
    monthly = select(TenantBudget.tenant).where(
        TenantBudget.tenant == Batch.tenant, TenantBudget.period == BudgetPeriod.MONTH
    )
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    was_before = and_(Batch.budget_announced_at < month, monthly.exists())
    return or_(Batch.budget_announced_at.is_(None), was_before)


def announce_end(session: Session, batch_id: UUID, now: datetime) -> None:
    """Write down that a batch has ended, unless that was done or is no longer so."""
    batch = _locked(session, batch_id, Batch.end_announced_at.is_(None))
    if batch is None:
        return
    summary = summaries(session, [batch])[0]
    request = session.get(BatchRequest, batch_id)
    if not summary.is_finished or (request is not None and request.ended_at is None):
        return
    batch.end_announced_at = now
    kind = _kind_of_end(summary, request)
    data = _describe(batch, summary, request)
    _tell(session, batch.tenant, kind, data, now, batch_id)


def _kind_of_end(summary: BatchSummary, request: BatchRequest | None) -> EventType:
    if request is not None and request.state == RequestState.EXPIRED:
        return EventType.EXPIRED
    was_called_off = summary.control is BatchControl.CANCELLED
    return EventType.CANCELLED if was_called_off else EventType.FINISHED


def announce_refusal(session: Session, batch_id: UUID, now: datetime) -> None:
    """Write down that nothing came of a batch that was asked for."""
    query = select(BatchRequest).where(BatchRequest.id == batch_id, *NEVER_BEGAN)
    request = session.scalar(query.with_for_update(skip_locked=True))
    if request is None:
        return
    request.end_announced_at = now
    has_failed = request.state == RequestState.FAILED
    if not has_failed and session.get(Batch, batch_id) is not None:
        return  # called off while it was read: its jobs have an end of their own
    kind = EventType.FAILED if has_failed else EventType.CANCELLED
    document = request_document(request)
    data = {name: document[name] for name in OF_A_BATCH} | _files_of(request)
    _tell(session, request.tenant, kind, data, now, batch_id)


def announce_budget(session: Session, batch_id: UUID, now: datetime) -> None:
    """Write down that a batch waits for money, unless that was done or it has some again."""
    batch = _locked(session, batch_id, _budget_is_news(now))
    held = select(Job.id).where(Job.batch_id == batch_id, IS_OVER_BUDGET).limit(1)
    if batch is None or session.scalar(held) is None:
        return
    purse = purse_of(session, batch_id, now)
    if purse is None or not purse.is_spent:
        return  # the dispatcher is about to let go of them
    batch.budget_announced_at = now
    summary = summaries(session, [batch])[0]
    request = session.get(BatchRequest, batch_id)
    data = _describe(batch, summary, request) | {"budget": _budget(purse)}
    _tell(session, batch.tenant, EventType.BUDGET_SPENT, data, now, batch_id)


def _locked(session: Session, batch_id: UUID, condition: ColumnElement[bool]) -> Batch | None:
    """Lock a batch; one that somebody is changing comes at a later look."""
    query = select(Batch).where(Batch.id == batch_id, condition)
    found: Batch | None = session.scalar(query.with_for_update(skip_locked=True))
    return found


def _tell(
    session: Session,
    tenant: str,
    kind: EventType,
    data: dict[str, Any],
    now: datetime,
    batch_id: UUID,
) -> None:
    webhooks = who_hears(session, tenant, kind, batch_id)
    write_event(session, webhooks, kind, data, now, batch_id=batch_id)


OF_A_BATCH = (
    *("batch_id", "name", "tenant", "model", "priority", "state", "control", "created_at"),
    *("total", "counts", "cost_nanodollars", "cost_usd", "max_cost_usd", "tags", "errors"),
)


def _describe(batch: Batch, summary: BatchSummary, request: BatchRequest | None) -> dict[str, Any]:
    most = batch.max_nanodollars
    spent = summary.cost_nanodollars or 0
    document = {
        **summary.to_json(),
        "tenant": batch.tenant,
        "cost_nanodollars": spent,
        "cost_usd": usd(spent),
        "max_cost_usd": None if most is None else usd(most),
        "tags": batch.tags or {},
        "errors": [],
    }
    return {name: document[name] for name in OF_A_BATCH} | _files_of(request)


def _files_of(request: BatchRequest | None) -> dict[str, Any]:
    """Name the files of results that were written for it, as far as there are any."""
    output, errors = (
        (None, None) if request is None else (request.output_file_id, request.error_file_id)
    )
    return {
        "output_file_id": output and str(output),
        "error_file_id": errors and str(errors),
    }


def _budget(purse: Purse) -> dict[str, Any]:
    return {
        "of": "batch" if purse.tenant is None else "tenant",
        "max_nanodollars": purse.max_nanodollars,
        "max_usd": usd(purse.max_nanodollars),
        "spent_nanodollars": purse.spent_nanodollars,
        "spent_usd": usd(purse.spent_nanodollars),
    }
