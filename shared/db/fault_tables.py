"""The table of devices that were taken out."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base


class DeviceFault(Base):
    """A device on which no worker could start or stay, so that it is seldom tried again.

    It is there until one is ready.
    """

    __tablename__ = "device_fault"

    host: Mapped[str] = mapped_column(String(256), primary_key=True)
    device: Mapped[str] = mapped_column(String(64), primary_key=True)
    device_kind: Mapped[str] = mapped_column(String(64))
    device_sku: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(256))
    """Which its workers were to draw."""
    since: Mapped[datetime]
    last_seen: Mapped[datetime]
    """When it was last tried."""
    reason: Mapped[str] = mapped_column(Text)
