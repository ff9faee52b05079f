"""When a worker's process has served long enough.

Libraries and drivers leak. A process that ends in order between two chunks, before the host
ends it in the middle of one, loses nothing.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from shared.settings import Settings
from worker.host_memory import return_freed_memory

STATM = Path("/proc/self/statm")


class Recycling:
    """Says when."""

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
        if self._over_bytes and resident_bytes() > self._over_bytes:
            # What it keeps for the next pass is no leak.
            return_freed_memory()
            if (held := resident_bytes()) > self._over_bytes:
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
