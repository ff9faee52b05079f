"""Drawings of the shipped model: fixed prompts, and what it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard
from training import sample
from training.data.captions import STYLES, with_article
from training.data.dataset import Dataset, Pictures
from worker.devices import Device
from worker.loading import load_pipeline

PROMPTS = (
    *sample.PROMPTS,
    *("a blue whale", "a butterfly", "a mushroom", "a carrot", "a watermelon", "an airplane"),
    *("a bicycle", "a light bulb"),
)
"""Forty, each drawn in one of the styles in turn."""
SEED = 1
_BATCH = 8
_COLUMNS = 8


def prompts_sheet(card: ModelCard, threads: int, path: Path) -> None:
    """Draw the fixed prompts, the styles in turn, and write a sheet."""
    styles = [next(iter(words)) for words in STYLES.values()]
    texts = [f"{prompt}, {styles[n % len(styles)]}" for n, prompt in enumerate(PROMPTS)]
    sample.contact_sheet(draw(card, texts, threads), PROMPTS, _COLUMNS).save(path)


def held_out_sheet(card: ModelCard, dataset: Dataset, threads: int, path: Path) -> int:
    """Draw every pair that training did not see, beside the picture of the data.

    Returns:
        How many pairs there are.
    """
    rows = [row for row in dataset.rows if row.split == "held-out pair"]
    texts = [f"{with_article(row.label)}, {STYLES[row.style][0]}" for row in rows]
    drawn = draw(card, texts, threads)
    real = dataset.images[[row.index for row in rows]]
    beside = np.stack([real, drawn], axis=1).reshape(-1, *drawn.shape[1:])
    labels = [text for row in rows for text in (f"{row.label}", f"drawn, {row.style}")]
    sample.contact_sheet(beside, labels, _COLUMNS).save(path)
    return len(rows)


def draw(card: ModelCard, prompts: list[str], threads: int) -> Pictures:
    """Draw prompts by the model's own sampler: (N, H, W, 3), uint8."""
    pipeline = load_pipeline(card, Device.parse("cpu"), threads=threads)
    jobs = [
        ImageSettings(
            prompt=prompt,
            seed=SEED + number,
            width=card.width,
            height=card.height,
            **card.sampler.model_dump(),
        )
        for number, prompt in enumerate(prompts)
    ]
    parts = [jobs[start : start + _BATCH] for start in range(0, len(jobs), _BATCH)]
    return np.stack(
        [drawn.pixels for part in parts for drawn in pipeline.draw(part, check_safety=False)]
    )
