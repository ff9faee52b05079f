"""That there is something to write down before the next heartbeat is due."""

from __future__ import annotations

import threading
import time

NEWS_EVERY_SECONDS = 0.2


class News:
    """Threads that draw tell it, and the heartbeat's thread waits for it."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._next = 0.0

    def tell(self) -> None:
        """Have the wait end soon.

        An idle worker may be ended at once, and what it has not written down is lost.
        """
        self._told.set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until there is news; that ends the wait five times a second at most."""
        pause = min(seconds, max(0.0, self._next - time.monotonic()))
        time.sleep(pause)
        if self._told.wait(seconds - pause):
            self._told.clear()
            self._next = time.monotonic() + NEWS_EVERY_SECONDS
