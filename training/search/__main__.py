"""Search for U-Net-NAS: train a proxy, measure parts, evolve members, or go through all of them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

COMMANDS = {
    "teach": "train one network that holds the weights of all members: the proxy",
    "rank": "train some members by themselves, and say whether the proxy ranks them",
    "contest": "train named members as the run trains what was found, for a comparison",
    "latency": "measure how long parts of members take, for a table",
    "evolve": "NSGA-II: members between which one must choose, good or quick",
    "exhaustive": "the member that makes the most of a budget",
}


def main(words: Sequence[str] | None = None) -> None:
    """Run one of the commands, each of which tells of its options with --help."""
    parser = argparse.ArgumentParser(prog="python -m training.search", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in COMMANDS.items():
        # Their own parsers answer --help.
        commands.add_parser(name, help=purpose, add_help=False)
    chosen, rest = parser.parse_known_args(words)
    try:
        importlib.import_module(f"training.search.{chosen.command}").main(rest)
    except KeyboardInterrupt:
        parser.exit(130, "was stopped; the same command goes on\n")


if __name__ == "__main__":
    main()
