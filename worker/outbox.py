"""Images on their way from the device to the store and the books, while it draws the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 32
THREADS_A_DEVICE = 2
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
        self._waiting = 0
        self._room = threading.Condition()

    def put(self, work: Callable[[], None]) -> None:
        """Have something done; waits while too much is waiting already.

        Args:
            work: raises nothing.
        """
        with self._room:
            self._room.wait_for(lambda: self._waiting < self._most)
            self._waiting += 1
        self._threads.submit(self._do, work)

    def close(self) -> None:
        """Finish what is there, and end the threads."""
        self._threads.shutdown()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._room:
                self._waiting -= 1
                self._room.notify()
