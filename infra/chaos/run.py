"""Break a running fleet in every way that the books promise to survive, and check the books.

Real processes, real signals, real Postgres, S3 and Redis, which this starts itself. The
device is simulated, at 20 ms an image: what is tried is everything around it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from chaos.play import Outcome, Scenario, play
from chaos.scenarios import all_scenarios
from chaos.side_by_side import PlainOutcome, play_plain_celery
from chaos.stacks import run_servers

JOBS = 2_000
WORKERS = 4
WIDTH = 80
COMPARED = "workers-killed"
"""The scenario that plain Celery is put beside."""


def main() -> int:
    """Play what was asked for; returns 1 if anything was wrong."""
    scenarios = {scenario.name: scenario for scenario in all_scenarios()}
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--scenario",
        action="append",
        choices=scenarios,
        metavar="NAME",
        help="repeatable; else all",
    )
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"a scenario, default {JOBS:,}")
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"default {WORKERS}")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    chosen = [scenarios[name] for name in arguments.scenario or scenarios]
    if arguments.list:
        for scenario in chosen:
            print(f"{scenario.name:<24} {scenario.title}")
        return 0
    outcomes = play_all(chosen, jobs=arguments.jobs, workers=arguments.workers)
    plain: list[PlainOutcome] = []
    if scenarios[COMPARED] in chosen:
        sys.stderr.write("plain Celery under the same kills\n")
        plain = [
            play_plain_celery(jobs=arguments.jobs, workers=arguments.workers, redelivers=redelivers)
            for redelivers in (False, True)
        ]
    if arguments.json:
        found: dict[str, Sequence[Outcome | PlainOutcome]] = {
            "scenarios": outcomes,
            "plain_celery": plain,
        }
        print(json.dumps({k: [one.to_json() for one in v] for k, v in found.items()}, indent=2))
    else:
        report(outcomes)
        report_plain([one for one in outcomes if one.scenario == COMPARED], plain)
    return 0 if all(outcome.is_ok for outcome in outcomes) else 1


def play_all(scenarios: Sequence[Scenario], *, jobs: int, workers: int) -> list[Outcome]:
    """Play one after the other; says on stderr what is being done."""
    outcomes = []
    with run_servers() as servers:
        for scenario in scenarios:
            sys.stderr.write(f"{scenario.name}: {scenario.title}\n")
            outcome = play(scenario, servers, jobs=jobs, workers=workers)
            outcomes.append(outcome)
            for line in [*outcome.notes, *(f"WRONG: {text}" for text in outcome.problems)]:
                sys.stderr.write(f"    {line}\n")
    return outcomes


def report(outcomes: Sequence[Outcome]) -> None:
    """Print a table of 80 columns."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("scenario", no_wrap=True)
    table.add_column("stack", no_wrap=True)
    for heading in ("jobs", "done", "failed", "lost", "twice", "orphans", "recovery"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ok")
    for outcome in outcomes:
        figures, recovery = outcome.figures, outcome.recovery_seconds
        table.add_row(
            outcome.scenario.removesuffix("-local"),
            outcome.stack,
            *(str(count) for count in (figures.jobs, figures.done, figures.failed)),
            *(str(count) for count in (figures.lost, figures.twice, figures.orphans)),
            "-" if recovery is None else f"{recovery:.1f} s",
            "yes" if outcome.is_ok else "NO",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(
        "lost: attempts whose worker fell silent; twice: jobs with two images in the books;\n"
        "orphans: images without a job, all removed by tenstep gc; recovery: the longest\n"
        "time without an image after a fault's end."
    )


def report_plain(ours: Sequence[Outcome], plain: Sequence[PlainOutcome]) -> None:
    """Print what plain Celery made of the same kills."""
    if not plain:
        return
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("under the same kills", no_wrap=True)
    for heading in ("jobs", "drawn", "never", "twice", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in ours:
        figures = outcome.figures
        missing, seconds = figures.jobs - figures.done, f"{outcome.seconds:.0f} s"
        row = (figures.jobs, figures.done, missing, figures.twice)
        table.add_row("tenstep", *map(str, row), seconds)
    for one in plain:
        row = (one.jobs, one.drawn, one.missing, one.twice)
        table.add_row(f"Celery, {one.setup}", *map(str, row), f"{one.seconds:.0f} s")
    print()
    Console(width=WIDTH, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
