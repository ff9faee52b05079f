"""Rows that are sums: made by the first who adds to one, added to by the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, case
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db.base import Base


def add_to_row(
    session: Session,
    table: type[Base],
    key: Mapping[str, object],
    amounts: Mapping[str, Any],
    *,
    least: Collection[str] = (),
    most: Collection[str] = (),
    latest: Collection[str] = (),
) -> None:
    """Add amounts to the row of a key, or make it.

    Args:
        session: writes.
        table: whose primary key it is.
        key: by column.
        amounts: by column; the other columns of the row.
        least: of these the lesser is kept, rather than the sum.
        most: of these the greater.
        latest: of these the new one.
    """
    is_postgres = session.get_bind().dialect.name == "postgresql"
    adding = (postgresql if is_postgres else sqlite).insert(table).values(**key, **amounts)

    def combined(name: str) -> ColumnElement[Any]:
        old: ColumnElement[Any] = getattr(table, name)
        new: ColumnElement[Any] = adding.excluded[name]
        if name in least:
            return case((new < old, new), else_=old)
        if name in most:
            return case((new > old, new), else_=old)
        return new if name in latest else old + new

    changes = {name: combined(name) for name in amounts}
    session.execute(adding.on_conflict_do_update(index_elements=list(key), set_=changes))
