"""Prompt files and batches for the producer's tests."""

from __future__ import annotations

from pathlib import Path

from producer.order import Order, Submission
from producer.prompt_files import open_prompts
from producer.settle import BatchDefaults
from producer.submit import submit
from shared.db.engine import Database
from shared.models.card import ModelCard
from shared.settings import Settings

CARD = ModelCard.model_validate(
    {
        "name": "tiny",
        "title": "A tiny model",
        "licence": "Apache-2.0",
        "width": 64,
        "height": 48,
        "sampler": {
            "steps": 16,
            "squeeze": "10,6",
            "guidance_scale": 4.0,
            "guidance_rescale": 0.7,
        },
        "max_prompt_tokens": 32,
    }
)
FRUIT = [
    '{"prompt": "a red apple", "custom_id": "apple"}',
    '{"prompt": 3}',
    '{"prompt": "a green pear", "seed": 7, "width": 128, "colour": "green"}',
]
"""Lines of a prompt file; the second one is bad."""


def submit_text(
    database: Database,
    folder: Path,
    text: str,
    *,
    name: str = "prompts.txt",
    order: Order | None = None,
    **defaults: str | float,
) -> Submission:
    """Write a prompt file and submit it."""
    path = folder / name
    path.write_text(text, "utf-8")
    order = order or Order(BatchDefaults.model_validate(defaults))
    with open_prompts(str(path)) as source:
        return submit(database, Settings(data_dir=folder / "data"), CARD, source, order)
