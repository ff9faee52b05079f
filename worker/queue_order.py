"""Which of its queues a worker looks into first, where it serves several models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CHUNKS_IN_A_ROW = 8
"""Of one model while others wait: another may have to be loaded, which takes seconds."""


class InARow:
    """Stays with a queue for some chunks while it has any, then has all others go first.

    Kombu's own order takes one message of each queue in turn, so that a device which holds one
    model at a time would load another for every chunk. The methods are those that it asks for.
    """

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._last = ""
        self._in_a_row = 0

    def update(self, queues: Iterable[str]) -> None:
        """Have other queues than before."""
        self._queues = list(queues)

    def consume(self, count: int) -> Sequence[str]:
        """Return so many queues, the one to look into first before the others."""
        return self._queues[:count]

    def rotate(self, last_used: str) -> None:
        """Note where a message came from: that queue is the first from now on, or the last."""
        if last_used not in self._queues:
            return
        self._in_a_row = self._in_a_row + 1 if last_used == self._last else 1
        self._last = last_used
        self._queues.remove(last_used)
        if self._in_a_row < CHUNKS_IN_A_ROW:
            self._queues.insert(0, last_used)
        else:
            self._in_a_row = 0
            self._queues.append(last_used)
