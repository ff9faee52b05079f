"""What was booked, summed by batch, worker, kind and day: every report is made of these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    func,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from shared.db.adding import add_to_rows
from shared.db.cost_tables import CostSum
from shared.db.tables import Tally
from shared.domain.identifiers import NOBODY
from shared.domain.jobs import LedgerKind

KINDS = {kind.value: kind for kind in LedgerKind}
"""Looked up in a tenth of the time that an enum takes."""


class CostKey(NamedTuple):
    """What entries of one sum have in common."""

    batch_id: UUID
    """`NOBODY` for what no batch is to blame for."""
    worker_id: UUID | None
    """None where no device is involved."""
    kind: str
    day: date
    """In UTC."""


class Booked(NamedTuple):
    """Some entries of the books together."""

    entries: int
    device_ns: int
    nanodollars: int
    least_nanodollars: int | None
    """Of a single entry; None of none."""
    most_nanodollars: int | None

    @classmethod
    def sum(cls, some: Sequence[Self]) -> Self:
        """Put entries together: at least one, a million in no time."""
        if len(some) == 1:
            return some[0]
        entries, device_ns, nanodollars, least, most = zip(*some, strict=True)
        return cls(
            sum(entries),
            sum(device_ns),
            sum(nanodollars),
            min((amount for amount in least if amount is not None), default=None),
            max((amount for amount in most if amount is not None), default=None),
        )

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        """Put some more entries to these."""
        return self.sum((self, other))


class CostRow(NamedTuple):
    """A sum, with what it is the sum of."""

    batch_id: UUID | None
    worker_id: UUID | None
    kind: LedgerKind
    day: date
    booked: Booked


def read_costs(
    session: Session,
    *,
    batch_ids: Collection[UUID] | None = None,
    worker_ids: Collection[UUID] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Sequence[CostRow]:
    """Return sums of the books; in one statement, so that they are of one moment.

    Args:
        session: reads.
        batch_ids: only these; entries of no batch are left out then.
        worker_ids: only these.
        since: the first day, in UTC.
        until: the last day.
    """
    parts = union_all(
        *(_rows_of(table, batch_ids, worker_ids, since, until) for table in (CostSum, Tally))
    ).subquery()
    key = (parts.c.batch_id, parts.c.worker_id, parts.c.kind, parts.c.day)
    sums = session.execute(
        select(*key, *_sums_of(parts))
        .group_by(*key)
        .order_by(parts.c.day, parts.c.batch_id, parts.c.worker_id, parts.c.kind)
    )
    return [_cost_row(*row) for row in sums]


def read_costs_by(
    session: Session, column: str, *, since: date | None = None, until: date | None = None
) -> Sequence[CostRow]:
    """Return sums of the books of all batches together: so many rows less, and for nobody named.

    What is booked of a worker and no batch is idle time, corrections of its price too.

    Args:
        session: reads, in one statement.
        column: ``worker_id`` or ``day``: what has a row of its own. The other is unknown:
            the day is then the last one.
        since: the first day, in UTC.
        until: the last day.
    """
    parts = union_all(
        *(_rows_of(table, None, None, since, until) for table in (CostSum, Tally))
    ).subquery()
    is_idle = and_(parts.c.batch_id == NOBODY, parts.c.worker_id != NOBODY)
    named = select(
        parts,
        case((is_idle, LedgerKind.IDLE.value), else_=parts.c.kind).label("of_kind"),
        case((is_idle, 0), else_=parts.c.entries).label("counted"),
    ).subquery()
    worker_id = named.c.worker_id if column == "worker_id" else null()
    sums = [func.sum(named.c[name]) for name in ("counted", "device_ns", "nanodollars")]
    rows = session.execute(
        select(worker_id, named.c.of_kind, func.max(named.c.day), *sums).group_by(
            named.c[column], named.c.of_kind
        )
    )
    return [
        _cost_row(NOBODY, of_worker, of_kind, day, *figures, None, None)
        for of_worker, of_kind, day, *figures in rows
    ]


def booked_workers(
    session: Session, since: date | None = None, until: date | None = None
) -> set[UUID]:
    """Return the workers that anything was booked of in some days."""
    parts = union_all(
        *(_rows_of(table, None, None, since, until) for table in (CostSum, Tally))
    ).subquery()
    found = session.scalars(select(parts.c.worker_id).distinct())
    return {worker_id for worker_id in found if worker_id != NOBODY}


def read_worker_costs(
    session: Session, worker_ids: Collection[UUID]
) -> dict[UUID, dict[LedgerKind, Booked]]:
    """Return all that was booked of workers, by kind: a row each, however many batches they had."""
    parts = union_all(
        *(_rows_of(table, None, worker_ids, None, None) for table in (CostSum, Tally))
    ).subquery()
    key = (parts.c.worker_id, parts.c.kind)
    found: dict[UUID, dict[LedgerKind, Booked]] = {}
    for worker_id, kind, *figures in session.execute(select(*key, *_sums_of(parts)).group_by(*key)):
        found.setdefault(worker_id, {})[LedgerKind(kind)] = _booked(*figures)
    return found


def _sums_of(parts: Subquery) -> Sequence[ColumnElement[Any]]:
    return (
        *(func.sum(parts.c[name]) for name in ("entries", "device_ns", "nanodollars")),
        func.min(parts.c.least_nanodollars),
        func.max(parts.c.most_nanodollars),
    )


def _cost_row(
    batch_id: UUID, worker_id: UUID | None, kind: str, day: date, *figures: int | None
) -> CostRow:
    return CostRow(
        None if batch_id == NOBODY else batch_id,
        None if worker_id == NOBODY else worker_id,
        KINDS[kind],
        day,
        _booked(*figures),
    )


def _booked(
    entries: int | None,
    device_ns: int | None,
    nanodollars: int | None,
    least: int | None,
    most: int | None,
) -> Booked:
    # Postgres adds integers up to decimals.
    return Booked(int(entries or 0), int(device_ns or 0), int(nanodollars or 0), least, most)


def _rows_of(
    table: type[CostSum | Tally],
    batch_ids: Collection[UUID] | None,
    worker_ids: Collection[UUID] | None,
    since: date | None,
    until: date | None,
) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if table is Tally:
        conditions.append(Tally.kind.is_not(None))
    if batch_ids is not None:
        conditions.append(table.batch_id.in_(batch_ids))
    if worker_ids is not None:
        conditions.append(table.worker_id.in_(worker_ids))
    if since is not None:
        conditions.append(table.day >= since)
    if until is not None:
        conditions.append(table.day <= until)
    columns = (table.kind, table.day, *(getattr(table, name) for name in Booked._fields))
    worker_id = func.coalesce(table.worker_id, NOBODY).label("worker_id")
    return select(table.batch_id, worker_id, *columns).where(*conditions)


def add_to_sums(session: Session, costs: Mapping[CostKey, Booked]) -> None:
    """Add what was booked to the sums."""
    rows = [
        {**key._asdict(), "worker_id": key.worker_id or NOBODY, **booked._asdict()}
        for key, booked in costs.items()
    ]
    add_to_rows(session, CostSum, rows, least=("least_nanodollars",), most=("most_nanodollars",))
