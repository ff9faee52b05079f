"""What was spent, and what would be, as programs see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from producer.wire.batches import RejectsOut
from producer.wire.document import BATCH_ID, Document


class BillLineOut(Document):
    """What was spent on one thing."""

    kind: str = Field(examples=["render"])


class BillOut(Document):
    """What a batch cost; the lines add up to the total."""

    batch_id: UUID = Field(examples=[BATCH_ID])
    lines: list[BillLineOut]
    device_seconds: float
    idle_seconds: float
    total_nanodollars: int
    total_usd: str
    fully_loaded_nanodollars: int
    fully_loaded_usd: str
    per_image: dict[str, Any] | None
    prices: list[dict[str, Any]]
    devices: list[str] = Field(examples=[["NVIDIA L4"]])
    quote: dict[str, Any] | None


class CostReportOut(Document):
    """What was spent, and on what."""

    by: str
    groups: list[dict[str, Any]]
    others: dict[str, Any] | None = Field(description="The groups after the limit, as one.")
    idle_for_nobody: dict[str, Any] | None
    groups_overlap: bool
    total: dict[str, Any]
    total_nanodollars: int
    total_usd: str
    waste: list[dict[str, Any]]


class QuotesOut(Document):
    """What prompts would cost."""

    model: str
    images: int
    shapes: list[dict[str, Any]]
    rejected: RejectsOut
    prices: list[dict[str, Any]]
    quotes: list[dict[str, Any]]
