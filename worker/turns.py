"""Whose turn it is at a device: chunks go in one after the other, in the order they came."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WaitForTurn = Callable[[], None]

PLACES = 2
"""At a device: one chunk is in it, and one behind it makes itself ready."""


class Turns:
    """The queue at a device."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._places: deque[object] = deque()
        self._shut_until = 0.0

    @property
    def taken(self) -> int:
        """How many stand there; more than there are places while it is shut."""
        return len(self._places) + (PLACES if time.monotonic() < self._shut_until else 0)

    def shut(self, seconds: float) -> None:
        """Have chunks go to other devices for a while, where there are others."""
        self._shut_until = time.monotonic() + seconds

    @contextmanager
    def place(self) -> Iterator[WaitForTurn]:
        """Stand behind those that are there; yields what waits until they have left."""
        place = object()
        with self._changed:
            self._places.append(place)
        try:
            yield lambda: self._wait_for(place)
        finally:
            with self._changed:
                self._places.remove(place)
                self._changed.notify_all()

    def _wait_for(self, place: object) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._places[0] is place)
