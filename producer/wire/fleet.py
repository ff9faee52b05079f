"""What the installation has: workers, models, prices, as programs see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from producer.wire.document import Document
from shared.domain.workers import WorkerState


class ServedModelOut(Document):
    """One of the models that a worker serves."""

    model: str
    queue: str
    is_loaded: bool = Field(description="Whether it is in the device's memory.")


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
    model: str = Field(description="The first of its models, which it loads at its start.")
    queue: str = Field(description="The queue of that model.")
    models: list[ServedModelOut] = Field(
        default=[], description="All that it serves, the first one first."
    )
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


class FleetWorkerOut(Document):
    """A worker on its device, as one who watches the fleet sees it."""

    worker_id: UUID
    host: str
    device: str
    device_kind: str
    device_sku: str
    device_name: str = Field(description="What it calls itself; an emulator says that it is one.")
    backend: str
    model: str = Field(description="The first of its models, which it loads at its start.")
    models: list[ServedModelOut] = Field(
        default=[], description="All that it serves, the first one first."
    )
    version: str
    state: str = Field(
        description="drawing, idle, starting, drained, stopping, silent or ended",
        examples=["drawing"],
    )
    why: str | None = Field(description="Why it draws nothing, if it is known.")
    heartbeat_at: datetime
    images_per_second: float = Field(description="Of the last five minutes.")
    busy_share: float = Field(description="Of the same time, from 0 to 1.")
    images_last_hour: int
    usd_per_hour: str | None = Field(description="By the price book; null without a price.")
    cost_usd: str = Field(description="All that was booked of it; idle time may be behind.")


class FaultyDeviceOut(Document):
    """A device that was taken out: it is seldom tried again, until a worker on it is ready."""

    host: str
    device: str
    device_kind: str
    device_sku: str
    model: str
    since: datetime
    last_seen: datetime = Field(description="When it was last tried.")
    reason: str


class KindTotalsOut(Document):
    """The devices of one kind that live workers have, and those that were taken out."""

    device_kind: str
    alive: int
    drawing: int
    faulty: int
    images_per_second: float
    busy_share: float = Field(description="Of those that are alive, on average.")
    usd_per_hour: str = Field(description="Of what they hold now, as far as it has a price.")


class FleetOut(Document):
    """The newest workers first, 200 at most."""

    workers: list[FleetWorkerOut]
    known: int = Field(description="How many there are.")
    faults: list[FaultyDeviceOut]
    kinds: list[KindTotalsOut] = Field(description="Of the workers that are listed.")
    unpriced: list[str] = Field(description="Devices without a price.")


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
