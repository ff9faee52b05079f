"""One statement for many rows. Postgres is given them all as one JSON, and answers once.

To bind a row's values takes the client longer than to read them takes the server: sixteen rows
are written in a fourth of the processor time that a statement a row takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from typing import cast as as_type

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    BindParameter,
    Connection,
    Insert,
    Table,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse
from sqlalchemy.types import TypeEngine

Rows = Sequence[Mapping[str, object]]
"""The same names in each."""
Types = tuple[tuple[str, TypeEngine[Any]], ...]
"""By the names of a row's values."""


def update_each(
    connection: Connection, statement: Update, rows: Rows, of_keys: Mapping[str, str]
) -> int:
    """Run an UPDATE for each of some rows; returns how many rows of the table it changed.

    Postgres locks in no particular order: who must keep to one locks before.

    Args:
        connection: in a transaction that writes.
        statement: its parameters are the rows' values; made once, for it is remembered.
        rows: none of them concerns the same row of the table as another.
        of_keys: the columns of those parameters that are not named after theirs.
    """
    if connection.dialect.name != "postgresql":
        return connection.execute(statement, rows).rowcount
    columns = statement.table.c
    types = tuple((name, columns[of_keys.get(name, name)].type) for name in rows[0])
    return connection.execute(_update_from(statement, types), _as_json(rows)).rowcount


def insert_each(
    connection: Connection, table: Table, rows: Rows, *, once_by: str | None = None
) -> int:
    """Insert rows; returns how many.

    Args:
        connection: in a transaction that writes.
        table: whose columns the rows' values are named after.
        rows: to be.
        once_by: a unique column: rows whose value is there already are left out.
    """
    # SQLAlchemy keeps the number of rows that an INSERT makes for nobody who does not ask.
    told = {"preserve_rowcount": True}
    if connection.dialect.name != "postgresql":
        return connection.execute(_insert(table, once_by), rows, execution_options=told).rowcount
    statement = _insert_from(table, tuple(rows[0]), once_by)
    return connection.execute(statement, _as_json(rows), execution_options=told).rowcount


def _as_json(rows: Rows) -> Mapping[str, str]:
    return {"given": to_json(rows).decode()}


def _given(types: Types) -> TableValuedAlias:
    """Return the rows as a table, with their values as its columns."""
    given = cast(bindparam("given", type_=Text), JSON)
    rows = func.json_to_recordset(given).table_valued(*(column(*one) for one in types))
    return rows.render_derived(name="given", with_types=True)


@cache
def _update_from(statement: Update, types: Types) -> Update:
    columns = _given(types).c

    def given(element: ExternallyTraversible, **_: object) -> ExternallyTraversible | None:
        return columns.get(element.key) if isinstance(element, BindParameter) else None

    return as_type("Update", replacement_traverse(statement, {}, given))


@cache
def _insert(table: Table, once_by: str | None) -> Insert:
    insert = sqlite.insert(table)
    return insert.on_conflict_do_nothing(index_elements=[once_by]) if once_by else insert


@cache
def _insert_from(table: Table, names: tuple[str, ...], once_by: str | None) -> Insert:
    given = _given(tuple((name, table.c[name].type) for name in names))
    insert = postgresql.insert(table).from_select(names, select(*given.c))
    return insert.on_conflict_do_nothing(index_elements=[once_by]) if once_by else insert
