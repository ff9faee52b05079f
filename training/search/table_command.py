"""What ``python -m training.search latency`` does, once the process has its threads."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from itertools import islice
from statistics import median

import torch

from shared.errors import InputError
from training.search.agreement import check, print_agreement
from training.search.engines import open_engine
from training.search.family import Member
from training.search.latency import LatencyTable
from training.search.measuring import measure
from training.search.order import Step, reads_text, steps, steps_of
from training.search.space import SPACES, Space

MOST_DRAWN = 10_000
"""Members among which some are looked for that a table knows."""


def measure_and_check(options: argparse.Namespace) -> bool:
    """Do what the command line of `training.search.latency` asks for.

    Returns:
        Whether it came to its end, and was not stopped.

    Raises:
        InputError: what is at the output's place is no table, or one of other conditions; or it
            knows too few members.
    """
    space = SPACES[options.space]
    threads = options.threads or os.cpu_count() or 1
    engine = open_engine(options.target, space.trunk, batch=options.batch, threads=threads)
    table = LatencyTable.of(engine.conditions, ())
    if options.out.exists():
        table = LatencyTable.read(options.out)
    generator = random.Random(options.seed)  # noqa: S311 - no secret
    try:
        table = measure(
            engine,
            _asked(space, options, shares_rows=table.shares_rows),
            table,
            rounds=options.rounds,
            generator=generator,
            keep=lambda grown: grown.write(options.out),
        )
        _print_table(table, space)
        if options.check:
            members = _known_members(space, table, options)
            found = check(engine, members, table, rounds=options.rounds, generator=generator)
            checked = options.out.with_stem(f"{options.out.stem}-check")
            checked.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            print_agreement(found)
    except KeyboardInterrupt:
        return False
    return True


def _asked(space: Space, options: argparse.Namespace, *, shares_rows: bool) -> list[Step]:
    if options.members is None:
        return steps_of(space, shares_rows=shares_rows)
    found: set[Step] = set()
    for member in islice(_drawn(space, options.seed), options.members):
        found.update(steps(member, space.trunk.side, shares_rows=shares_rows))
    return sorted(found)


def _known_members(space: Space, table: LatencyTable, options: argparse.Namespace) -> list[Member]:
    """Draw members whose parts are all in the table, which need not be whole."""
    drawn = islice(_drawn(space, options.seed), MOST_DRAWN)
    found = list(islice(filter(table.knows, drawn), options.check))
    if len(found) < options.check:
        raise InputError(f"the table has all parts of {len(found)} members that were drawn only")
    return found


def _drawn(space: Space, seed: int) -> Iterator[Member]:
    """Yield members that read the text by chance, each once, the same each time."""
    generator = torch.Generator().manual_seed(seed)
    seen: set[Member] = set()
    while len(seen) < len(space):
        member = space.draw(generator)
        if member not in seen and reads_text(member):
            yield member
        seen.add(member)


def _print_table(table: LatencyTable, space: Space) -> None:
    asked = steps_of(space, shares_rows=table.shares_rows)
    known = sum(step in table.known for step in asked)
    relative = [entry.spread_ms / entry.ms for entry in table.entries if entry.ms]
    print(f"{table.target} on {table.processor}, {table.batch} images of two rows")
    print(
        f"{known} of {len(asked)} parts; half the quartiles' distance, median of all parts:",
        end=" ",
    )
    print(f"{median(relative):.1%}" if relative else "none yet")
