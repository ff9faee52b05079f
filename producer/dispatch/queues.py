"""The queues that workers read, and what their workers are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from shared.db.drawable_sizes import drawn_by_all
from shared.db.served_models import Served
from shared.domain.sizes import Sizes


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


def readers_of(models: Iterable[Served]) -> list[Readers]:
    """Sort workers by the queues that they read, one for each of their models."""
    by_queue: dict[str, list[Served]] = {}
    for served in models:
        by_queue.setdefault(served.queue, []).append(served)
    return [
        Readers(
            queue,
            reading[0].model,
            reading[0].worker.device_kind,
            len(reading),
            frozenset(served.worker.device_name for served in reading),
            drawn_by_all(reading),
        )
        for queue, reading in by_queue.items()
    ]
