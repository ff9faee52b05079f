"""What was found beside members that were not searched for: trained alike, written as models."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from training import decoder, denoiser, parallel
from training.config import RunConfig
from training.run import finish
from training.search.family import Member, Trunk
from training.search.space import SPACES
from training.search.teach import add_run, begin
from training.search.teaching import SearchConfig

FOUND = "found"
"""What the run's own denoiser is called."""


def main(words: Sequence[str] | None = None) -> None:
    """Train members by the run's own phases, up to one of them, and write all as models."""
    parser = argparse.ArgumentParser(
        prog="python -m training.search contest", description=main.__doc__
    )
    add_run(parser)
    parser.add_argument("--only", metavar="NAME", help=f"one of the named members, or {FOUND}")
    parser.add_argument("--out", type=Path, help="folder of the models; default: WORK/NAME/contest")
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format=parallel.LOG_FORMAT)
    config, run = SearchConfig.read(options.config)
    folder = begin(run, options.work)
    runs = entrants(config, run, SPACES[config.space].trunk)
    for name in [options.only] if options.only else runs:
        parallel.launch(run.processes, denoiser.train, runs[name], folder)
        parallel.launch(run.processes, decoder.train, run, folder)
        finish(runs[name], folder, (options.out or folder / "contest") / name)


def entrants(config: SearchConfig, run: RunConfig, trunk: Trunk) -> dict[str, RunConfig]:
    """Return the run of each entrant, up to the phase that the contest ends with.

    What was found is the run's own denoiser, whose first phases are not trained again.
    """
    until = run.until(config.contest_until)
    runs = {name: _entrant(until, name, member, trunk) for name, member in config.named.items()}
    return {**runs, FOUND: _titled(until, FOUND)}


def _entrant(run: RunConfig, name: str, member: Member, trunk: Trunk) -> RunConfig:
    """Return the same run of another denoiser, whose checkpoints have names of their own."""
    phases = [
        phase.model_copy(update={"name": f"{name}-{phase.name}"}) for phase in run.denoiser.phases
    ]
    return _titled(run.with_denoiser(phases=phases, denoiser=member.configurations(trunk)), name)


def _titled(run: RunConfig, name: str) -> RunConfig:
    return run.model_copy(update={"name": f"{run.name}-{name}", "title": f"{run.title} ({name})"})
