"""The tables of money: prices, the books and their sums, budgets, measured rates."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, partial_index
from shared.domain.identifiers import NOBODY, new_id

NO_TEXT = text("''")
ANY_SKU = ""
"""Of a device whose worker does not say what exactly was bought."""


class Price(Base):
    """What an hour of a device costs from a moment on, until the next price of the same."""

    __tablename__ = "price"
    __table_args__ = (UniqueConstraint("device_kind", "sku", "effective_from"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    device_kind: Mapped[str] = mapped_column(String(64))
    sku: Mapped[str] = mapped_column(String(64), default=ANY_SKU, server_default=NO_TEXT)
    """What was bought, such as ``g5.xlarge``; empty for workers that do not say."""
    nanodollars_per_hour: Mapped[int]
    effective_from: Mapped[datetime]
    source: Mapped[str] = mapped_column(Text)
    """Where the figure is from."""
    source_date: Mapped[date | None]
    """When it was read there."""
    is_example: Mapped[bool] = mapped_column(default=False)


class StoreRate(Base):
    """What the object store costs from a moment on; without one, its use is not booked."""

    __tablename__ = "store_rate"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    nanodollars_per_gib_month: Mapped[int]
    nanodollars_per_thousand_requests: Mapped[int]
    effective_from: Mapped[datetime] = mapped_column(unique=True)
    source: Mapped[str] = mapped_column(Text)
    source_date: Mapped[date | None]


CORRECTION = "kind = 'correction'"


class LedgerEntry(Base):
    """One line of the books. Never changed; one an event."""

    __tablename__ = "ledger"
    __table_args__ = (
        UniqueConstraint("event_id"),
        Index("ix_ledger_batch", "batch_id"),
        partial_index("ix_ledger_correction", "batch_id", condition=CORRECTION),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    event_id: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(32))
    batch_id: Mapped[UUID | None]
    """None where no batch is to blame: a device's idle time."""
    job_id: Mapped[UUID | None]
    attempt_id: Mapped[UUID | None]
    worker_id: Mapped[UUID | None]
    """None where no device is: storage."""
    device_kind: Mapped[str | None] = mapped_column(String(64))
    device_ns: Mapped[int]
    nanodollars_per_hour: Mapped[int]
    quantity: Mapped[int | None]
    """What else was used: bytes kept for a day, or requests."""
    amount_nanodollars: Mapped[int]
    priced_at: Mapped[datetime]
    """The moment whose price was applied."""
    created_at: Mapped[datetime]


class CostSum(Base):
    """The sum of a batch's entries of one kind, worker and day, as far as they were folded."""

    __tablename__ = "cost_sum"
    __table_args__ = (
        Index("ix_cost_sum_worker", "worker_id"),
        Index("ix_cost_sum_day", "day"),
    )

    batch_id: Mapped[UUID] = mapped_column(primary_key=True, default=NOBODY)
    worker_id: Mapped[UUID] = mapped_column(primary_key=True, default=NOBODY)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    """In UTC."""
    entries: Mapped[int]
    device_ns: Mapped[int]
    nanodollars: Mapped[int]
    least_nanodollars: Mapped[int]
    most_nanodollars: Mapped[int]
    """Of a single entry."""


class TenantBudget(Base):
    """What a tenant's batches may cost together."""

    __tablename__ = "tenant_budget"

    tenant: Mapped[str] = mapped_column(String(128), primary_key=True)
    max_nanodollars: Mapped[int]
    period: Mapped[str] = mapped_column(String(16))
    """Whether it is anew each month."""
    set_at: Mapped[datetime]


class OfWorkerAndShape:
    """Columns of what one worker measured of images of one model and shape."""

    worker_id: Mapped[UUID] = mapped_column(
        ForeignKey("worker.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True)
    height: Mapped[int] = mapped_column(primary_key=True)
    iterations: Mapped[int] = mapped_column(primary_key=True)
    """Timesteps that are taken, which a squeeze makes fewer than the steps of the grid."""
    is_guided: Mapped[bool] = mapped_column(primary_key=True)
    """Guidance runs the denoiser on two rows an image."""
    device_ns: Mapped[int]
    device_ms_squared: Mapped[int]
    """Sum of the squares of each image's milliseconds: tells how much they vary."""
    updated_at: Mapped[datetime]


class MeasuredRate(OfWorkerAndShape, Base):
    """How long images took."""

    __tablename__ = "measured_rate"

    images: Mapped[int]
    wall_ns: Mapped[int]
    """From claim to publication, waiting included: what a finish time goes by."""


class PassRate(OfWorkerAndShape, Base):
    """How long passes of so many images took."""

    __tablename__ = "pass_rate"

    images: Mapped[int] = mapped_column(primary_key=True)
    """How many were drawn at once."""
    passes: Mapped[int]
    peak_bytes: Mapped[int]
    """Most memory of the device that one of them took; 0 where the device does not tell."""


class DeclaredRate(Base):
    """How long an image takes on a device that nobody has measured, by somebody's word."""

    __tablename__ = "declared_rate"

    device_kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(256), primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True)
    height: Mapped[int] = mapped_column(primary_key=True)
    iterations: Mapped[int] = mapped_column(primary_key=True)
    device_ns: Mapped[int]
    """Device time of an image."""
    load_ns: Mapped[int]
    """Time to load the model."""
    source: Mapped[str] = mapped_column(Text)
