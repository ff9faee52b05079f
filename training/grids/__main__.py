"""``python -m training.grids``: search a model's grids of few timesteps, and keep them with it.

A grid is moved, one timestep at a time, towards the images that 200 steps draw from the same noise,
with the model's own guidance. The table is of other prompts and seeds than were searched with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared.domain.sampling import SchedulerName
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from shared.models.grids import KEY
from training.grids.descent import Found, Grid, descend
from training.grids.errors import Errors, SolverErrors
from training.quality.intervals import Interval, mean_interval
from training.sample import PROMPTS, STYLES
from worker.diffusion.solvers import plot_course

KEPT_SHARE = 0.6
"""Of a squeezed grid, how many timesteps are those of the plain one: 6 of 10 as published."""
PLAIN_STEPS = 16
SEARCH_SEED, CHECK_SEED = 1_000, 2_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to, on prompts that it did not see."""

    found: Found
    plain: Interval
    squeezed: Interval
    searched: Interval
    over_sixteen: Interval
    """The searched grid's errors less those of 16 plain steps."""


def main() -> None:
    """Search, print a table, and write the grids into the model's scheduler_config.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="a name or a folder")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 6, 8, 10])
    parser.add_argument("--evaluations", type=int, default=150, help="different grids, at most")
    parser.add_argument("--images", type=int, default=32, help="drawn along each of them")
    parser.add_argument("--check", type=int, default=96, help="images that the table is of")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true", help="write the grids into the model")
    arguments = parser.parse_args()
    card = load_card(arguments.model)
    asked = [prompt + style for style in STYLES for prompt in PROMPTS]
    search = SolverErrors(card, asked[: 2 * arguments.images : 2], SEARCH_SEED)
    check = SolverErrors(card, asked[1 : 2 * arguments.check + 1 : 2], CHECK_SEED)
    outcomes = {}
    with Progress(console=Console(stderr=True)) as progress:
        for steps in arguments.steps:
            task = progress.add_task(f"{steps} steps", total=arguments.evaluations)
            start = starting_grid(search, steps)

            def error_of(grid: Grid, task: int = task) -> float:
                progress.advance(task)  # type: ignore[arg-type]  # its own number
                return float(search.along(grid).mean())

            found = descend(start, error_of, arguments.evaluations)
            outcomes[steps] = judged(check, found)
    if arguments.keep:
        keep(card, [outcome.found.grid for outcome in outcomes.values()])
    if arguments.json:
        json.dump({steps: document(outcome) for steps, outcome in outcomes.items()}, sys.stdout)
        sys.stdout.write("\n")
    else:
        Console().print(table(outcomes))


def starting_grid(errors: SolverErrors, steps: int) -> Grid:
    """Return the better one of a plain and a squeezed grid of so many steps."""
    grids = [plain_grid(errors, steps), squeezed_grid(errors, steps)]
    return min(grids, key=lambda grid: float(errors.along(grid).mean()))


def plain_grid(errors: SolverErrors, steps: int) -> Grid:
    """Return the solver's own grid of so many steps."""
    course = plot_course(errors.config, SchedulerName.DPM_SOLVER, steps, None)
    return tuple(int(timestep) for timestep in course.timesteps)


def squeezed_grid(errors: SolverErrors, steps: int) -> Grid:
    """Return the grid of 16 steps, squeezed to so many as 10,6 does."""
    kept = max(1, min(steps - 1, round(KEPT_SHARE * steps)))
    course = plot_course(errors.config, SchedulerName.DPM_SOLVER, PLAIN_STEPS, f"{steps},{kept}")
    return tuple(int(timestep) for timestep in course.timesteps)


def judged(errors: SolverErrors, found: Found) -> Outcome:
    """Measure a found grid beside others, on prompts that it was not searched with."""
    steps = len(found.grid)
    plain, squeezed, searched, sixteen = (
        errors.along(grid)
        for grid in (
            plain_grid(errors, steps),
            squeezed_grid(errors, steps),
            found.grid,
            plain_grid(errors, PLAIN_STEPS),
        )
    )
    less: Errors = searched - sixteen
    return Outcome(found, *map(mean_interval, (plain, squeezed, searched, less)))


def keep(card: ModelCard, grids: Sequence[Grid]) -> None:
    """Write grids into a model's scheduler_config.json, beside those of other numbers."""
    path: Path = card.folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text("utf-8"))
    known = {int(steps): grid for steps, grid in config.get(KEY, {}).items()}
    known |= {len(grid): list(grid) for grid in grids}
    config[KEY] = {str(steps): known[steps] for steps in sorted(known)}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def document(outcome: Outcome) -> dict[str, object]:
    """Return an outcome for programs."""
    return {
        "timesteps": list(outcome.found.grid),
        "evaluations": outcome.found.evaluations,
        **{
            name: [interval.mean, interval.low, interval.high]
            for name, interval in (
                ("plain", outcome.plain),
                ("squeezed", outcome.squeezed),
                ("searched", outcome.searched),
                ("over_sixteen", outcome.over_sixteen),
            )
        },
    }


def table(outcomes: dict[int, Outcome]) -> Table:
    """Return a table of the errors, with 95 % intervals."""
    shown = Table("steps", "plain", "squeezed", "searched", "less 16 plain", "timesteps")
    for steps, outcome in outcomes.items():
        shown.add_row(
            str(steps),
            *(
                f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
                for interval in (
                    outcome.plain,
                    outcome.squeezed,
                    outcome.searched,
                    outcome.over_sixteen,
                )
            ),
            " ".join(map(str, outcome.found.grid)),
        )
    return shown


if __name__ == "__main__":
    main()
