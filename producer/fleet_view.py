"""Workers as a person watches them: what each does, how busy it was, what it has cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from producer.activity import WorkerSeries, worker_series
from shared.db.activity import MINUTE
from shared.db.conditions import IS_HELD, IS_LEASED, IS_SENT, IS_UNSENT
from shared.db.device_faults import list_faults
from shared.db.fault_tables import DeviceFault
from shared.db.fleet import live_workers
from shared.db.prices import MissingPriceError, price_in_force
from shared.db.served_models import Served, models_of
from shared.db.tables import Batch, Job, Worker
from shared.domain.jobs import BatchControl
from shared.settings import Settings

MOST_SHOWN = 200
"""Workers of one view: it is sent every two seconds."""
FACTS = (
    *("id", "host", "device", "device_name", "device_kind", "device_sku"),
    *("backend", "version", "heartbeat_at"),
)
"""What is said of a worker as it registered."""
RECENT_MINUTES = 5
"""For the pace; the last of them is under way."""


class Occupation(StrEnum):
    """What a worker does."""

    DRAWING = "drawing"
    IDLE = "idle"
    STARTING = "starting"
    """It has not asked for work yet."""
    DRAINED = "drained"
    """It takes nothing more until it is resumed; it may be drawing what it has begun."""
    STOPPING = "stopping"
    """Its process was told to stop: nobody can have it go on."""
    SILENT = "silent"
    """It has given no sign for longer than a lease lasts, and nobody saw it end."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker got on in the last minutes, or since it was ready if that is less."""

    images_per_second: float
    busy_share: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class WatchedWorker:
    """One worker."""

    id: UUID
    host: str
    device: str
    device_name: str
    device_kind: str
    device_sku: str
    backend: str
    models: Sequence[Served]
    """The first is what it loaded at its start."""
    version: str
    state: Occupation
    why_idle: str | None
    """A sentence; None of one that draws, has ended or is silent."""
    heartbeat_at: datetime
    nanodollars_per_hour: int | None
    """Of its device, by the price book; None without a price."""
    series: WorkerSeries
    recent: Pace

    @property
    def model(self) -> str:
        """The first of its models."""
        return self.models[0].model

    @property
    def per_image(self) -> int | None:
        """Nano-dollars of an image, with its loads, failures and idle time; None without images."""
        return self.series.booked.total_per_image

    @property
    def mean_utilisation(self) -> float:
        """From 0 to 1, of the last hour."""
        line = self.series.utilisation
        return sum(line) / len(line)


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """All workers that are alive, together."""

    states: Mapping[Occupation, int]
    alive: int
    images: int
    """Of the last hour, by those that are shown."""
    nanodollars_per_hour: int
    """Of what they hold now, by the price book."""
    unpriced: Sequence[str]
    """Devices without a price, which are missing in that."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """Workers, the newest first, and their totals."""

    workers: Sequence[WatchedWorker]
    known: int
    """How many there are to be shown."""
    totals: FleetTotals
    faults: Sequence[DeviceFault]
    """Devices that were taken out: no worker starts, or stays, on them."""

    @property
    def is_partial(self) -> bool:
        """Whether there are more workers than those that are shown."""
        return self.known > len(self.workers)


def view_fleet(
    session: Session, settings: Settings, now: datetime, *, also_ended: bool = False
) -> FleetView:
    """Look at the fleet.

    Args:
        session: reads.
        settings: how long a worker may be silent.
        now: the time, as the database tells it.
        also_ended: show those that have ended, too.
    """
    live = live_workers(session, now, timedelta(seconds=settings.lease_seconds))
    alive = {worker.id for worker in live}
    wanted = select(Worker)
    if not also_ended:
        wanted = wanted.where(Worker.stopped_at.is_(None))
    known = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    shown = session.scalars(wanted.order_by(Worker.id.desc()).limit(MOST_SHOWN)).all()
    at_work = set(session.scalars(select(Job.worker_id).where(IS_LEASED).distinct()))
    states = {
        worker.id: _state(worker, is_alive=worker.id in alive, has_job=worker.id in at_work)
        for worker in {*live, *shown}
    }
    idle = [worker for worker in shown if states[worker.id] is Occupation.IDLE]
    models = models_of(session, shown)
    reasons = _reasons(session, [models[worker.id] for worker in idle])
    series = worker_series(session, [worker.id for worker in shown], now)
    prices = _prices(session, {*live, *shown}, now)
    workers = [
        WatchedWorker(
            **{name: getattr(worker, name) for name in FACTS},
            models=models[worker.id],
            state=states[worker.id],
            why_idle=_why_not(states[worker.id], reasons.get(_names(models[worker.id]), "")),
            nanodollars_per_hour=prices[_bought(worker)],
            series=series[worker.id],
            recent=_pace(worker, series[worker.id], now),
        )
        for worker in shown
    ]
    return FleetView(
        workers,
        known,
        FleetTotals(
            Counter(states[worker.id] for worker in live),
            len(live),
            sum(worker.series.last_hour.images for worker in workers if worker.id in alive),
            sum(prices[_bought(worker)] or 0 for worker in live),
            sorted(
                {" ".join(_bought(one)).rstrip() for one in live if prices[_bought(one)] is None}
            ),
        ),
        list_faults(session, now),
    )


def _state(worker: Worker, *, is_alive: bool, has_job: bool) -> Occupation:
    if worker.stopped_at is not None:
        return Occupation.ENDED
    if not is_alive:
        return Occupation.SILENT
    if worker.draining:
        return Occupation.DRAINED if worker.stopping_at is None else Occupation.STOPPING
    if has_job:
        return Occupation.DRAWING
    return Occupation.STARTING if worker.polled_at is None else Occupation.IDLE


def _why_not(state: Occupation, why_idle: str) -> str | None:
    reasons = {
        Occupation.IDLE: why_idle,
        Occupation.DRAINED: "It takes nothing more until it is resumed.",
        Occupation.STOPPING: "Its process was told to stop: it ends what it has begun.",
        Occupation.STARTING: "It has not asked for work yet.",
    }
    return reasons.get(state)


def _pace(worker: Worker, series: WorkerSeries, now: datetime) -> Pace:
    of_last = now.timestamp() % MINUTE
    lengths = [MINUTE] * (RECENT_MINUTES - 1) + [of_last]
    busy = series.utilisation[-RECENT_MINUTES:]
    busy_seconds = sum(share * length for share, length in zip(busy, lengths, strict=True))
    age = (now - worker.started_at).total_seconds()
    seconds = max(1.0, min(sum(lengths), age))
    images = sum(series.images[-RECENT_MINUTES:])
    return Pace(images / seconds, min(1.0, busy_seconds / seconds))


def _names(models: Sequence[Served]) -> tuple[tuple[str, str], ...]:
    """Return models and queues."""
    return tuple((served.model, served.queue) for served in models)


def _reasons(
    session: Session, idle: Sequence[Sequence[Served]]
) -> Mapping[tuple[tuple[str, str], ...], str]:
    """Tell why workers have nothing to do, by their models and queues."""
    return {names: _why_idle(session, *zip(*names, strict=True)) for names in map(_names, idle)}


def _why_idle(session: Session, models: Collection[str], queues: Collection[str]) -> str:
    its = "its model" if len(models) == 1 else "its models"
    sent = select(Job.id).where(Job.queue.in_(queues), IS_SENT).limit(1)
    if session.scalar(sent) is not None:
        return f"Jobs wait in its {'queue' if len(queues) == 1 else 'queues'}; it takes one next."
    if _has_batch(session, models, Batch.control == BatchControl.ACTIVE, IS_UNSENT):
        return f"Jobs of {its} wait for a dispatcher, or until they are tried again."
    if _has_batch(session, models, Batch.control == BatchControl.PAUSED, IS_UNSENT):
        return f"Whatever waits for {its} is paused."
    if _has_batch(session, models, Batch.control != BatchControl.CANCELLED, IS_HELD):
        return f"Whatever waits for {its} is held."
    return f"Nothing is queued for {its}."


def _has_batch(
    session: Session,
    models: Collection[str],
    control: ColumnElement[bool],
    jobs: ColumnElement[bool],
) -> bool:
    has_some = select(Job.id).where(Job.batch_id == Batch.id, jobs).exists()
    found = select(Batch.id).where(Batch.model.in_(models), control, has_some).limit(1)
    return session.scalar(found) is not None


def _bought(worker: Worker) -> tuple[str, str]:
    return worker.device_kind, worker.device_sku


def _prices(
    session: Session, workers: Collection[Worker], now: datetime
) -> Mapping[tuple[str, str], int | None]:
    """Return what an hour of each device costs that one of some workers has; None if unknown."""
    prices: dict[tuple[str, str], int | None] = {}
    for kind, sku in sorted({_bought(worker) for worker in workers}):
        try:
            prices[kind, sku] = price_in_force(session, kind, sku, now)
        except MissingPriceError:
            prices[kind, sku] = None
    return prices
