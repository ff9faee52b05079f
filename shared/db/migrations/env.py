"""Alembic's entry: runs on the connection that ``shared.db.migrate`` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

import shared.db.activity_tables
import shared.db.api_tables
import shared.db.backlog_tables
import shared.db.compatibility_table
import shared.db.cost_tables
import shared.db.fault_tables
import shared.db.model_tables
import shared.db.phase_tables
import shared.db.setback_tables
import shared.db.tables  # noqa: F401 - declares them all
from shared.db.base import Base, UtcDateTime


def _render_item(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Write our own types as SQLAlchemy's: a migration must not change with our code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render_item,
)
context.run_migrations()
