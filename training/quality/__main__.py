"""Measure what each shortcut of the small model costs in quality, and what it gains."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from worker.devices import Device, pin_environment


def main(words: Sequence[str] | None = None) -> None:
    """Draw core concepts in every way, time the ways, and write the report."""
    arguments = _parser().parse_args(words)
    # As a worker's, before torch is there: else threads of one library spin beside another's.
    pin_environment(Device("cpu", None), arguments.threads)
    from training.quality.comparison import Comparison, Plan

    comparison = Comparison(
        Plan(
            model=arguments.model,
            data=arguments.data,
            exported=arguments.exported,
            names=arguments.variants,
            every=arguments.every,
            batch=arguments.batch,
            threads=arguments.threads or os.cpu_count() or 1,
            rounds=arguments.rounds,
            work=arguments.work or arguments.out.with_suffix(".work"),
        )
    )
    if arguments.only != "time":
        comparison.draw()
    if arguments.only != "draw":
        comparison.time()
    if arguments.only is None:
        print(comparison.write(arguments.out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.quality", description=__doc__)
    parser.add_argument("model", type=Path, help="a model's folder")
    parser.add_argument("--data", type=Path, required=True, help="a run's data folder")
    parser.add_argument(
        "--out", type=Path, required=True, help="the report, .json; .md and .png come beside it"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="keeps drawings and times, so that a run that was stopped goes on; to be removed "
        "after a change of the engine; default: beside the report",
    )
    parser.add_argument(
        "--only",
        choices=("draw", "time"),
        help="draw: while the machine has other work; time: while it has none; no report yet",
    )
    parser.add_argument("--variants", nargs="*", default=[], help="their names; default all")
    parser.add_argument(
        "--exported",
        type=Path,
        nargs="*",
        default=[],
        help="folders that the model was exported to, of one precision each",
    )
    parser.add_argument("--every", type=int, default=1, help="take only each n-th core concept")
    parser.add_argument("--batch", type=int, default=8, help="pictures drawn at once")
    parser.add_argument("--rounds", type=int, default=12, help="batches timed in every way")
    parser.add_argument("--threads", type=int, default=0, help="0 is one a core")
    return parser


if __name__ == "__main__":
    main()
