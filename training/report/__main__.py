"""Measure what a run left behind, and write `training/report.md` of all measurements.

python -m training.report steps --models BEFORE AFTER --data RUNS/emoji-64/data
python -m training.report control --models CONTROL AFTER --data RUNS/emoji-64/data
python -m training.report distilled --models AFTER DISTILLED --data RUNS/emoji-64/data
python -m training.report again --models SHIPPED AFTER --data RUNS/emoji-64/data
python -m training.report contest --models LAYOUT FOUND --data RUNS/emoji-64/data
python -m training.report page --models SHIPPED --data RUNS/emoji-64/data
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shared.errors import TenstepError
from shared.process import tell_error
from worker.devices import Device, pin_environment

COMMANDS = ("steps", "control", "distilled", "again", "contest", "page")


def main(words: Sequence[str] | None = None) -> int:
    """Measure or write; what was drawn before is not drawn again.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(words)
    # As a worker's, before torch is there: else threads of one library spin beside another's.
    pin_environment(Device("cpu", None), options.threads)
    from training.report.commands import run

    try:
        run(options)
    except TenstepError as error:
        return tell_error(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--models", nargs="+", required=True, help="names or folders; the first is the yardstick"
    )
    parser.add_argument("--data", type=Path, required=True, help="a run's data folder")
    parser.add_argument("--images", type=int, default=256, help="drawings of each contestant")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/report"), help="keeps drawings and the scorer"
    )
    parser.add_argument(
        "--downloads", type=Path, help="what the scorer learns from; default: beside the run"
    )
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0 is one a core")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
