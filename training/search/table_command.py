"""What ``python -m training.search latency`` does, once the process has its threads."""

from __future__ import annotations

import argparse
import os
import random
from statistics import median

from training.search.agreement import check, print_agreement
from training.search.engines import Engine, open_engine
from training.search.family import Member
from training.search.latency import LatencyTable
from training.search.measuring import measure
from training.search.order import steps_of
from training.search.space import SPACES, Space


def measure_and_check(options: argparse.Namespace) -> bool:
    """Do what the command line of `training.search.latency` asks for.

    Returns:
        Whether it came to its end, and was not stopped.

    Raises:
        InputError: what is at the output's place is no table, or one of other conditions.
    """
    space = SPACES[options.space]
    threads = options.threads or os.cpu_count() or 1
    engine = open_engine(options.target, space.trunk, batch=options.batch, threads=threads)
    table = LatencyTable.of(engine.conditions, ())
    if options.out.exists():
        table = LatencyTable.read(options.out)
    generator = random.Random(options.seed)  # noqa: S311 - no secret
    try:
        table = _measured(engine, space, table, options, generator)
        _print_table(table, space)
        if options.check:
            members = _members(space, table, options.check, generator)
            found = check(engine, members, table, rounds=options.rounds, generator=generator)
            print_agreement(found)
    except KeyboardInterrupt:
        return False
    return True


def _measured(
    engine: Engine,
    space: Space,
    table: LatencyTable,
    options: argparse.Namespace,
    generator: random.Random,
) -> LatencyTable:
    asked = steps_of(space, shares_rows=engine.conditions.shares_rows)
    missing = table.lacking(asked, options.rounds)
    if options.parts is not None:
        missing = generator.sample(missing, min(options.parts, len(missing)))
    return measure(
        engine,
        missing,
        table,
        rounds=options.rounds,
        generator=generator,
        keep=lambda grown: grown.write(options.out),
    )


def _members(
    space: Space, table: LatencyTable, count: int, generator: random.Random
) -> list[Member]:
    """Draw members whose parts are all in the table, which need not be whole."""
    found: list[Member] = []
    for _ in range(1000 * count):
        member = space.draw(generator)
        if member not in found and table.knows(member):
            found.append(member)
            if len(found) == count:
                break
    return found


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
