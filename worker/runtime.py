"""What draws on one device: its model, its database, its store."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from shared.db.engine import Database
from shared.db.pass_rates import RememberedPasses
from shared.db.prices import price_in_force
from shared.db.tables import Worker
from shared.domain.devices import SIMULATED
from shared.domain.pass_rates import PassSize
from shared.domain.prompts import ImageSettings
from shared.domain.rates import Shape
from shared.messaging.contracts import queue_name
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from shared.version import VERSION
from worker.backends.base import BackendRecord
from worker.bookkeeper import Bookkeeper
from worker.devices import Device
from worker.drawing import Draws
from worker.in_hand import InHand
from worker.news import News
from worker.outbox import Outbox
from worker.quick_imports import import_diffusers_without_compiler
from worker.rates import RateLog
from worker.simulated import simulated_pipeline
from worker.slow_store import SlowStore
from worker.terms import Terms
from worker.turns import Turns


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker: one device and what it takes to draw on it."""

    worker_id: UUID
    settings: Settings
    database: Database
    store: ObjectStore
    pipeline: Draws[Any]
    drawn_by: BackendRecord
    load_ns: int
    device_kind: str
    fits: dict[tuple[int, int], int]
    """How many images were found to fit at once, by width and height."""
    rates: RateLog
    terms: dict[tuple[UUID, Shape], Terms]
    """Of batches, for images of a shape; the same for all devices of the process."""
    news: News
    outbox: Outbox
    bookkeeper: Bookkeeper
    sizes_drawn: set[PassSize] = field(default_factory=set)
    """Shapes, and how many images at once, that this process has drawn before."""
    passes: RememberedPasses = field(default_factory=RememberedPasses)
    """How many images are best drawn at once."""
    in_hand: InHand = field(default_factory=InHand)
    turns: Turns = field(default_factory=Turns)
    """The queue of chunks at the device."""
    preparer: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="prepare")
    )
    """Makes ready the next pass while one is in the device."""

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts without a heartbeat."""
        return timedelta(seconds=self.settings.lease_seconds)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the devices of one process have together."""

    settings: Settings
    database: Database
    store: ObjectStore
    terms: dict[tuple[UUID, Shape], Terms]
    fits: dict[tuple[int, int], int]
    news: News
    outbox: Outbox
    bookkeeper: Bookkeeper


def share(settings: Settings, devices: int) -> Shared:
    """Open what so many devices of a process need.

    Raises:
        ServiceUnavailableError: the database does not answer.
    """
    # A process that is frozen within a transaction must not keep its locks for ever.
    database = Database(settings.resolved_database_url, idle_seconds=settings.lease_seconds)
    database.check()
    outbox = Outbox(devices)
    patience = settings.outage_patience_seconds
    return Shared(
        settings=settings,
        database=database,
        store=open_store(settings),
        terms={},
        fits={},
        news=News(),
        outbox=outbox,
        bookkeeper=Bookkeeper(database, patience, lambda: outbox.on_their_way),
    )


def start_runtime(shared: Shared, device: Device, worker_id: UUID) -> Runtime:
    """Load and warm up the model, then register the worker: from then on it gets work.

    Raises:
        ConfigurationError: the model or the device's price is missing.
    """
    settings, database = shared.settings, shared.database
    card = load_card(settings.model, settings.resolved_models_dir)
    with database.read() as session:
        online_at = database.now(session)
        price_in_force(session, device.kind, settings.device_sku, online_at)
    load = _loader(settings, device, database)
    begin = time.perf_counter_ns()
    pipeline = load(card, device)
    if device.kind != SIMULATED:
        _warm_up(pipeline, card)
    runtime = Runtime(
        worker_id=worker_id,
        settings=settings,
        database=database,
        store=_store(shared, device),
        pipeline=pipeline,
        drawn_by=pipeline.describe(),
        load_ns=time.perf_counter_ns() - begin,
        device_kind=device.kind,
        fits=shared.fits,
        rates=RateLog(),
        terms=shared.terms,
        news=shared.news,
        outbox=shared.outbox,
        bookkeeper=shared.bookkeeper,
    )
    _register(runtime, device, card, online_at)
    return runtime


def _store(shared: Shared, device: Device) -> ObjectStore:
    """Return the store, further away for simulated devices where the settings say so."""
    seconds = shared.settings.simulated_store_seconds
    return (
        SlowStore(shared.store, seconds) if seconds and device.kind == SIMULATED else shared.store
    )


def _loader(
    settings: Settings, device: Device, database: Database
) -> Callable[[ModelCard, Device], Draws[Any]]:
    """Import what the device takes; that is no model's loading yet, and costs no batch."""
    if device.kind == SIMULATED:
        return partial(simulated_pipeline, settings=settings, database=database)
    if not settings.torch_compile:
        import_diffusers_without_compiler()
    # It imports torch, which a simulated device does without.
    from worker.loading import load_pipeline

    return partial(
        load_pipeline,
        backend=settings.backend,
        precision=settings.precision,
        threads=settings.cpu_threads,
        compiles=settings.torch_compile,
    )


def _warm_up(pipeline: Draws[Any], card: ModelCard) -> None:
    settings = card.sampler.model_copy(update={"steps": 1, "squeeze": None})
    blank = ImageSettings(
        prompt="", seed=0, width=card.width, height=card.height, **settings.model_dump()
    )
    pipeline.draw_prepared(pipeline.prepare([blank]))


def _register(runtime: Runtime, device: Device, card: ModelCard, online_at: datetime) -> None:
    sizes = runtime.pipeline.compiled_sizes
    with runtime.database.write() as session:
        now = runtime.database.now(session)
        session.add(
            Worker(
                id=runtime.worker_id,
                host=platform.node(),
                pid=os.getpid(),
                device=str(device),
                device_kind=device.kind,
                device_sku=runtime.settings.device_sku,
                device_name=runtime.drawn_by.device_name,
                backend=runtime.drawn_by.backend,
                model=card.name,
                queue=queue_name(device.kind, card.name),
                version=VERSION,
                weights_sha256=runtime.drawn_by.weights_sha256,
                online_at=online_at,
                started_at=now,
                heartbeat_at=now,
                polled_at=now,
                load_ns=runtime.load_ns,
                sizes=None if sizes is None else [list(size) for size in sizes],
            )
        )
