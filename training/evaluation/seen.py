"""Features of pictures, kept in a folder: a set of pictures is looked at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from shared.files import atomic_file
from training.data.dataset import Pictures
from training.evaluation.watch import Watch
from training.quality.features import SIDE, WEIGHTS_SHA256, features, load_network

_CHUNK = 128


class Eye:
    """Looks at pictures with the frozen network, which is loaded when it is first needed."""

    def __init__(self, folder: Path) -> None:
        """Open a folder of features; it is made if need be."""
        self._folder = folder

    def features(self, what: str, pictures: Pictures, watch: Watch) -> Tensor:
        """Return features (N, 1280) of pictures (N, H, W, 3), uint8.

        Args:
            what: the pictures are, in words.
            pictures: the pictures.
            watch: told of the progress.

        Raises:
            ConfigurationError: the network is not installed.
        """
        path = self._folder / f"{_key(pictures)}.safetensors"
        if not path.is_file():
            watch.begin(f"features of {what}", len(pictures))
            found = torch.cat(list(self._look(pictures, watch)))
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                file.write(save({"features": found}))
        return load_file(path)["features"]

    def _look(self, pictures: Pictures, watch: Watch) -> Iterator[Tensor]:
        for start in range(0, len(pictures), _CHUNK):
            part = pictures[start : start + _CHUNK]
            yield features(self._network, part)
            watch.advance(len(part))

    @cached_property
    def _network(self) -> Any:
        return load_network()


def _key(pictures: Pictures) -> str:
    facts = f"{WEIGHTS_SHA256} {SIDE} {pictures.shape}".encode()
    return hashlib.sha256(facts + pictures.tobytes()).hexdigest()[:24]
