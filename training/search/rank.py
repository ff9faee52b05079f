"""The command line of the proxy's test."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from training import parallel
from training.search.ranking import Agreement, Ranking, spread_members
from training.search.space import SPACES
from training.search.teach import add_run, begin
from training.search.teaching import SearchConfig, rank


def main(words: Sequence[str] | None = None) -> None:
    """Train members spread over the space to the end of a schedule, and compare ranks."""
    parser = argparse.ArgumentParser(
        prog="python -m training.search rank", description=main.__doc__
    )
    add_run(parser)
    parser.add_argument("--out", type=Path, required=True, help="the ranking, .json")
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format=parallel.LOG_FORMAT)
    config, run = SearchConfig.read(options.config)
    space = SPACES[config.space]
    members = [*config.named.values(), *spread_members(space, config.ranked, config.seed)]
    ranking = rank(config, run, space, members, begin(run, options.work))
    options.out.write_text(ranking.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name, agreement in agreements(ranking).items():
        print(f"{name:32} {agreement.spearman:6.3f} [{agreement.low:.3f}, {agreement.high:.3f}]")


def agreements(ranking: Ranking) -> dict[str, Agreement]:
    """Return how well the proxy ranks, and how well size alone does."""
    return {
        "proxy, pictures of training": ranking.agreement(lambda one: one.proxy.trained),
        "proxy, held-out pairs": ranking.agreement(lambda one: one.proxy.held_out),
        "parameters": ranking.agreement(lambda one: -one.parameters),
        "multiply-accumulates": ranking.agreement(lambda one: -one.macs),
    }
