"""Whether drawings show what was asked for: the recall of `training.evaluate`, a drawing each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.autoencoder import as_tensor
from training.data.captions import STYLES, with_article
from training.data.dataset import Dataset, Pictures
from training.evaluate import nearest
from training.quality.intervals import Values

_AMONG = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A concept in a style, and the seed that it is drawn with."""

    label: str
    style: str
    seed: int

    @property
    def prompt(self) -> str:
        """What is asked for, in words."""
        return f"{with_article(self.label)}, {STYLES[self.style][0]}"


@dataclass(frozen=True, slots=True)
class Hits:
    """1 for a drawing that is right, 0 for one that is not, (N,) each."""

    concept: Values
    concept_among_five: Values
    style: Values


def core_questions(dataset: Dataset, every: int) -> list[Asked]:
    """Return each `every`-th core concept in every style, each with a seed of its own."""
    labels = sorted({row.label for row in dataset.rows if row.core})[::every]
    pairs = [(label, style) for label in labels for style in STYLES]
    return [Asked(label, style, seed) for seed, (label, style) in enumerate(pairs)]


def hits(drawn: Pictures, asked: Sequence[Asked], dataset: Dataset) -> Hits:
    """Look for the pictures nearest to drawings (N, H, W, 3), uint8, in the order asked for."""
    found = nearest(as_tensor(drawn), as_tensor(dataset.images), _AMONG).tolist()
    rows = [[dataset.rows[place] for place in places] for places in found]
    pairs = list(zip(asked, rows, strict=True))
    return Hits(
        concept=np.array([row[0].label == one.label for one, row in pairs], np.float64),
        concept_among_five=np.array(
            [any(near.label == one.label for near in row) for one, row in pairs], np.float64
        ),
        style=np.array(
            [row[0].label == one.label and row[0].style == one.style for one, row in pairs],
            np.float64,
        ),
    )
