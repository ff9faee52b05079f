"""``python -m training.grids``: search a model's grids of few timesteps, and keep them with it.

A grid is moved, one timestep at a time, towards the latents that many steps draw from the same
noise, with the model's own guidance. Half of the prompts, with seeds of their own, are held out of
the search: what is reported of them shows whether a grid suits more than what it was searched with.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import TenstepError
from shared.process import tell_error
from worker.devices import Device, pin_environment

WRONG = 2


def main(words: Sequence[str] | None = None) -> int:
    """Search, write each grid as soon as it is found, and print the errors.

    Returns:
        130 if it was interrupted, 2 if something is wrong, else 0.
    """
    arguments = _parser().parse_args(words)
    device = Device.parse(arguments.device)
    # As a worker's, before torch is there: else threads of one library spin beside another's.
    pin_environment(device, arguments.threads)
    from training.grids.run import Plan, search_all

    plan = Plan(
        model=arguments.model,
        device=device,
        threads=arguments.threads,
        steps=arguments.steps,
        prompts=arguments.prompts,
        images=arguments.images,
        check_images=arguments.check,
        reference_steps=arguments.reference_steps,
        evaluations=arguments.evaluations,
        batch=arguments.batch,
        out=arguments.out,
        as_json=arguments.json,
    )
    try:
        return search_all(plan)
    except TenstepError as error:
        return tell_error(error)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.grids", description=__doc__)
    parser.add_argument("model", help="a name or a folder")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 6, 8, 10, 12])
    parser.add_argument(
        "--prompts", type=Path, help="a text file, one a line; default: emoji in some styles"
    )
    parser.add_argument("--images", type=int, default=32, help="that grids are searched with")
    parser.add_argument("--check", type=int, default=96, help="others, that they are checked with")
    parser.add_argument("--reference-steps", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=150, help="different grids, at most")
    parser.add_argument("--batch", type=int, default=32, help="images drawn at once")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda:0 and so on")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0 is one a core")
    parser.add_argument(
        "--out",
        type=Path,
        help="a folder for scheduler_config.json and the record; default: the model's scheduler/",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
