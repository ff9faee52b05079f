"""The queues that workers read, and what their workers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.db.drawable_sizes import drawn_by_all
from shared.db.tables import Worker
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


def readers_of(workers: Sequence[Worker]) -> list[Readers]:
    """Sort workers by the queue that they read."""
    by_queue: dict[str, list[Worker]] = {}
    for worker in workers:
        by_queue.setdefault(worker.queue, []).append(worker)
    return [
        Readers(
            queue,
            reading[0].model,
            reading[0].device_kind,
            len(reading),
            frozenset(worker.device_name for worker in reading),
            drawn_by_all(reading),
        )
        for queue, reading in by_queue.items()
    ]
