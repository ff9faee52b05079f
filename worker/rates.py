"""What images take, added up in memory until the heartbeat writes it down."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from shared.domain.rates import NANOSECONDS_SQUARED, Measured, Shape

NEWS_EVERY_SECONDS = 0.2


class ImageTime(NamedTuple):
    """What an image that was drawn and stored took on the device."""

    shape: Shape
    device_ns: int


class RateLog:
    """Sums by shape. Who draws adds to them, and the heartbeat's thread takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._next_news = 0.0
        self._measured: dict[Shape, Measured] = {}

    def add_chunk(self, images: Sequence[ImageTime], tried: int, wall_ns: int) -> None:
        """Add the images that came of a chunk.

        Args:
            images: what each took on the device.
            tried: how many jobs were tried; each has an equal share of the time.
            wall_ns: from the claim to the last publication.
        """
        with self._lock:
            for image in images:
                one = Measured(
                    images=1,
                    device_ns=image.device_ns,
                    device_ms_squared=image.device_ns**2 // NANOSECONDS_SQUARED,
                    wall_ns=wall_ns // tried,
                )
                self._add(image.shape, one)
        if images:
            self._news.set()

    @contextmanager
    def taken(self) -> Iterator[Mapping[Shape, Measured]]:
        """Hand out what is new; if the block fails, it is as new as before."""
        with self._lock:
            taken, self._measured = self._measured, {}
        try:
            yield taken
        except BaseException:
            with self._lock:
                for shape, sums in taken.items():
                    self._add(shape, sums)
            raise

    def wait(self, seconds: float) -> None:
        """Wait so long, or until a chunk is drawn.

        An idle worker may be ended at once, and what it has not written down is lost. Chunks
        end the wait five times a second at most.
        """
        pause = min(seconds, max(0.0, self._next_news - time.monotonic()))
        time.sleep(pause)
        if self._news.wait(seconds - pause):
            self._news.clear()
            self._next_news = time.monotonic() + NEWS_EVERY_SECONDS

    def _add(self, shape: Shape, sums: Measured) -> None:
        known = self._measured.get(shape)
        self._measured[shape] = sums if known is None else known + sums
