"""What comes out of a pipeline, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from shared.db.outcomes import PhaseTimes
from shared.domain.prompts import ImageSettings
from worker.backends.base import BackendRecord


@dataclass(frozen=True, slots=True)
class Drawing:
    """One image, what is known of it, and what it took."""

    pixels: npt.NDArray[np.uint8]
    """(height, width, 3)."""
    timesteps: list[float]
    times: PhaseTimes
    prompt_lost: str = ""
    """The end of the prompt that the text encoder had no room for."""
    negative_prompt_lost: str = ""
    is_flagged: bool | None = None
    """The safety checker's verdict; None when nobody looked."""
    peak_bytes: int = 0
    """Most memory of the device that its batch took; 0 where the device does not tell."""


@dataclass(slots=True)
class DeviceUse:
    """Since when a device is free, for all that is drawn on it, by whichever model."""

    free_since_ns: int = 0
    """Of `time.perf_counter_ns`."""


Prepared = TypeVar("Prepared")
"""What a batch's draughtsman makes of it beforehand."""


class Draws(Protocol[Prepared]):
    """A loaded model on a device."""

    def prepare(self, jobs: Sequence[ImageSettings]) -> Prepared:
        """Make ready a batch of images that share size, scheduler, steps, squeeze and quality.

        May be called while another batch is being drawn, by another thread.
        """
        ...

    def draw_prepared(self, prepared: Prepared, *, check_safety: bool = True) -> list[Drawing]:
        """Draw what was prepared, in its order; by one thread at a time."""
        ...

    @property
    def compiled_sizes(self) -> Sequence[tuple[int, int]] | None:
        """Width and height in pixels of the only images that it draws; None is any."""
        ...

    def describe(self) -> BackendRecord:
        """Tell what draws."""
        ...
