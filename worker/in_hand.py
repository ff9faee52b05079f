"""What a device has in hand, for all threads of its worker to see."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from uuid import UUID


class InHand:
    """The chunks that are claimed and not over, and since when one of them is in the device.

    A chunk is over when it has left the device and the last of its images is in the books.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._images: dict[UUID, int] = {}
        """Of each chunk that are on their way from the device to the books."""
        self._at_device: set[UUID] = set()
        self._begun_at: float | None = None
        self._settled_at = time.monotonic()
        self.free_since_ns = 0
        """When the device had drawn its last chunk, of `time.perf_counter_ns`."""
        self.load_is_booked = False
        """Whether the model's loading is."""
        self.images_drawn = 0
        """Since the process was started."""

    @property
    def chunk_ids(self) -> Sequence[UUID]:
        """Those whose leases are to be renewed."""
        with self._changed:
            return [*self._at_device, *(self._images.keys() - self._at_device)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is claimed, drawn or on its way to the books."""
        return not self.chunk_ids

    @property
    def seconds_in_device(self) -> float:
        """How long the chunk in the device has been there; 0 if there is none."""
        begun_at = self._begun_at
        return 0.0 if begun_at is None else time.monotonic() - begun_at

    @property
    def seconds_since_settled(self) -> float:
        """How long ago all that was drawn was in the books, the idle time too."""
        return time.monotonic() - self._settled_at

    def note_settled(self) -> None:
        """All that was drawn is in the books."""
        self._settled_at = time.monotonic()

    def take(self, chunk_id: UUID) -> None:
        """A chunk is claimed."""
        with self._changed:
            self._at_device.add(chunk_id)

    def let_go(self, chunk_id: UUID) -> None:
        """It has left the device."""
        with self._changed:
            self._at_device.discard(chunk_id)

    def take_image(self, chunk_id: UUID) -> None:
        """One of its images is on its way to the books."""
        with self._changed:
            self.images_drawn += 1
            self._images[chunk_id] = self._images.get(chunk_id, 0) + 1

    def let_go_image(self, chunk_id: UUID) -> None:
        """It is in the books."""
        with self._changed:
            left = self._images.pop(chunk_id) - 1
            if left:
                self._images[chunk_id] = left
            self._changed.notify_all()

    def wait_for_images(self) -> None:
        """Wait until all that was drawn is in the books."""
        with self._changed:
            self._changed.wait_for(lambda: not self._images)

    def begin(self) -> None:
        """A chunk goes into the device."""
        self._begun_at = time.monotonic()

    def end(self) -> None:
        """It has left the device."""
        self._begun_at = None
        self.free_since_ns = time.perf_counter_ns()
