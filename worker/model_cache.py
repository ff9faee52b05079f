"""The models of one device: which are in its memory, and which makes way for another.

Only the chunk that is in the device loads, so that a load overlaps with no image and neither
is counted twice. A chunk that waits behind it may hold a model that is there already, to make
itself ready; for that long the model stays.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import Any

import structlog

from shared.domain.pass_rates import PassSize
from shared.models.card import ModelCard
from worker.backends.base import BackendRecord
from worker.device_memory import free_memory, total_bytes, used_bytes, weights_bytes
from worker.devices import Device
from worker.drawing import Draws
from worker.rates import RateLog
from worker.retry import is_out_of_memory

log = structlog.get_logger()

Fits = dict[tuple[int, int], int]


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model that is in memory, or was: images on their way to the store have its record."""

    name: str
    in_memory: Draws[Any] | None
    """What draws; None when it has made way for another."""
    drawn_by: BackendRecord
    load_ns: int
    bytes_: int
    """What it takes of the device's memory."""
    fits: Fits
    """How many of its images were found to fit at once, by width and height."""
    rates: RateLog
    sizes_drawn: set[PassSize] = field(default_factory=set)
    """Shapes, and how many images at once, that it has drawn since it was loaded."""

    @property
    def pipeline(self) -> Draws[Any]:
        """What draws.

        Raises:
            RuntimeError: it is not in memory any more: nobody held it.
        """
        if self.in_memory is None:
            raise RuntimeError(f"the model {self.name} has made way for another")
        return self.in_memory


class ModelCache:
    """The models that a worker serves. Threads may hold them, and one at a time loads."""

    def __init__(
        self,
        cards: Sequence[ModelCard],
        device: Device,
        opens: Callable[[ModelCard], Draws[Any]],
        most_bytes: int,
        fits: dict[str, Fits],
    ) -> None:
        """Have none in memory.

        Args:
            cards: of the models, the first one first.
            device: theirs.
            opens: loads one and warms it up.
            most_bytes: what they may take together; 0 is as much as the device has.
            fits: lessons of memory by model, the same for all devices of the process.
        """
        self.cards: Mapping[str, ModelCard] = {card.name: card for card in cards}
        self.rates: Mapping[str, RateLog] = {name: RateLog() for name in self.cards}
        self._device = device
        self._opens = opens
        self._most_bytes = most_bytes or total_bytes(device)
        self.fits: Mapping[str, Fits] = {name: fits.setdefault(name, {}) for name in self.cards}
        self._bytes = {name: weights_bytes(card) for name, card in self.cards.items()}
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()
        self._models: dict[str, LoadedModel] = {}
        """In memory, that which was not used longest first."""

    @property
    def in_memory(self) -> Collection[str]:
        """Their names."""
        with self._changed:
            return list(self._models)

    @contextmanager
    def hold(self, name: str) -> Iterator[LoadedModel | None]:
        """Keep a model in memory while the block runs; None if it is not there."""
        with self._changed:
            model = self._models.pop(name, None)
            if model is not None:
                self._models[name] = model
                self._held[name] += 1
        try:
            yield model
        finally:
            if model is not None:
                with self._changed:
                    self._held[name] -= 1
                    self._changed.notify_all()

    def load(self, name: str) -> LoadedModel:
        """Load a model that is not there; those that were not used longest make way for it.

        Whoever calls it has the device's turn, and holds none.

        Raises:
            Exception: whatever loading raises; if there was no room, not even alone.
        """
        begin = time.perf_counter_ns()
        self._make_way(name, self._most_bytes - self._bytes[name])
        used = used_bytes(self._device)
        pipeline = self._open(name)
        # A model may take less than what others gave back meanwhile, where one did.
        taken = used_bytes(self._device) - used
        if taken > 0:
            self._bytes[name] = taken
        model = LoadedModel(
            name,
            pipeline,
            pipeline.describe(),
            time.perf_counter_ns() - begin,
            self._bytes[name],
            self.fits[name],
            self.rates[name],
        )
        with self._changed:
            self._models[name] = model
        self._make_way(name, self._most_bytes - model.bytes_)
        return model

    def drop_all_but(self, name: str) -> bool:
        """Have all other models make way; returns whether there were any."""
        return self._drop([other for other in self.in_memory if other != name])

    def _open(self, name: str) -> Draws[Any]:
        card = self.cards[name]
        try:
            return self._opens(card)
        except Exception as error:
            if not (is_out_of_memory(error) and self.in_memory):
                raise
            log.warning("model_does_not_fit", model=name, beside=self.in_memory)
            # Else what was loaded of it would stay in memory for as long as the error lives.
            clear_frames(error.__traceback__)
        self.drop_all_but(name)
        return self._opens(card)

    def _make_way(self, name: str, room: int) -> None:
        """Drop others until what they take is no more than some bytes, or none is left."""
        if not self._most_bytes:
            return
        with self._changed:
            others = [model for model in self._models.values() if model.name != name]
        taken = sum(model.bytes_ for model in others)
        going: list[str] = []
        for model in others:
            if taken <= room:
                break
            taken -= model.bytes_
            going.append(model.name)
        self._drop(going)

    def _drop(self, names: Sequence[str]) -> bool:
        for name in names:
            with self._changed:
                # Nobody holds one for longer than it takes to make a pass ready.
                self._changed.wait_for(lambda name=name: not self._held[name])  # type: ignore[misc]
                self._models.pop(name).in_memory = None
            log.info("model_dropped", model=name)
        if names:
            free_memory(self._device)
        return bool(names)
