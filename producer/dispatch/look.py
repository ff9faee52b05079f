"""What the dispatcher sees before it does anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from producer.dispatch.fairness import OpenBatch
from producer.dispatch.queries import Waiting
from producer.dispatch.queues import Queue
from producer.dispatch.upkeep import Chores


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the database, without writing, has found."""

    led: bool
    """Whether we led before, so that nobody else can have sent anything since."""
    queues: Sequence[Queue]
    open_batches: Sequence[OpenBatch]
    has_expired_leases: bool
    abandoned: Sequence[str]
    chores: Chores

    def batches_for(self, queue: Queue) -> list[OpenBatch]:
        """Return those whose jobs a queue's workers can do; none while it is full."""
        if queue.room <= 0:
            return []
        return [batch for batch in self.open_batches if batch.model == queue.readers.model]

    @property
    def finds_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(
            self.has_expired_leases
            or self.abandoned
            or self.chores.is_any
            or any(queue.unclaimed or self.batches_for(queue) for queue in self.queues)
        )


def abandoned(
    waiting: Mapping[str, Waiting], read: Collection[str], moment: datetime
) -> Sequence[str]:
    """Return the queues where jobs wait since ``moment`` that none of these workers reads."""
    return [
        queue
        for queue, of_queue in waiting.items()
        if queue not in read and of_queue.oldest_at is not None and of_queue.oldest_at < moment
    ]
