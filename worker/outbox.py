"""Images on their way from the device to the store and the books, while it draws the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 32
THREADS_A_DEVICE = 4
IMAGES_A_DEVICE = 16
"""How far the store and the books may fall behind a device before it has to wait for them."""


class Outbox:
    """Does things in the background, a bounded number of them: whoever brings more waits."""

    def __init__(self, devices: int) -> None:
        """Begin with nothing.

        Args:
            devices: how many bring images.
        """
        threads = min(MOST_THREADS, THREADS_A_DEVICE * devices)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="publish")
        self._most = IMAGES_A_DEVICE * devices
        self._on_their_way = 0
        self._room = threading.Condition()

    @property
    def on_their_way(self) -> int:
        """How many were brought and are not over."""
        return self._on_their_way

    def put(self, work: Callable[[Callable[[], None]], None]) -> None:
        """Have something done; waits while too much is on its way already.

        Args:
            work: raises nothing, and calls what it is given when all is over: at once or later,
                from any thread.
        """
        with self._room:
            self._room.wait_for(lambda: self._on_their_way < self._most)
            self._on_their_way += 1
        self._threads.submit(work, self._is_over)

    def close(self) -> None:
        """Wait until the threads have done their part, and end them."""
        self._threads.shutdown()

    def _is_over(self) -> None:
        with self._room:
            self._on_their_way -= 1
            self._room.notify()
