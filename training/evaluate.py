"""Does a model draw what it is asked for? A picture is right if the training pictures say so.

Each chosen concept is drawn in each style; its picture is compared, pixel by pixel at a quarter of
the size, with every picture of the data. Recall is the share of drawings whose nearest picture
shows the concept asked for; style recall counts those that also have the style.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training.autoencoder import as_tensor
from training.config import SampleConfig
from training.data.captions import STYLES, with_article
from training.data.dataset import Dataset, load_dataset
from training.sample import Model, draw, load

_BATCH = 32


@dataclass(frozen=True)
class Recall:
    """Shares of drawings, 0 to 1."""

    drawings: int
    concept: float
    concept_among_five: float
    style: float


def thumbnails(pixels: Tensor) -> Tensor:
    """Shrink pictures (N, 3, H, W) fourfold and flatten them."""
    return functional.avg_pool2d(pixels, 4).flatten(1)


def nearest(drawn: Tensor, known: Tensor, count: int) -> Tensor:
    """Return the indices (N, count) of the known pictures nearest to drawn ones, nearest first."""
    return torch.cdist(thumbnails(drawn), thumbnails(known)).topk(count, largest=False).indices


def evaluate(model: Model, dataset: Dataset, labels: Sequence[str], config: SampleConfig) -> Recall:
    """Draw every label in every style once and look for the nearest picture."""
    asked = [(label, style) for label in labels for style in STYLES]
    prompts = [f"{with_article(label)}, {STYLES[style][0]}" for label, style in asked]
    known = as_tensor(dataset.images)
    first = among = styled = 0
    for start in range(0, len(asked), _BATCH):
        part = range(start, min(start + _BATCH, len(asked)))
        drawn = as_tensor(draw(model, [prompts[i] for i in part], list(part), config))
        for index, found in zip(part, nearest(drawn, known, 5).tolist(), strict=True):
            rows = [dataset.rows[place] for place in found]
            label, style = asked[index]
            first += rows[0].label == label
            styled += rows[0].label == label and rows[0].style == style
            among += any(row.label == label for row in rows)
    count = len(asked)
    return Recall(count, first / count, among / count, styled / count)


def main() -> None:
    """Print a finished model's recall of core concepts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="a run's data folder")
    parser.add_argument("--every", type=int, default=1, help="take only each n-th core concept")
    parser.add_argument("--guidance-scale", type=float, default=SampleConfig().guidance_scale)
    parser.add_argument("--guidance-rescale", type=float, default=SampleConfig().guidance_rescale)
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data)
    labels = sorted({row.label for row in dataset.rows if row.core})[:: arguments.every]
    config = SampleConfig(
        guidance_scale=arguments.guidance_scale, guidance_rescale=arguments.guidance_rescale
    )
    recall = evaluate(load(arguments.model), dataset, labels, config)
    print(json.dumps(asdict(recall)))


if __name__ == "__main__":
    main()
