"""What one worker process holds: its model, its database, its store, its sign of life."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import renew_leases
from shared.db.lost_leases import release_worker
from shared.db.prices import price_in_force
from shared.db.rates import record_rates
from shared.db.tables import Worker
from shared.domain.prompts import ImageSettings
from shared.messaging.contracts import queue_name
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from shared.version import VERSION
from worker.backends.base import BackendRecord
from worker.devices import Device
from worker.drawing import Draws
from worker.quick_imports import import_diffusers_without_compiler
from worker.rates import RateLog
from worker.simulated import simulated_pipeline

log = structlog.get_logger()


@dataclass(slots=True)
class InHand:
    """What the worker is at, for the heartbeat's thread to see."""

    chunk_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """Made once a process, after its device is pinned."""

    worker_id: UUID
    settings: Settings
    database: Database
    store: ObjectStore
    pipeline: Draws[Any]
    drawn_by: BackendRecord
    load_ns: int
    in_hand: InHand
    images_per_pass: int
    """How many images go through the device at once, where they fit."""
    fits: dict[tuple[int, int], int]
    """How many were found to fit, by width and height."""
    rates: RateLog

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts without a heartbeat."""
        return timedelta(seconds=self.settings.lease_seconds)


def start_runtime(settings: Settings, worker_id: UUID) -> Runtime:
    """Load and warm up the model, then register the worker: from then on it gets work.

    Raises:
        ConfigurationError: the model or the device's price is missing.
        ServiceUnavailableError: the database does not answer.
    """
    device = Device.parse(settings.device)
    card = load_card(settings.model, settings.resolved_models_dir)
    # A process that is frozen within a transaction must not keep its locks for ever.
    database = Database(settings.resolved_database_url, idle_seconds=settings.lease_seconds)
    database.check()
    with database.read() as session:
        online_at = database.now(session)
        price_in_force(session, device.kind, settings.device_sku, online_at)
    load = _loader(settings, device, database)
    begin = time.perf_counter_ns()
    pipeline = load(card, device)
    _warm_up(pipeline, card)
    runtime = Runtime(
        worker_id=worker_id,
        settings=settings,
        database=database,
        store=open_store(settings),
        pipeline=pipeline,
        drawn_by=pipeline.describe(),
        load_ns=time.perf_counter_ns() - begin,
        in_hand=InHand(),
        images_per_pass=_images_per_pass(settings, device),
        fits={},
        rates=RateLog(),
    )
    _register(runtime, device, card, online_at)
    threading.Thread(target=_beat, args=(runtime,), name="heartbeat", daemon=True).start()
    return runtime


def take_back_from_predecessor(settings: Settings, worker_id: UUID) -> bool:
    """Free the jobs of a process that drew under this id before and has died.

    Returns:
        False when there was none.
    """
    database = Database(settings.resolved_database_url)
    try:
        with database.write() as session:
            if session.get(Worker, worker_id) is None:
                return False
            release_worker(session, worker_id, database.now(session), settings.max_attempts)
    finally:
        database.close()
    return True


def stop_runtime(runtime: Runtime) -> None:
    """Record the worker's orderly end."""
    with runtime.rates.taken() as measured, runtime.database.write() as session:
        now = runtime.database.now(session)
        record_rates(session, runtime.worker_id, measured, now)
        mark_stopped(session, runtime.worker_id, now)
    runtime.database.close()


def _loader(
    settings: Settings, device: Device, database: Database
) -> Callable[[ModelCard, Device], Draws[Any]]:
    """Import what the device takes; that is no model's loading yet, and costs no batch."""
    if device.kind == "simulated":
        return partial(simulated_pipeline, settings=settings, database=database)
    import_diffusers_without_compiler()
    # It imports torch, which a simulated device does without.
    from worker.loading import load_pipeline

    return partial(
        load_pipeline,
        backend=settings.backend,
        precision=settings.precision,
        threads=settings.cpu_threads,
    )


def _images_per_pass(settings: Settings, device: Device) -> int:
    # A processor is busy with one image, and an image drawn alone is the same to the bit.
    return settings.images_per_pass or (1 if device.kind == "cpu" else settings.chunk_size)


def _warm_up(pipeline: Draws[Any], card: ModelCard) -> None:
    settings = card.sampler.model_copy(update={"steps": 1, "squeeze": None})
    blank = ImageSettings(
        prompt="", seed=0, width=card.width, height=card.height, **settings.model_dump()
    )
    pipeline.draw_prepared(pipeline.prepare([blank]))


def _register(runtime: Runtime, device: Device, card: ModelCard, online_at: datetime) -> None:
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
            )
        )


def _beat(runtime: Runtime) -> None:
    """Renew this worker's leases, and tell what images take, for as long as the process lives."""
    worker_id, in_hand = runtime.worker_id, runtime.in_hand
    while True:
        runtime.rates.wait(runtime.settings.heartbeat_seconds)
        try:
            with runtime.rates.taken() as measured, runtime.database.write() as session:
                now = runtime.database.now(session)
                renew_leases(session, worker_id, now, runtime.lease, in_hand.chunk_id)
                record_rates(session, worker_id, measured, now)
        except SQLAlchemyError as error:
            log.warning("heartbeat_failed", worker_id=str(worker_id), error=str(error))
