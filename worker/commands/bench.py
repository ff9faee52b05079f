"""``tenstep bench``: what this machine makes of the published figures."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import InputError
from worker.commands import bench_busy, bench_speed

if TYPE_CHECKING:
    from shared.models.card import ModelCard
    from shared.settings import Settings
    from worker.bench.price import HourlyPrice
    from worker.bench.rounds import Measured
    from worker.devices import Device

SIDE_MULTIPLE = 64
"""Pixels: the decoder enlarges eight times, and denoisers halve three times."""

COST_HELP = (
    "Time whole images of two models in turn, and compare speed and cost.\n\n"
    "Each model draws by its own sampler: Stable Diffusion 1.5 takes 16 steps of DPM-Solver++, "
    "DeciDiffusion 2.0 the 10 of SqueezedDPM++. A model that was pulled is drawn with its own "
    "weights, a preset with random ones: it is as fast, but its images are noise.\n\n"
    "TENSTEP_DEVICE, TENSTEP_BACKEND and TENSTEP_PRECISION say where and how. At 512 pixels an "
    "image of Stable Diffusion takes two cores of a processor some minutes."
)

app = typer.Typer(
    name="bench",
    help="Measure models, and fleets of simulated devices, on this machine.",
    epilog="Example: tenstep bench cost --size 512 --rounds 1",
    no_args_is_help=True,
)
app.command(epilog=bench_busy.EPILOG, help=bench_busy.HELP)(bench_busy.busy)
app.command(epilog=bench_speed.EPILOG, help=bench_speed.HELP)(bench_speed.speed)


@app.command(epilog="Example: tenstep bench cost --usd-per-hour 1.006 --json", help=COST_HELP)
def cost(
    *,
    size: Annotated[
        int,
        typer.Option(
            min=SIDE_MULTIPLE,
            help="Width and height of an image in pixels, a multiple of 64.",
        ),
    ] = 256,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="Images of each model; medians are given.")
    ] = 2,
    baseline: Annotated[str, typer.Option(metavar="MODEL", help="What is compared to.")] = "sd-1.5",
    candidate: Annotated[
        str, typer.Option(metavar="MODEL", help="What is compared.")
    ] = "decidiffusion-2.0",
    usd_per_hour: Annotated[
        str | None,
        typer.Option(
            metavar="DOLLARS", help="Of this device; default what the price book says now."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Time whole images of two models in turn, and compare speed and cost."""
    from shared.models.catalog import load_card
    from shared.settings import load_settings
    from worker.devices import Device
    from worker.extra import require_worker_extra

    check_size(size)
    settings = load_settings()
    device = Device.parse(settings.device)
    _check_device(device)
    cards = [load_card(name, settings.resolved_models_dir) for name in (baseline, candidate)]
    _check_same_backend(cards)
    given = None if usd_per_hour is None else _nanodollars(usd_per_hour)
    require_worker_extra()

    price = _price(settings, device, given)
    measured = _measure(cards, device, settings, size=size, rounds=rounds, quiet=as_json)
    from worker.commands.bench_view import CostReport, print_report

    report = CostReport(
        side=size, device_kind=device.kind, price=price, baseline=measured[0], candidate=measured[1]
    )
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        print_report(report)


def check_size(size: int) -> None:
    """Check an option of a side of an image.

    Raises:
        InputError: networks do not halve it as often as they must, or it is too large.
    """
    from shared.domain.prompts import MAX_SIDE_PIXELS

    if size % SIDE_MULTIPLE or size > MAX_SIDE_PIXELS:
        raise InputError(
            f"--size: a multiple of {SIDE_MULTIPLE} up to {MAX_SIDE_PIXELS} pixels, not {size}"
        )


def _check_device(device: Device) -> None:
    if device.kind == "simulated":
        raise InputError(
            f"TENSTEP_DEVICE: {device} runs no model, so there is nothing to measure",
            hint="Set it to what is to be measured, such as cpu or cuda:0.",
        )
    if device.kind == "cuda" and device.index:
        raise InputError(
            f"TENSTEP_DEVICE: this command measures cuda:0, not {device}",
            hint=f"CUDA_VISIBLE_DEVICES={device.index} TENSTEP_DEVICE=cuda:0 makes it the one.",
        )


def _check_same_backend(cards: list[ModelCard]) -> None:
    baseline, candidate = cards
    if baseline.backend != candidate.backend:
        raise InputError(
            f"{baseline.name} is made for {baseline.backend} and {candidate.name} for "
            f"{candidate.backend}: only what runs on one backend can be compared",
            hint="tenstep model export MODEL --to DIR makes a model for onnxruntime.",
        )


def _nanodollars(dollars: str) -> int:
    from shared.domain.money import parse_dollars

    try:
        return parse_dollars(dollars)
    except ValueError as error:
        raise InputError(f"--usd-per-hour: {error}") from None


def _price(settings: Settings, device: Device, given: int | None) -> HourlyPrice:
    from worker.bench.price import HourlyPrice, look_up_price

    if given is not None:
        return HourlyPrice(given, "--usd-per-hour")
    return look_up_price(settings, device.kind)


def _measure(
    cards: list[ModelCard],
    device: Device,
    settings: Settings,
    *,
    size: int,
    rounds: int,
    quiet: bool,
) -> list[Measured]:
    from worker.commands.bench_view import progress_view
    from worker.quick_imports import import_diffusers_without_compiler

    # As a worker does, before anything imports diffusers.
    import_diffusers_without_compiler()
    from worker.bench.rounds import Bench, all_steps, measure

    bench = Bench(
        device=device,
        backend=settings.backend,
        precision=settings.precision,
        threads=settings.cpu_threads,
        side=size,
        rounds=rounds,
    )
    with progress_view(all_steps(cards, rounds), quiet=quiet) as watch:
        return measure(cards, bench, watch)
