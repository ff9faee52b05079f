"""Batches for a training stage, by the number of its step, from whatever source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from training import loop, parallel
from training.config import DataConfig
from training.data.captions import captions
from training.data.dataset import Dataset, Row, choose, load_dataset, sampling_weights
from training.data.deck import CAPTION_SHARES
from training.data.sources import limits_of, open_shards
from training.data.stream import Batch, ImageTextStream, StreamSettings

StepBatches = Callable[[int], Batch]
"""From a step to this process's part of its batch: pictures (B, 3, H, W) and their captions."""


def open_batches(config: DataConfig, folder: Path, seed: int, batch: int) -> StepBatches:
    """Return a function from steps to batches, which depend on nothing but its arguments.

    Args:
        config: the source.
        folder: where the data were built, of the source "emoji" alone.
        seed: of all that is random.
        batch: examples a step of all processes together.

    Raises:
        InputError: the source is not there.
    """
    if config.source == "emoji":
        return _Drawn(load_dataset(folder), config, seed, batch)
    limits = limits_of(config)
    settings = StreamSettings(
        image_size=config.image_size,
        seed=seed,
        shuffle_buffer=config.shuffle_buffer,
        random_crop=config.random_crop,
        random_flip=config.random_flip,
        bad_share=config.bad_share,
        decoders=config.decoders,
    )
    shards = open_shards(config.paths, limits, config.source)
    return _InTurn(ImageTextStream(shards, settings, limits), batch)


class _InTurn:
    """A stream, asked for one step after the other; another step than the next is gone to."""

    def __init__(self, stream: ImageTextStream, batch: int) -> None:
        self._stream = stream
        self._batch = batch
        self._next = -1
        self._batches: Iterator[Batch] = iter(())

    def __call__(self, step: int) -> Batch:
        if step != self._next:
            self._batches = self._stream.batches(step, self._batch)
        self._next = step + 1
        return next(self._batches)


class _Drawn:
    """A data set in memory; no picture is drawn twice in a batch."""

    def __init__(self, data: Dataset, config: DataConfig, seed: int, batch: int) -> None:
        self._data = data
        self._weights = sampling_weights(data, config.core_weight)
        self._seed = seed
        self._batch = batch

    def __call__(self, step: int) -> Batch:
        generator = loop.step_generator(self._seed, step)
        chosen = choose(self._weights, self._batch, generator)
        kinds, places = torch.rand((2, self._batch), generator=generator)
        ends = torch.tensor(list(CAPTION_SHARES.values())).cumsum(0)
        kinds = torch.searchsorted(ends, kinds).clamp(max=len(ends) - 1)
        state = parallel.state()
        chosen, kinds, places = (
            drawn[state.process_index :: state.num_processes] for drawn in (chosen, kinds, places)
        )
        pixels = torch.from_numpy(self._data.images[chosen.numpy()]).permute(0, 3, 1, 2)
        return pixels.float().div(127.5).sub(1.0), [
            _caption(self._data.rows[row], kind, place)
            for row, kind, place in zip(
                chosen.tolist(), kinds.tolist(), places.tolist(), strict=True
            )
        ]


def _caption(row: Row, kind: int, place: float) -> str:
    texts: Sequence[str] = list(captions(row.names, row.style).values())[kind]
    return texts[int(place * len(texts))]
