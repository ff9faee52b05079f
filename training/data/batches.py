"""Pictures by the number of a step, a part of its batch at a time: from memory or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from training import parallel
from training.config import RunConfig, StageConfig
from training.data.config import DataConfig
from training.data.dataset import choose, load_dataset, sampling_weights
from training.data.sources import limits_of, open_source
from training.data.stream import Batch, ImageTextStream, StreamSettings

StepImages = Callable[[int, slice, torch.Generator], Tensor]
"""From a step, a part of its batch and the step's generator to pictures (B, H, W, 3) uint8."""


def open_images(run: RunConfig, config: StageConfig, folder: Path) -> StepImages:
    """Return the pictures of a stage's steps, without their captions.

    Args:
        run: names the source.
        config: of the stage.
        folder: of the run, with its data.

    Raises:
        InputError: the source is not there.
    """
    if run.data.source != "emoji":
        batches = StreamedBatches(open_stream(run.data, run.seed), config)
        return lambda step, part, _: batches(step, part)[0]
    data = load_dataset(folder / "data")
    weights = sampling_weights(data, run.data.core_weight)

    def drawn(_: int, part: slice, generator: torch.Generator) -> Tensor:
        chosen = choose(weights, config.batch, generator)[part]
        return torch.from_numpy(data.images[chosen.numpy()])

    return drawn


def open_stream(config: DataConfig, seed: int, size: int | None = None) -> ImageTextStream:
    """Open the stream of a configuration.

    Args:
        config: of a source other than "emoji".
        seed: of the order, and of all else that is random.
        size: height and width of the pictures; default: the configuration's.

    Raises:
        InputError: the source is not there.
    """
    settings = StreamSettings(
        image_size=size or config.image_size,
        seed=seed,
        shuffle_buffer=config.shuffle_buffer,
        random_crop=config.random_crop,
        random_flip=config.random_flip,
        bad_share=config.bad_share,
        decoders=config.decoders,
    )
    return ImageTextStream(open_source(config), settings, limits_of(config))


class StreamedBatches:
    """A stream's batches, of which this process decodes its own parts.

    Those are asked for in turn, one step after the other; another than the next is gone to.
    """

    def __init__(self, stream: ImageTextStream, config: StageConfig) -> None:
        self._stream = stream
        self._batch = config.batch
        self._parts = parallel.parts(config.accumulate)
        self._next = -1
        self._batches: Iterator[Batch] = iter(())

    def __call__(self, step: int, part: slice) -> Batch:
        """Return a part of a step's batch: pictures (B, size, size, 3) uint8 and captions."""
        before = self._parts.index(part)
        place = step * len(self._parts) + before
        if place != self._next:
            batches = self._stream.batches(step, self._batch, self._parts)
            self._batches = islice(batches, before, None)
        self._next = place + 1
        return next(self._batches)
