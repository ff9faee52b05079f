"""The tables of what was done when: sums of spans of time, for lines over time."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base

IN_ORDER_OF_KEYS = {"sqlite_with_rowid": False}
"""What is of one batch, or worker, lies side by side in a SQLite file."""


class BatchActivity(Base):
    """What came of a batch in ten seconds; there is no row where nothing did."""

    __tablename__ = "batch_activity"
    __table_args__ = IN_ORDER_OF_KEYS

    batch_id: Mapped[UUID] = mapped_column(
        ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True
    )
    second: Mapped[int] = mapped_column(primary_key=True)
    """When they began, since 1970: a number, which both databases divide alike."""
    done: Mapped[int]
    """Jobs that got their image."""
    failed: Mapped[int]
    """Times that a job failed for good; to retry it takes none of them back."""
    nanodollars: Mapped[int]
    """Booked for its work."""


class WorkerActivity(Base):
    """What a worker did in a minute; kept for a day."""

    __tablename__ = "worker_activity"
    __table_args__ = (Index("ix_worker_activity_second", "second"), IN_ORDER_OF_KEYS)

    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    second: Mapped[int] = mapped_column(primary_key=True)
    """When the minute began, since 1970."""
    images: Mapped[int]
    """That were finished in it."""
    busy_ns: Mapped[int]
    """Time that the device was at work in it."""
    nanodollars: Mapped[int]
    """Booked in it for the work."""
