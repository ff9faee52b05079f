"""Models that searched grids were kept with."""

from __future__ import annotations

from pathlib import Path

from shared.domain.sampling import SchedulerName
from shared.models.card import ModelCard, read_json
from shared.models.grids import KEY
from support.prompts import CARD
from support.tiny_model import write_json

THREE = (960, 500, 120)
FOUR = (980, 640, 300, 60)
SOLVERS = tuple(name for name in SchedulerName if name is not SchedulerName.SEARCHED)
"""Those that lay out a grid of any number of steps."""


def keep_grids(folder: Path, *grids: tuple[int, ...]) -> Path:
    """Give a model's folder these grids and no others; returns the folder."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = dict(read_json(path)) if path.is_file() else {}
    write_json(path, config | {KEY: {str(len(grid)): list(grid) for grid in grids}})
    return folder


def card_with_grids(folder: Path, *grids: tuple[int, ...]) -> ModelCard:
    """Return the card of a model of which nothing is there but its grids."""
    return CARD.model_copy(update={"folder": keep_grids(folder, *grids)})
