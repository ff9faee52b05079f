"""The table of what is to be drawn, in device time, for whoever sizes a fleet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base

ALL = ""
"""Device kind and model of the row of all jobs. It is there when nothing is to be drawn too:
a table without rows could not tell that from a dispatcher that has stopped."""


class BacklogRow(Base):
    """What devices of one kind would take for all jobs of one model that are to be drawn.

    The dispatcher that leads writes the table anew every few seconds. Of several kinds of a
    model these are alternatives: each row tells of all its jobs.
    """

    __tablename__ = "backlog"

    device_kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    jobs: Mapped[int]
    """Pending or leased, of active batches."""
    device_ns: Mapped[int]
    """Zero where no rate is known, and in the row of all jobs."""
    unrated_jobs: Mapped[int]
    """Those that `device_ns` does not tell of: all of them, or none."""
    written_at: Mapped[datetime]
