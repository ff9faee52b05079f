"""The table that says which code may use this database."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base

ONLY_ROW = 1


class Compatibility(Base):
    """One row, raised by each migration that breaks the code before it."""

    __tablename__ = "compatibility"
    __table_args__ = (CheckConstraint(f"id = {ONLY_ROW}", name="only_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    oldest_revision: Mapped[str] = mapped_column(String(32))
    """Code that knows this migration can read and write all tables as they are now."""
