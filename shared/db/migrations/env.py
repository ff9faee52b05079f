"""Alembic's entry: runs on the connection that ``shared.db.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from shared.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
