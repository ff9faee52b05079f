"""Rows that are sums: made by the first who adds to one, added to by the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, case
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.base import Base


def add_to_row(
    session: Session,
    table: type[Base],
    key: Mapping[str, object],
    amounts: Mapping[str, Any],
    *,
    latest: Collection[str] = (),
) -> None:
    """Add amounts to the row of a key, or make it.

    Args:
        session: writes.
        table: whose primary key it is.
        key: by column.
        amounts: by column; the other columns of the row.
        latest: of these the new one is kept, rather than the sum.
    """
    add_to_rows(session, table, [{**key, **amounts}], latest=latest)


def add_to_rows(
    session: Session,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    *,
    least: Collection[str] = (),
    most: Collection[str] = (),
    latest: Collection[str] = (),
) -> None:
    """Add amounts to rows, or make them; in the order of their keys, so that no two wait.

    Args:
        session: writes.
        table: with the keys as its primary key.
        rows: keys and amounts by column, the same columns in each; no key twice.
        least: of these the lesser is kept, rather than the sum.
        most: of these the greater.
        latest: of these the new one.
    """
    if not rows:
        return
    sums = cast("Table", table.__table__)
    key = [column.name for column in sums.primary_key]
    is_postgres = session.get_bind().dialect.name == "postgresql"
    adding = (postgresql if is_postgres else sqlite).insert(sums)

    def combined(name: str) -> ColumnElement[Any]:
        old: ColumnElement[Any] = sums.c[name]
        new: ColumnElement[Any] = adding.excluded[name]
        if name in least:
            return case((new < old, new), else_=old)
        if name in most:
            return case((new > old, new), else_=old)
        return new if name in latest else old + new

    changes = {name: combined(name) for name in rows[0] if name not in key}
    in_order = sorted(rows, key=lambda row: [row[name] for name in key])
    session.execute(adding.on_conflict_do_update(index_elements=key, set_=changes), in_order)
