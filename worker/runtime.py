"""What draws on one device: its models, its database, its store."""

from __future__ import annotations

import gc
import importlib
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any
from uuid import UUID

from shared.db.engine import Database
from shared.db.model_tables import WorkerModel
from shared.db.pass_rates import RememberedPasses
from shared.db.prices import price_in_force
from shared.db.tables import Worker
from shared.domain.devices import SIMULATED
from shared.domain.prompts import ImageSettings
from shared.domain.rates import Shape
from shared.domain.sampling import one_step
from shared.messaging.contracts import queue_name
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from shared.version import VERSION
from worker.backends.base import BackendRecord, Manner
from worker.bookkeeper import Bookkeeper
from worker.devices import Device
from worker.drawing import DeviceUse, Draws
from worker.host_memory import keep_freed_memory
from worker.in_hand import InHand
from worker.model_cache import Fits, LoadedModel, ModelCache
from worker.news import News
from worker.outbox import Outbox
from worker.quick_imports import import_diffusers_without_compiler
from worker.rates import RateLog
from worker.simulated import simulated_pipeline
from worker.slow_store import SlowStore
from worker.terms import Terms
from worker.traces import ChunkTrace
from worker.turns import Turns


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker: one device and what it takes to draw on it, by one of its models.

    A chunk is drawn by a copy that has the chunk's model and trace; all else is shared.
    """

    worker_id: UUID
    settings: Settings
    database: Database
    store: ObjectStore
    models: ModelCache
    model: LoadedModel
    """At first that which the worker loaded at its start."""
    device_kind: str
    terms: dict[tuple[UUID, Shape], Terms]
    """Of batches, for images of a shape; the same for all devices of the process."""
    news: News
    outbox: Outbox
    bookkeeper: Bookkeeper
    passes: RememberedPasses = field(default_factory=RememberedPasses)
    """How many images are best drawn at once."""
    in_hand: InHand = field(default_factory=InHand)
    turns: Turns = field(default_factory=Turns)
    """The queue of chunks at the device."""
    preparer: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="prepare")
    )
    """Makes ready the next pass while one is in the device."""
    trace: ChunkTrace | None = None
    """Of the chunk, where that is recorded."""

    @property
    def pipeline(self) -> Draws[Any]:
        """What draws, while its model is in memory."""
        return self.model.pipeline

    @property
    def drawn_by(self) -> BackendRecord:
        """What the records of its images say."""
        return self.model.drawn_by

    @property
    def load_ns(self) -> int:
        """How long its model took to load and warm up."""
        return self.model.load_ns

    @property
    def fits(self) -> Fits:
        """How many images were found to fit at once, by width and height."""
        return self.model.fits

    @property
    def rates(self) -> RateLog:
        """What its model's images take."""
        return self.model.rates

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
    fits: dict[str, Fits]
    """By model."""
    news: News
    outbox: Outbox
    bookkeeper: Bookkeeper
    writes_down: Lock = field(default_factory=Lock)
    """Held by whoever writes down what the devices have measured."""


def share(settings: Settings, devices: int) -> Shared:
    """Open what so many devices of a process need.

    Raises:
        ServiceUnavailableError: the database does not answer.
    """
    keep_freed_memory()
    # A process that is frozen within a transaction must not keep its locks for ever.
    # All that it does there is tried again after an outage.
    database = Database(
        settings.resolved_database_url, idle_seconds=settings.lease_seconds, pings=False
    )
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
    """Load and warm up the first model, then register the worker: from then on it gets work.

    The others are loaded when their first chunk comes: nobody pays for what nobody asked for.

    Raises:
        ConfigurationError: a model or the device's price is missing.
    """
    settings, database = shared.settings, shared.database
    cards = served_cards(settings)
    with database.read() as session:
        online_at = database.now(session)
        price_in_force(session, device.kind, settings.device_sku, online_at)
    opens = _opener(settings, device, database)
    # What was imported stays: from now on no search for garbage goes through it.
    gc.freeze()
    models = ModelCache(cards, device, opens, settings.model_memory_bytes, shared.fits)
    runtime = Runtime(
        worker_id=worker_id,
        settings=settings,
        database=database,
        store=_store(shared, device),
        models=models,
        model=models.load(cards[0].name),
        device_kind=device.kind,
        terms=shared.terms,
        news=shared.news,
        outbox=shared.outbox,
        bookkeeper=shared.bookkeeper,
    )
    _register(runtime, device, online_at)
    return runtime


def _store(shared: Shared, device: Device) -> ObjectStore:
    """Return the store, further away for simulated devices where the settings say so."""
    seconds = shared.settings.simulated_store_seconds
    return (
        SlowStore(shared.store, seconds) if seconds and device.kind == SIMULATED else shared.store
    )


def served_cards(settings: Settings) -> Sequence[ModelCard]:
    """Return the cards of the models that a worker serves, each once.

    Raises:
        ConfigurationError: one is missing.
    """
    cards = [load_card(name, settings.resolved_models_dir) for name in settings.served_models]
    return list({card.name: card for card in cards}.values())


def _opener(
    settings: Settings, device: Device, database: Database
) -> Callable[[ModelCard], Draws[Any]]:
    """Return what loads a model on the device and warms it up."""
    load = _loader(settings, device, database)

    def opens(card: ModelCard) -> Draws[Any]:
        pipeline = load(card, device)
        if device.kind != SIMULATED:
            _warm_up(pipeline, card)
        return pipeline

    return opens


def _loader(
    settings: Settings, device: Device, database: Database
) -> Callable[[ModelCard, Device], Draws[Any]]:
    """Import what the device takes; that is no model's loading yet, and costs no batch."""
    import_engine(settings, device)
    if device.kind == SIMULATED:
        return partial(simulated_pipeline, settings=settings, database=database)
    from worker.loading import load_pipeline

    return partial(
        load_pipeline,
        backend=settings.backend,
        precision=settings.precision,
        threads=settings.cpu_threads,
        manner=_manner(settings),
        clock=DeviceUse(),
    )


def _manner(settings: Settings) -> Manner:
    if settings.torch_compile:
        return "compiled"
    return "fused" if settings.winograd else "plain"


def import_engine(settings: Settings, device: Device) -> None:
    """Import what draws on a device: torch and diffusers, which a simulated one does without."""
    if device.kind == SIMULATED:
        return
    if not settings.torch_compile:
        import_diffusers_without_compiler()
    importlib.import_module("worker.loading")


def _warm_up(pipeline: Draws[Any], card: ModelCard) -> None:
    settings = one_step(card.sampler)
    blank = ImageSettings(
        prompt="", seed=0, width=card.width, height=card.height, **settings.model_dump()
    )
    pipeline.draw_prepared(pipeline.prepare([blank]))


def listed_sizes(model: LoadedModel) -> list[list[int]] | None:
    """Return width and height of the only images that a model draws; None is any."""
    sizes = model.pipeline.compiled_sizes
    return None if sizes is None else [list(size) for size in sizes]


def _register(runtime: Runtime, device: Device, online_at: datetime) -> None:
    first, sizes = runtime.model, listed_sizes(runtime.model)
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
                model=first.name,
                queue=queue_name(device.kind, first.name),
                version=VERSION,
                weights_sha256=runtime.drawn_by.weights_sha256,
                online_at=online_at,
                started_at=now,
                heartbeat_at=now,
                polled_at=now,
                load_ns=runtime.load_ns,
                sizes=sizes,
            )
        )
        session.flush()
        for name in runtime.models.cards:
            is_first = name == first.name
            session.add(
                WorkerModel(
                    worker_id=runtime.worker_id,
                    model=name,
                    queue=queue_name(device.kind, name),
                    weights_sha256=first.drawn_by.weights_sha256 if is_first else None,
                    sizes=sizes if is_first else None,
                    loaded_at=now if is_first else None,
                    load_ns=first.load_ns if is_first else 0,
                )
            )
