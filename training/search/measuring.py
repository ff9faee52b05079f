"""Times of parts on a target, measured in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from training.search.cost import part_cost
from training.search.engines import Engine, Run
from training.search.family import Trunk
from training.search.latency import Entry, LatencyTable
from training.search.order import Step
from training.search.progress import Advance, progress

PARAMETERS_AT_ONCE = 100_000_000
"""Of the parts that are measured in turn; with filters for Winograd's they take five times four
bytes each.
"""
LEAST_ROUNDS = 3
"""Fewer tell nothing: what was stopped before is not kept."""
NANOSECONDS_A_MS = 1e6

Key = TypeVar("Key", bound=Hashable)
Keep = Callable[[LatencyTable], None]


@dataclass(frozen=True, slots=True)
class Times:
    """What something took over several rounds, in milliseconds."""

    ms: float
    """The median."""
    spread_ms: float
    """Half the distance between the quartiles."""
    rounds: int


def in_turn(
    runs: Mapping[Key, Run], rounds: int, generator: random.Random, done: Advance
) -> Iterator[Mapping[Key, Times]]:
    """Time several things in turn, so that what else the machine does is shared by all.

    Each round runs each of them twice, in an order by chance, and times the second: in a network
    too, weights of the last step are about.

    Args:
        runs: what is timed, and made ready by one run more.
        rounds: of the turn.
        generator: of the order.
        done: is called after each run.

    Yields:
        After each round the times up to there.
    """
    with torch.inference_mode():
        for run in runs.values():
            run()
        taken: dict[Key, list[float]] = {key: [] for key in runs}
        for _ in range(rounds):
            for key in generator.sample(list(runs), len(runs)):
                runs[key]()
                begin = time.perf_counter_ns()
                runs[key]()
                taken[key].append((time.perf_counter_ns() - begin) / NANOSECONDS_A_MS)
                done()
            yield {key: _summed_up(samples) for key, samples in taken.items()}


def measure(
    engine: Engine,
    asked: Sequence[Step],
    table: LatencyTable,
    *,
    rounds: int,
    generator: random.Random,
    keep: Keep = lambda _: None,
) -> LatencyTable:
    """Measure what a table lacks.

    Args:
        engine: of the table's conditions.
        asked: parts that it is to have, measured so often.
        table: what is known.
        rounds: times that each part is measured.
        generator: of the order.
        keep: is given the table that has been measured up to there, some rounds apart.

    Returns:
        The table with what was measured.

    Raises:
        InputError: the table was measured under other conditions.
    """
    table = grown = LatencyTable.of(engine.conditions, ()).merged(table)
    missing = table.lacking(asked, rounds)
    with progress("parts, in turn", rounds * len(missing)) as done:
        for group in _groups(missing, engine.conditions.trunk):
            with torch.inference_mode():
                runs = {step: engine.part(step) for step in group}
            for times in in_turn(runs, rounds, generator, done):
                measured = [_entry(step, found) for step, found in times.items()]
                grown = table.merged(LatencyTable.of(engine.conditions, measured))
                if measured and measured[0].rounds >= min(rounds, LEAST_ROUNDS):
                    keep(grown)
            table = grown
    return table


def _groups(steps: Iterable[Step], trunk: Trunk) -> Iterator[list[Step]]:
    """Divide what is measured into as many as fit in memory at once."""
    group: list[Step] = []
    taken = 0
    for step in steps:
        parameters = int(part_cost(step.part, trunk)[0])
        if group and taken + parameters > PARAMETERS_AT_ONCE:
            yield group
            group, taken = [], 0
        group.append(step)
        taken += parameters
    if group:
        yield group


def _entry(step: Step, times: Times) -> Entry:
    return Entry(
        **step.part._asdict(),
        rows=step.rows,
        ms=times.ms,
        spread_ms=times.spread_ms,
        rounds=times.rounds,
    )


def _summed_up(samples: Sequence[float]) -> Times:
    low, middle, high = np.percentile(samples, (25, 50, 75)).tolist()
    return Times(middle, (high - low) / 2, len(samples))
