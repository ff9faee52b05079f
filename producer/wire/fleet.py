"""What the installation has: workers, models, prices, as programs see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from producer.wire.document import Document
from shared.domain.workers import WorkerState


class WorkerOut(Document):
    """One worker process, pinned to one device."""

    worker_id: UUID
    alive: bool
    state: WorkerState
    host: str
    pid: int
    device: str
    device_kind: str
    device_sku: str
    device_name: str
    backend: str
    model: str
    queue: str
    version: str
    draining: bool = Field(description="It is to take nothing more, for now or for good.")
    online_at: datetime
    started_at: datetime
    heartbeat_at: datetime
    last_claim_at: datetime | None
    stopping_at: datetime | None = Field(description="When its process was told to stop.")
    stopped_at: datetime | None


class WorkerList(Document):
    """The newest workers first."""

    workers: list[WorkerOut]


class PriceBookOut(Document):
    """What devices and the object store cost."""

    prices: list[dict[str, Any]]
    store_rates: list[dict[str, Any]]
    declared_rates: list[dict[str, Any]]


class PriceChangesOut(Document):
    """What was put into the price book."""

    recorded: bool
    changes: list[dict[str, Any]]
    corrected: dict[str, Any]


class ModelOut(Document):
    """A model that batches can ask for."""

    name: str = Field(examples=["emoji-64"])
    title: str
    licence: str
    width: int
    height: int
    sampler: dict[str, Any]
    weights: str
    note: str | None
    is_default: bool
    workers_alive: int


class ModelList(Document):
    """The default first."""

    models: list[ModelOut]
