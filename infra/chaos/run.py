"""Break a running fleet in every way that the books promise to survive, and check the books.

Real processes, real signals, real Postgres, S3 and Redis, which this starts itself. The
device is simulated, at 20 ms an image: what is tried is everything around it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from chaos.play import Outcome, Scenario, play
from chaos.scenarios import all_scenarios
from chaos.side_by_side import PlainOutcome, play_plain_celery
from chaos.stacks import run_servers

JOBS = 2_000
WORKERS = 4
LANES = 2
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
    parser.add_argument(
        "--lanes",
        type=int,
        default=LANES,
        help=f"scenarios at a time, each lane on servers of its own, default {LANES}",
    )
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    # Ended from outside, it takes down what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    chosen = [scenarios[name] for name in arguments.scenario or scenarios]
    if arguments.list:
        for scenario in chosen:
            print(f"{scenario.name:<24} {scenario.title}")
        return 0
    if arguments.lanes > 1 and len(chosen) > 1:
        outcomes, plain = play_in_lanes(
            chosen, arguments.lanes, jobs=arguments.jobs, workers=arguments.workers
        )
    else:
        outcomes, plain = play_in_order(chosen, jobs=arguments.jobs, workers=arguments.workers)
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


Played = tuple[list[Outcome], list[PlainOutcome]]


def play_in_lanes(scenarios: Sequence[Scenario], lanes: int, *, jobs: int, workers: int) -> Played:
    """Play several at a time, each lane a process of this command with servers of its own.

    Most of a scenario's time is waiting: for a lease to end, for a server to come back.

    Raises:
        SystemExit: a lane ended without a report.
    """
    with ExitStack() as stack:
        running = []
        for lane in range(lanes):
            names = [f"--scenario={scenario.name}" for scenario in scenarios[lane::lanes]]
            if names:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "chaos.run", "--json", "--lanes=1"),
                        *(f"--jobs={jobs}", f"--workers={workers}", *names),
                    ],
                    stdout=subprocess.PIPE,
                )
                stack.callback(process.wait)
                stack.callback(process.terminate)
                running.append(process)
        reports = [process.communicate()[0] for process in running]
    if not all(reports):
        raise SystemExit("a lane ended without a report; its complaint is above")
    found = [json.loads(report) for report in reports]
    outcomes = {
        one["scenario"]: Outcome.from_json(one) for lane in found for one in lane["scenarios"]
    }
    plain = [PlainOutcome(**one) for lane in found for one in lane["plain_celery"]]
    return [outcomes[scenario.name] for scenario in scenarios], plain


def play_in_order(scenarios: Sequence[Scenario], *, jobs: int, workers: int) -> Played:
    """Play one after the other; says on stderr what is being done."""
    outcomes: list[Outcome] = []
    plain: list[PlainOutcome] = []
    with run_servers() as servers:
        for scenario in scenarios:
            sys.stderr.write(f"{scenario.name}: {scenario.title}\n")
            outcome = play(scenario, servers, jobs=jobs, workers=workers)
            outcomes.append(outcome)
            for line in [*outcome.notes, *(f"WRONG: {text}" for text in outcome.problems)]:
                sys.stderr.write(f"    {scenario.name}: {line}\n")
    if any(scenario.name == COMPARED for scenario in scenarios):
        sys.stderr.write("plain Celery under the same kills\n")
        plain = [
            play_plain_celery(jobs=jobs, workers=workers, redelivers=redelivers)
            for redelivers in (False, True)
        ]
    return outcomes, plain


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
