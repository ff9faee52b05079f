"""When a worker's process has served long enough, and how it has another take its place.

Libraries and drivers leak. A process that ends in order between two chunks, before the host
ends it in the middle of one, loses nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from shared.settings import Settings, starter_pid

SIGNAL = signal.SIGUSR2
"""With it the process that draws asks Celery's parent process to recycle them both."""
STATM = Path("/proc/self/statm")


class Recycling:
    """Says when; of the process that draws."""

    def __init__(self, settings: Settings) -> None:
        self._after_images = settings.recycle_after_images
        self._over_bytes = settings.recycle_over_bytes

    def is_due(self, images_drawn: int) -> str | None:
        """Return why the process should end now, or None.

        Args:
            images_drawn: by this process, since it was started.
        """
        if self._after_images and images_drawn >= self._after_images:
            return f"it has drawn {images_drawn:,} images"
        if self._over_bytes and (held := resident_bytes()) > self._over_bytes:
            return f"it holds {held:,} bytes of memory"
        return None


def resident_bytes() -> int:
    """Return how much memory this process has in RAM; elsewhere than on Linux, had at most."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * resource.getpagesize()


def ask_for_recycling() -> None:
    """Have Celery's parent process end as on SIGTERM, and say that it was recycled.

    The caller goes on until it is ended: from then on the worker drains.
    """
    os.kill(starter_pid(), SIGNAL)


def watch_for_recycling() -> Callable[[], bool]:
    """Have this process, Celery's parent, end in order once it is asked to be recycled.

    Returns:
        Tells whether it was.
    """
    asked: list[int] = []
    parent = os.getpid()

    def end(_signal: int, _frame: FrameType | None) -> None:
        # Its child has this handler too, until the child's first instruction of its own.
        if os.getpid() == parent and not asked:
            asked.append(parent)
            os.kill(parent, signal.SIGTERM)

    signal.signal(SIGNAL, end)
    return lambda: bool(asked)
