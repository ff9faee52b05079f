"""The command line of the supernet's training."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from training import parallel
from training.config import RunConfig
from training.run import first_stages
from training.search.space import SPACES
from training.search.teaching import SearchConfig, train_supernet


def main(words: Sequence[str] | None = None) -> None:
    """Train a supernet, and before it the run's first stages where they are not done."""
    parser = argparse.ArgumentParser(
        prog="python -m training.search teach", description=main.__doc__
    )
    add_run(parser)
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format=parallel.LOG_FORMAT)
    config, run = SearchConfig.read(options.config)
    folder = begin(run, options.work)
    parallel.launch(run.processes, train_supernet, config, run, SPACES[config.space], folder)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Ask for a search's file and for the folder that its run is kept in."""
    parser.add_argument("config", type=Path, help="such as training/configs/search-64.toml")
    parser.add_argument(
        "--work", type=Path, default=Path("runs"), help="folder of downloads, checkpoints and logs"
    )


def begin(run: RunConfig, work: Path) -> Path:
    """Do the run's first stages where they are not done, and return its folder."""
    folder = work / run.name
    first_stages(run, folder, work / "downloads")
    return folder
