"""Grids into a model's folder, and beside them how they were found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.files import atomic_file
from shared.models.card import read_json
from shared.models.grids import KEY, read_grids
from training.grids.descent import Grid

CONFIG = "scheduler_config.json"
RECORD = "searched_timesteps.json"
"""By the number of steps: what was searched, with what, and what it came to."""


def save_grid(folder: Path, grid: Grid, record: Mapping[str, Any]) -> None:
    """Write a grid and its record beside those of other numbers of steps.

    Args:
        folder: holds the model's ``scheduler_config.json``.
        grid: takes the place of one of as many steps.
        record: plain values.

    Raises:
        ConfigurationError: what is there is broken.
    """
    config = dict(read_json(folder / CONFIG))
    grids = dict(read_grids(config)) | {len(grid): grid}
    config[KEY] = {str(steps): list(grids[steps]) for steps in sorted(grids)}
    read_grids(config)
    records = dict(read_json(folder / RECORD)) if (folder / RECORD).is_file() else {}
    records[str(len(grid))] = dict(record)
    # The record first: a grid is never there without it.
    _write(folder / RECORD, {steps: records[steps] for steps in sorted(records, key=int)})
    _write(folder / CONFIG, config)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
