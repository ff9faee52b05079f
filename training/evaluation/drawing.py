"""Drawings of contestants, made by the worker's own pipeline and kept one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from shared.domain.prompts import ImageSettings
from shared.files import atomic_file
from shared.models.card import ModelCard
from shared.version import VERSION
from training.data.dataset import Pictures
from training.evaluation.contestants import Contestant
from training.evaluation.questions import Question
from training.evaluation.watch import Watch
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.weights import weights_identity
from worker.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Manner:
    """Where and how networks run."""

    device: Device
    backend: str
    precision: str
    threads: int
    """Of the processor; 0 takes one a core."""


class Studio:
    """Draws what was not drawn before.

    A drawing is kept by the weights, the sampler, the question and what runs the networks; not by
    the size of its batch, which may change the last bit of a sum.
    """

    def __init__(self, folder: Path, manner: Manner, batch: int) -> None:
        """Open a folder.

        Args:
            folder: of drawings; it is made if need be.
            manner: where and how.
            batch: how many are drawn at once.
        """
        self._folder = folder
        self._manner = manner
        self._batch = batch
        self._weights: dict[Path, str] = {}
        self._loaded: tuple[Path, Pipeline] | None = None

    def weights(self, card: ModelCard) -> str:
        """Return what tells a model's weights from all others."""
        if card.folder not in self._weights:
            self._weights[card.folder] = weights_identity(card)
        return self._weights[card.folder]

    def draw(self, contestant: Contestant, questions: Sequence[Question], watch: Watch) -> Pictures:
        """Return drawings (N, H, W, 3), uint8, in the order of the questions.

        Raises:
            ConfigurationError: the model is broken.
        """
        paths = [self._path(contestant, question) for question in questions]
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        if missing:
            watch.begin(contestant.name, len(missing) * contestant.sampler.evaluations)
        for start in range(0, len(missing), self._batch):
            part = missing[start : start + self._batch]
            jobs = [_job(contestant, questions[index]) for index in part]
            for index, drawn in zip(
                part, self._pipeline(contestant.card).draw(jobs, check_safety=False), strict=True
            ):
                _keep(paths[index], drawn.pixels)
            watch.advance(len(part) * contestant.sampler.evaluations)
        return np.stack([_read(path) for path in paths])

    def _pipeline(self, card: ModelCard) -> Pipeline:
        if self._loaded is None or self._loaded[0] != card.folder:
            self._loaded = None  # two models at once may be more than the memory holds
            manner = self._manner
            pipeline = load_pipeline(
                card,
                manner.device,
                backend=manner.backend,
                precision=manner.precision,
                threads=manner.threads,
            )
            self._loaded = card.folder, pipeline
        return self._loaded[1]

    def _path(self, contestant: Contestant, question: Question) -> Path:
        card, manner = contestant.card, self._manner
        facts = {
            "weights": self.weights(card),
            "sampler": contestant.sampler.model_dump(mode="json"),
            "scheduler": (card.folder / "scheduler" / "scheduler_config.json").read_text("utf-8"),
            "size": [card.width, card.height],
            "manner": [str(manner.device), manner.backend, manner.precision],
            "versions": [VERSION, torch.__version__, onnxruntime.__version__],
        }
        asked = _short_hash([question.prompt, question.seed])
        return self._folder / _short_hash(facts) / f"{asked}.npz"


def _job(contestant: Contestant, question: Question) -> ImageSettings:
    card = contestant.card
    return ImageSettings(
        prompt=question.prompt,
        seed=question.seed,
        width=card.width,
        height=card.height,
        **contestant.sampler.model_dump(),
    )


def _short_hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _keep(path: Path, picture: Pictures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.savez_compressed(file, picture=picture)


def _read(path: Path) -> Pictures:
    with np.load(path) as archive:
        picture: Pictures = archive["picture"]
    return picture
