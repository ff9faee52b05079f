"""Fetch and build the data of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.config import RunConfig
from training.data.emoji import build, fetch


def main() -> None:
    """Fetch and build the data of a run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("runs"), help="folder of downloads and results"
    )
    arguments = parser.parse_args()
    config = RunConfig.read(arguments.config)
    fetch(arguments.work / "downloads")
    build(arguments.work / "downloads", arguments.work / config.name / "data", config.data)


if __name__ == "__main__":
    main()
