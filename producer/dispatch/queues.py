"""The queues that workers read, and what their workers are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, Text, and_, cast, exists, func, select, union_all
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
    takes_jobs = and_(is_alive(now, silence), Worker.draining.is_(False))
    names_its_first = exists().where(
        WorkerModel.worker_id == Worker.id, WorkerModel.model == Worker.model
    )
    # A worker of an older version says nothing of its models, and has one.
    found = union_all(
        _reading(WorkerModel)
        .join(WorkerModel, WorkerModel.worker_id == Worker.id)
        .where(takes_jobs),
        _reading(Worker).where(takes_jobs, ~names_its_first),
    ).subquery()
    counted = select(*found.c, func.count()).group_by(*found.c).order_by(*found.c)
    rows = map(_Alike._make, session.execute(counted))
    return [_readers(queue, list(alike)) for queue, alike in groupby(rows, attrgetter("queue"))]


class _Alike(NamedTuple):
    """Workers that read a queue and are alike."""

    queue: str
    model: str
    device_kind: str
    device_name: str
    sizes: str | None
    """As JSON."""
    workers: int


def _reading(told_by: type[Worker | WorkerModel]) -> Select[str, str, str, str, str]:
    return select(
        told_by.queue,
        told_by.model,
        Worker.device_kind,
        Worker.device_name,
        cast(told_by.sizes, Text).label("sizes"),
    ).select_from(Worker)


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
