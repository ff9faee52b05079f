"""How a database goes about what it is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPICursor

from shared.db.engine import Database

READS_JOBS = re.compile(
    r"Seq Scan on job\b|Index.* Scan using \S+ on job\b|Bitmap Index Scan on \S*job\S*"
    r"|(?:SCAN|SEARCH) job\b.*"
)


ON_JOBS = re.compile(r"^UPDATE job\b|\b(?:FROM|JOIN) job\b")


@dataclass(frozen=True, slots=True)
class Explained:
    """A statement, and the plan of it."""

    statement: str
    plan: str

    @property
    def ways(self) -> Sequence[str]:
        """The ways on which it reads jobs."""
        return READS_JOBS.findall(self.plan)


def explained(database: Database, act: Callable[[], object]) -> Sequence[Explained]:
    """Do something, and explain each statement on jobs that it took, in its own order."""
    seen: list[tuple[str, Any]] = []

    def remember(
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: Any,
        many: bool,  # noqa: FBT001 - SQLAlchemy's own signature
    ) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(database.engine, "before_cursor_execute", remember)
    act()
    event.remove(database.engine, "before_cursor_execute", remember)
    how = "EXPLAIN" if database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    plans = []
    with database.engine.connect() as connection:
        for statement, parameters in seen:
            if statement.startswith("SET LOCAL"):
                connection.exec_driver_sql(statement)
            elif ON_JOBS.search(statement):
                rows = connection.exec_driver_sql(f"{how} {statement}", parameters)
                plans.append(Explained(statement, "\n".join(str(row) for row in rows)))
    return plans
