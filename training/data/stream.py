"""Pictures with captions, streamed from shards in an order that a seed decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from shared.errors import ConfigurationError, InputError
from training import parallel
from training.data.examples import CHECK, Entry, Flaw, FlawError, Limits, Shard
from training.data.pictures import as_pixels, load_picture, square
from training.data.tally import Tally

Example = tuple[Tensor, str]
"""A picture (size, size, 3) uint8, and its caption."""

Batch = tuple[Tensor, list[str]]
"""Pictures (B, size, size, 3) uint8, and their captions."""

#: Parts that are decoded while training is at another one.
_AHEAD = 2
#: What the random numbers of a seed are for.
_SHARDS, _BUFFER, _CUT = range(3)


@dataclass(frozen=True)
class StreamSettings:
    """How examples are ordered and made into tensors."""

    image_size: int
    seed: int = 0
    #: So many examples, without their pictures, are shuffled at a time.
    shuffle_buffer: int = 8192
    random_crop: bool = False
    random_flip: bool = False
    #: More bad examples than this share are an error.
    bad_share: float = 0.05
    #: Threads that decode.
    decoders: int = 2


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place in the endless order of examples."""

    epoch: int
    index: int
    entry: Entry


class ImageTextStream:
    """Streams shards, epoch after epoch; the parts of a batch together are the whole of it.

    An epoch visits the shards in a random order, and shuffles their examples a bufferful at a time.
    The order depends on seed and epoch alone, so that any step can be gone to. To go there only
    headers and captions are read, no pictures.

    Every well-formed example has one place an epoch. Only decoding tells that a picture is broken,
    so its place stays: a good one of the same part is taken twice for it. Batches keep their size,
    and where each begins does not depend on what was decoded before.

    Memory: the buffer's captions, a few decoded parts, the keys of one shard, and the places of
    bad examples.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        settings: StreamSettings,
        limits: Limits | None = None,
    ) -> None:
        """Open a stream.

        Args:
            shards: what `open_shards` returned; the same ones in the same order in each process.
            settings: order and size.
            limits: of pictures; captions were bounded where the shards were opened.
        """
        self._shards = shards
        self._settings = settings
        self._limits = limits or Limits()
        self._length: int | None = None
        self.tally = Tally(settings.bad_share, names_flaws=parallel.state().is_main_process)

    def batches(
        self, start_step: int, batch: int, parts: Sequence[slice] = (slice(None),)
    ) -> Iterator[Batch]:
        """Yield parts of every batch from a step on, one after the other, without end.

        Args:
            start_step: number of the first batch, from 0 on.
            batch: examples a step of all processes together.
            parts: of a batch; nothing else is decoded.

        Raises:
            ConfigurationError: a part has no example.
            InputError: too many examples are bad, or there is no good one.
        """
        if not all(range(batch)[part] for part in parts):
            raise ConfigurationError(f"a batch of {batch} is too small for parts {list(parts)}")
        pending = deque[tuple[int, list[Future[Example | Flaw]]]]()
        coming = self._parts(start_step, batch, parts)
        with ThreadPoolExecutor(self._settings.decoders) as pool:
            while True:
                while len(pending) <= _AHEAD:
                    following, slots = next(coming)
                    futures = [pool.submit(self._example, slot) for slot in slots]
                    pending.append((following, futures))
                following, futures = pending.popleft()
                found = [self._counted(future.result()) for future in futures]
                yield self._filled(found, following)

    def epoch(self, number: int) -> Iterator[Example]:
        """Yield the good examples of one epoch, each once.

        Raises:
            InputError: too many examples are bad.
        """
        for index, entry in enumerate(self._order(number)):
            found = self._counted(self._example(_Slot(number, index, entry)))
            if found is not None:
                yield found

    def _parts(
        self, start_step: int, batch: int, parts: Sequence[slice]
    ) -> Iterator[tuple[int, list[_Slot]]]:
        """Yield each part's slots, and the number of the slot behind its batch."""
        slots = self._slots(start_step * batch)
        for step in count(start_step + 1):
            whole = list(islice(slots, batch))
            yield from ((step * batch, whole[part]) for part in parts)

    def _slots(self, start: int) -> Iterator[_Slot]:
        """Yield the slots from the one numbered `start` in the endless order on."""
        epoch, first = 0, 0
        while True:
            if self._length is None or start < first + self._length:
                index = -1
                for index, entry in enumerate(self._order(epoch)):
                    if first + index >= start:
                        yield _Slot(epoch, index, entry)
                self._length = index + 1
                if not self._length:
                    raise InputError("the data have no good example", hint=CHECK)
            epoch, first = epoch + 1, first + self._length

    def _order(self, epoch: int) -> Iterator[Entry]:
        """Yield all well-formed examples in an epoch's order."""
        buffer: list[Entry] = []
        turns = 0
        for shard in self._random(_SHARDS, epoch).permutation(len(self._shards)):
            for found in self._shards[shard].entries():
                if isinstance(found, Flaw):
                    self.tally.malformed(found)
                    continue
                self.tally.listed()
                buffer.append(found)
                if len(buffer) == self._settings.shuffle_buffer:
                    yield from self._shuffled(buffer, epoch, turns)
                    buffer, turns = [], turns + 1
        yield from self._shuffled(buffer, epoch, turns)

    def _shuffled(self, buffer: Sequence[Entry], epoch: int, turn: int) -> Iterator[Entry]:
        for place in self._random(_BUFFER, epoch, turn).permutation(len(buffer)):
            yield buffer[place]

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._settings.seed % 2**64, *purpose])

    def _example(self, slot: _Slot) -> Example | Flaw:
        settings, entry = self._settings, slot.entry
        place, coin = self._random(_CUT, slot.epoch, slot.index).random(2)
        try:
            image = load_picture(entry, self._limits)
        except FlawError as error:
            return error.at(entry.source, entry.example)
        cut = square(image, settings.image_size, place if settings.random_crop else 0.5)
        mirrored = settings.random_flip and coin < 0.5  # noqa: PLR2004 - half of the time
        return as_pixels(cut, mirrored=mirrored), entry.caption

    def _counted(self, found: Example | Flaw) -> Example | None:
        if isinstance(found, Flaw):
            self.tally.unreadable(found)
            return None
        self.tally.decoded()
        return found

    def _filled(self, found: Sequence[Example | None], following: int) -> Batch:
        """Make a batch; good examples, or else the next one behind, stand in for broken ones."""
        good = [example for example in found if example is not None]
        good = good or [self._next_good(following)]
        spare = 0
        examples: list[Example] = []
        for example in found:
            if example is None:
                examples.append(good[spare % len(good)])
                spare += 1
            else:
                examples.append(example)
        pictures = torch.stack([picture for picture, _ in examples])
        return pictures, [caption for _, caption in examples]

    def _next_good(self, start: int) -> Example:
        slots = self._slots(start)
        while True:
            found = self._counted(self._example(next(slots)))
            if found is not None:
                return found
