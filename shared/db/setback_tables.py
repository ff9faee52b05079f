"""The table of attempts that came to nothing, counted."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base


class Setback(Base):
    """How many attempts of a worker ended with an error of one kind, or were lost.

    A row a worker and reason, so that no two workers wait for each other. It stays when its
    batches and its worker are deleted: a count that fell would be taken for a new beginning.
    """

    __tablename__ = "setback"

    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The attempt's error code."""
    is_retried: Mapped[bool] = mapped_column(primary_key=True)
    """Whether the job waits for another attempt; else it has failed."""
    attempts: Mapped[int]
