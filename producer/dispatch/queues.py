"""The queues that workers read, and what their workers are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Text, case, cast, func, select, text
from sqlalchemy.orm import Session

from shared.db.fleet import is_alive
from shared.db.model_tables import WorkerModel
from shared.db.tables import Worker
from shared.domain.sizes import Sizes, as_sizes, common_sizes


@dataclass(frozen=True, slots=True)
class Readers:
    """The workers that take jobs from a queue; of one device kind and model."""

    queue: str
    model: str
    device_kind: str
    count: int
    device_names: frozenset[str]
    sizes: Sizes
    """What all of them can draw."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that workers read."""

    readers: Readers
    room: int
    """How many more chunks it may hold."""
    unclaimed: Mapping[UUID, UUID]
    """Chunks that nobody has claimed for a while, and their batches."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.readers.queue


def read_readers(session: Session, now: datetime, silence: timedelta) -> list[Readers]:
    """Find the queues that live workers take jobs from, one for each of their models.

    The database counts them: of ten thousand workers that are alike it tells one row.
    """
    # A worker of an older version says nothing of its models, and has one.
    says_nothing = WorkerModel.worker_id.is_(None)
    found = (
        select(
            func.coalesce(WorkerModel.queue, Worker.queue).label("queue"),
            func.coalesce(WorkerModel.model, Worker.model).label("model"),
            Worker.device_kind,
            Worker.device_name,
            cast(case((says_nothing, Worker.sizes), else_=WorkerModel.sizes), Text).label("sizes"),
        )
        .select_from(Worker)
        .outerjoin(WorkerModel, WorkerModel.worker_id == Worker.id)
        .where(is_alive(now, silence), Worker.draining.is_(False))
        .subquery()
    )
    counted = select(*found.c, func.count()).group_by(*found.c).order_by(*found.c)
    with _joined_by_hash(session):
        rows = [_Alike._make(row) for row in session.execute(counted)]
    return [_readers(queue, list(alike)) for queue, alike in groupby(rows, attrgetter("queue"))]


@contextmanager
def _joined_by_hash(session: Session) -> Iterator[None]:
    """Keep Postgres from looking through all models for each worker.

    Of a fleet that has just come it has counted nothing, and takes it for one worker.
    """
    is_postgres = session.get_bind().dialect.name == "postgresql"
    if is_postgres:
        session.execute(text("SET LOCAL enable_nestloop = off"))
    yield
    if is_postgres:
        session.execute(text("SET LOCAL enable_nestloop = on"))


class _Alike(NamedTuple):
    """Workers that read a queue and are alike."""

    queue: str
    model: str
    device_kind: str
    device_name: str
    sizes: str | None
    """As JSON."""
    workers: int


def _readers(queue: str, reading: Sequence[_Alike]) -> Readers:
    return Readers(
        queue,
        reading[0].model,
        reading[0].device_kind,
        sum(alike.workers for alike in reading),
        frozenset(alike.device_name for alike in reading),
        common_sizes(_sizes(alike.sizes) for alike in reading),
    )


def _sizes(told: str | None) -> Sizes:
    return None if told is None else as_sizes(json.loads(told))
