"""The tables of what workers serve beside their first model, and of what loading took."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base
from shared.domain.identifiers import new_id


class WorkerModel(Base):
    """One of the models of a worker; its first has a row too, but for workers before 0015."""

    __tablename__ = "worker_model"
    __table_args__ = (Index("ix_worker_model_model", "model"),)

    worker_id: Mapped[UUID] = mapped_column(
        ForeignKey("worker.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    queue: Mapped[str] = mapped_column(String(256))
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    """Hash of the weights that it draws with; None until they were loaded once."""
    sizes: Mapped[list[list[int]] | None] = mapped_column(JSON(none_as_null=True))
    """Width and height of the only images that it can draw, as was known when it was loaded."""
    loaded_at: Mapped[datetime | None]
    """Since when it is in the device's memory; None while it is not."""
    load_ns: Mapped[int] = mapped_column(default=0)
    """How long it took to load and warm up, the last time; 0 before there was one."""


class ModelLoad(Base):
    """One loading of a model after the worker's start, and the batch that caused it."""

    __tablename__ = "model_load"
    __table_args__ = (Index("ix_model_load_worker", "worker_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    worker_id: Mapped[UUID] = mapped_column(ForeignKey("worker.id", ondelete="CASCADE"))
    batch_id: Mapped[UUID]
    model: Mapped[str] = mapped_column(String(256))
    loaded_at: Mapped[datetime]
    load_ns: Mapped[int]
