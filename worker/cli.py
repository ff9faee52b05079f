"""The worker's commands, found by the command line through entry points."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

EPILOG = "Example: tenstep schedule --steps 16 --squeeze 11,7 --json"


def schedule(
    model: Annotated[str, typer.Option(help="Model whose scheduler is meant.")] = "emoji-64",
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps of the base grid.")] = 16,
    squeeze: Annotated[
        str, typer.Option(help="n,i: keep the first i timesteps, end after n; or none.")
    ] = "10,6",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the timesteps and sigmas that a scheduler and a squeeze give."""
    from shared.domain.sampling import Squeeze
    from shared.errors import InputError
    from shared.models.card import read_json
    from shared.models.catalog import load_card
    from shared.settings import load_settings
    from worker.extra import require_worker_extra

    require_worker_extra()
    folder = load_card(model, load_settings().resolved_models_dir).folder
    try:
        cut = None if squeeze == "none" else Squeeze.parse(squeeze)
        from worker.diffusion.schedule import build_scheduler, with_timesteps

        config = read_json(folder / "scheduler" / "scheduler_config.json")
        ready = with_timesteps(build_scheduler(config), steps, cut)
    except ValueError as error:
        raise InputError(str(error)) from None
    rows = [
        {"step": index + 1, "timestep": int(timestep), "sigma": float(sigma)}
        for index, (timestep, sigma) in enumerate(
            zip(ready.timesteps, ready.sigmas[:-1], strict=True)
        )
    ]
    final = float(ready.sigmas[-1])
    if as_json:
        document = {
            "model": model,
            "scheduler": "dpmsolver++",
            "steps": steps,
            "squeeze": str(cut) if cut else None,
            "timesteps": [row["timestep"] for row in rows],
            "sigmas": [*(row["sigma"] for row in rows), final],
        }
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "timestep", "sigma", title=f"{model}: {steps} steps, squeeze {squeeze}")
    for row in rows:
        table.add_row(str(row["step"]), str(row["timestep"]), f"{row['sigma']:.6f}")
    table.add_row("end", "", f"{final:.6f}")
    Console().print(table)
