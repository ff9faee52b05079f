"""``tenstep schedule``: the steps that a sampler would take."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from shared.errors import InputError

if TYPE_CHECKING:
    from shared.domain.sampling import SamplerSettings, SchedulerName
    from shared.models.card import ModelCard

EPILOG = "Example: tenstep schedule --scheduler dpmsolver++ --steps 16 --squeeze 11,7 --json"


class _Choice(NamedTuple):
    """What the command line says of the sampler."""

    scheduler: SchedulerName | None
    steps: int | None
    squeeze: str | None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None


def schedule(
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder; default TENSTEP_MODEL.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="dpmsolver++, ddim, euler, unipc, or searched: the model's own grid of so many "
            "steps; default the model's.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Steps of the base grid; without --squeeze all of them are taken."
        ),
    ] = None,
    squeeze: Annotated[
        str | None,
        typer.Option(
            metavar="N,I", help="Keep the first I timesteps, end after N, such as 10,6; or none."
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the timesteps and sigmas that a scheduler and a squeeze give.

    What is left out is the model's own. As in render, steps or another scheduler that come
    without a squeeze mean the plain grid. The last sigma is where the last step ends.
    """
    from shared.domain.sampling import settle_sampler
    from shared.models.catalog import load_card
    from shared.settings import load_settings
    from worker.extra import require_worker_extra

    require_worker_extra()
    settings = load_settings()
    card = load_card(model or settings.model, settings.resolved_models_dir)
    choice = _Choice(_parsed(scheduler), steps, squeeze)
    try:
        sampler = settle_sampler(card.sampler, [choice])
        timesteps, sigmas = _grid(card, sampler)
    except ValueError as error:
        raise InputError(_plain_words(error)) from None
    if as_json:
        document = {
            "model": card.name,
            "scheduler": sampler.scheduler.value,
            "steps": sampler.steps,
            "squeeze": sampler.squeeze,
            "timesteps": timesteps,
            "sigmas": sigmas,
        }
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print_table(card, sampler, timesteps, sigmas)


def _parsed(scheduler: str | None) -> SchedulerName | None:
    from shared.domain.sampling import SchedulerName

    try:
        return None if scheduler is None else SchedulerName(scheduler)
    except ValueError:
        names = ", ".join(name.value for name in SchedulerName)
        raise InputError(f"--scheduler: no scheduler {scheduler!r}; there are {names}") from None


def _plain_words(error: ValueError) -> str:
    """Leave out what Pydantic says around our own sentence."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return str(first["msg"]).removeprefix("Value error, ")


def _grid(card: ModelCard, sampler: SamplerSettings) -> tuple[list[float], list[float]]:
    """Return timesteps, and one sigma more than there are of them."""
    from diffusers.utils import logging

    from shared.models.card import read_json
    from worker.diffusion.schedule import noise_levels
    from worker.diffusion.solvers import plot_course

    logging.set_verbosity_error()
    config = read_json(card.folder / "scheduler" / "scheduler_config.json")
    course = plot_course(config, sampler.scheduler, sampler.steps, sampler.squeeze)
    return course.timesteps, noise_levels(course.scheduler)


def _print_table(
    card: ModelCard, sampler: SamplerSettings, timesteps: list[float], sigmas: list[float]
) -> None:
    from rich.console import Console
    from rich.table import Table

    squeeze = f"squeezed {sampler.squeeze}" if sampler.squeeze else "not squeezed"
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{card.name}: {sampler.scheduler}, {sampler.steps} steps, {squeeze}")
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "timestep", "sigma"):
        table.add_column(heading, justify="right")
    for index, (timestep, sigma) in enumerate(zip(timesteps, sigmas, strict=False)):
        table.add_row(str(index + 1), f"{timestep:.6g}", f"{sigma:.6f}")
    table.add_row("end", "", f"{sigmas[-1]:.6f}")
    console.print(table)
