"""What images take, added up in memory until the heartbeat writes it down."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from shared.db.outcomes import PHASES, PhaseTimes
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.phases import PhaseBucket, PhaseSum, PhaseSums, bound_of
from shared.domain.rates import NANOSECONDS_SQUARED, Measured, Shape

KEPT_SECONDS = 30
"""How long what a busy worker measured stays in its memory."""

Sums = TypeVar("Sums", Measured, MeasuredPasses)


class ImageTime(NamedTuple):
    """What an image that was drawn and stored took on the device."""

    shape: Shape
    device_ns: int


class Taken(NamedTuple):
    """What was measured since the last time."""

    images: Mapping[Shape, Measured]
    passes: Mapping[PassSize, MeasuredPasses]
    phases: PhaseSums


class RateLog:
    """Sums by shape. Who draws adds to them, and the heartbeat's thread takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken_at = time.monotonic()
        self._images: dict[Shape, Measured] = {}
        self._passes: dict[PassSize, MeasuredPasses] = {}
        self._phases = _no_phases()

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
                self._images[image.shape] = _sum(self._images.get(image.shape), one)

    def add_pass(self, shape: Shape, images: int, device_ns: int, peak_bytes: int = 0) -> None:
        """Add a pass of which all images came.

        Args:
            shape: of its images.
            images: how many were drawn at once.
            device_ns: of all of them together.
            peak_bytes: most memory of the device meanwhile; 0 where it does not tell.
        """
        size, one = PassSize(shape, images), MeasuredPasses.of(images, device_ns, peak_bytes)
        with self._lock:
            self._passes[size] = _sum(self._passes.get(size), one)

    def add_phases(self, times: PhaseTimes) -> None:
        """Add an image that is in the books."""
        with self._lock:
            for phase, field in PHASES.items():
                nanoseconds = getattr(times, field)
                sums = self._phases[phase, bound_of(nanoseconds)]
                sums[0] += 1
                sums[1] += nanoseconds

    @property
    def is_old(self) -> bool:
        """Whether something was measured and not written down for a while."""
        return time.monotonic() - self._taken_at > KEPT_SECONDS

    @contextmanager
    def taken(self) -> Iterator[Taken]:
        """Hand out what is new; if the block fails, it is as new as before."""
        with self._lock:
            phases = {PhaseBucket(*key): PhaseSum(*sums) for key, sums in self._phases.items()}
            taken = Taken(self._images, self._passes, phases)
            self._taken_at = time.monotonic()
            self._images, self._passes, self._phases = {}, {}, _no_phases()
        try:
            yield taken
        except BaseException:
            with self._lock:
                for shape, images in taken.images.items():
                    self._images[shape] = _sum(self._images.get(shape), images)
                for size, passes in taken.passes.items():
                    self._passes[size] = _sum(self._passes.get(size), passes)
                for bucket, one in taken.phases.items():
                    sums = self._phases[bucket]
                    sums[0] += one.images
                    sums[1] += one.nanoseconds
            raise


def _no_phases() -> defaultdict[tuple[str, int], list[int]]:
    """Make sums of images and nanoseconds by phase and bound: lists, for speed."""
    return defaultdict(lambda: [0, 0])


def _sum(known: Sums | None, more: Sums) -> Sums:
    return more if known is None else known + more
