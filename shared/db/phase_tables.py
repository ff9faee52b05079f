"""The table of how long phases of images took."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base


class PhaseTime(Base):
    """How many images had a phase that took so long, and how long together.

    Added up over all workers: a row a worker would make as many as there ever were workers, and
    if they were deleted, a count that falls. A worker adds to one of some shares, so that few
    write to the same row.
    """

    __tablename__ = "phase_time"

    share: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    device_kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    phase: Mapped[str] = mapped_column(String(32), primary_key=True)
    most_ns: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """How long it took at most; see `shared.domain.phases.PhaseBucket`."""
    images: Mapped[int]
    nanoseconds: Mapped[int]
