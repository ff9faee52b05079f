"""What code of before a migration would miss, or trip over, in the tables that it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import inspect

from shared.db.engine import Database


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a database has it."""

    columns: Mapping[str, tuple[str, bool, bool]]
    """Type, whether it may be empty, and whether it can be left out of an INSERT."""
    unique: frozenset[tuple[str, ...]]
    """The columns of its keys, which rows may not share and ON CONFLICT may name."""
    checks: Mapping[str, str]
    references: frozenset[tuple[str, ...]]
    """Columns that must name rows of other tables."""


def tables_of(database: Database) -> Mapping[str, Table]:
    """Look at all tables."""
    inspector = inspect(database.engine)

    def look(name: str) -> Table:
        keys = [inspector.get_pk_constraint(name)["constrained_columns"]]
        keys += [
            [str(column) for column in index["column_names"]]
            for index in inspector.get_indexes(name)
            if index["unique"]
        ]
        return Table(
            columns={
                column["name"]: (
                    str(column["type"]),
                    column["nullable"],
                    column["nullable"] or column["default"] is not None,
                )
                for column in inspector.get_columns(name)
            },
            unique=frozenset(map(tuple, keys)),
            checks={
                str(check["name"]): check["sqltext"]
                for check in inspector.get_check_constraints(name)
            },
            references=frozenset(
                tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(name)
            ),
        )

    return {name: look(name) for name in inspector.get_table_names()}


def contractions(before: Mapping[str, Table], after: Mapping[str, Table]) -> Iterator[str]:
    """Say what was taken away or made stricter."""
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            yield f"{name} is gone"
            continue
        for column, is_now in old.columns.items():
            if new.columns.get(column, ("", False, False))[:2] != is_now[:2]:
                yield f"{name}.{column} is gone or of another type"
            elif is_now[2] > new.columns[column][2]:
                yield f"{name}.{column} has lost its default"
        for column in new.columns.keys() - old.columns.keys():
            if not new.columns[column][2]:
                yield f"{name}.{column} is new and cannot be left out"
        for what in ("unique", "references", "checks"):
            if getattr(old, what) != getattr(new, what):
                yield f"{name} has other constraints: {what}"
