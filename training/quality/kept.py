"""What was drawn and timed, kept in a folder: a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from shared.files import atomic_file, ensure_writable
from shared.models.card import TINY_VAE, ModelCard
from training.data.dataset import Pictures
from training.quality.fidelity import Asked
from training.quality.variants import Variant
from worker.devices import processor_name
from worker.models.weights import hash_weights, weights_identity

_TIMES = "times.jsonl"
"""A line a round: seconds of a batch by the key of the way that drew it."""


class Kept:
    """Drawings and times of one model's ways.

    Each way has a key of all that decides its drawings but tenstep's own code: after a change
    of the engine the folder is to be removed.
    """

    def __init__(
        self, folder: Path, card: ModelCard, asked: Sequence[Asked], *, batch: int, threads: int
    ) -> None:
        """Open a folder, which is made if need be.

        Args:
            folder: of nobody else.
            card: of the model.
            asked: the questions.
            batch: how many are drawn at once, which decides the last bit of a sum.
            threads: of the processor, which decide it too.

        Raises:
            InputError: the folder cannot be written to.
        """
        ensure_writable(folder)
        self._folder = folder
        tiny = card.folder / TINY_VAE
        self._tiny = hash_weights(tiny) if card.has_tiny_decoder else None
        self._common = {
            "weights": weights_identity(card),
            "sampler": card.sampler.model_dump(mode="json"),
            "asked": [(one.prompt, one.seed) for one in asked],
            "batch": batch,
            "threads": threads,
            "processor": processor_name(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        }
        self._keys: dict[Variant, str] = {}

    def has(self, variant: Variant, start: int) -> bool:
        """Tell whether the batch that begins with a question was drawn in a way."""
        return self._path(variant, start).is_file()

    def keep(self, variant: Variant, start: int, pictures: Pictures) -> None:
        """Keep a batch, (N, H, W, 3), uint8."""
        path = self._path(variant, start)
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, pictures)

    def pictures(self, variant: Variant, start: int) -> Pictures:
        """Return a batch that was kept."""
        pictures: Pictures = np.load(self._path(variant, start))
        return pictures

    def keep_round(self, seconds: Mapping[Variant, float]) -> None:
        """Keep what each way took for the same batch."""
        line = json.dumps({self._key(variant): taken for variant, taken in seconds.items()})
        with (self._folder / _TIMES).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def rounds(self, variants: Sequence[Variant]) -> list[dict[str, float]]:
        """Return the rounds in which all of these ways were timed: seconds by a way's name."""
        path = self._folder / _TIMES
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        keys = {variant.name: self._key(variant) for variant in variants}
        found = [json.loads(line) for line in lines]
        return [
            {name: taken[key] for name, key in keys.items()}
            for taken in found
            if taken.keys() >= set(keys.values())
        ]

    def _path(self, variant: Variant, start: int) -> Path:
        return self._folder / self._key(variant) / f"{start:06}.npy"

    def _key(self, variant: Variant) -> str:
        if variant not in self._keys:
            folder = variant.folder
            facts = {
                **self._common,
                "shortcuts": variant.shortcuts.model_dump(mode="json"),
                "tiny": self._tiny if variant.shortcuts.tiny_decoder else None,
                "exported": None if folder is None else hash_weights(folder),
            }
            text = json.dumps(facts, sort_keys=True)
            self._keys[variant] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._keys[variant]
