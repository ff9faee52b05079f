"""Pictures and their captions in a folder.

`images.npz` holds uint8 RGB pictures (N, size, size, 3) on white; `captions.jsonl` has one row a
picture, in the same order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.captions import captions

Pictures = npt.NDArray[np.uint8]
"""RGB, (N, height, width, 3)."""

Split = Literal["train", "held-out pair", "held-out concept"]
"""A held-out pair is a concept that training sees in other styles; a held-out concept, in none."""


@dataclass(frozen=True)
class Row:
    """One picture: what it shows, in which style, and whether training may see it."""

    index: int
    concept: str
    label: str
    style: str
    group: str
    core: bool
    names: list[str]
    split: Split


@dataclass(frozen=True)
class Dataset:
    """All pictures (N, size, size, 3) uint8 and their rows."""

    images: npt.NDArray[np.uint8]
    rows: list[Row]
    #: SHA-256 of the pictures' bytes and the rows.
    digest: str


def save_dataset(folder: Path, images: npt.NDArray[np.uint8], rows: Sequence[Row]) -> None:
    """Write `images.npz` and `captions.jsonl`, each row with an example of its captions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {**vars(row), "caption": captions(row.names, row.style)["styled"][0]},
            ensure_ascii=False,
        )
        for row in rows
    ]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "images.npz", images=images)


def load_dataset(folder: Path) -> Dataset:
    """Read what `save_dataset` wrote."""
    text = (folder / "captions.jsonl").read_text(encoding="utf-8")
    with np.load(folder / "images.npz") as archive:
        images = archive["images"]
    rows = [
        Row(**{key: value for key, value in json.loads(line).items() if key != "caption"})
        for line in text.splitlines()
    ]
    digest = hashlib.sha256(images.tobytes() + text.encode()).hexdigest()
    return Dataset(images, rows, digest)


def sampling_weights(data: Dataset, core_weight: float, *, only_core: bool = False) -> Tensor:
    """Return how often each picture (N,) is drawn: core concepts more, held-out pairs never.

    Args:
        data: pictures and their rows.
        core_weight: of a core concept, where another has 1.
        only_core: others are never drawn either.
    """
    other = 0.0 if only_core else 1.0
    return torch.tensor(
        [0.0 if row.split != "train" else core_weight if row.core else other for row in data.rows]
    )


def choose(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the numbers (count,) of pictures, all different if there are as many to draw from."""
    again = count > int(weights.count_nonzero())
    return torch.multinomial(weights, count, replacement=again, generator=generator)
