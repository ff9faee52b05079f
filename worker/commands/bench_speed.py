"""``tenstep bench speed``: parts and images of models, beside peers in the same run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import InputError

if TYPE_CHECKING:
    from shared.domain.quality import Quality
    from shared.models.card import ModelCard
    from worker.bench.speed.contest import Plan
    from worker.bench.speed.field import Name
    from worker.bench.speed.report import Report

HELP = (
    "Time text encoder, denoiser and decoder of models, beside other ways to run them.\n\n"
    "The first model is compared to the others on tenstep's backends. Each peer then runs each "
    "model beside tenstep, on the same weights, at the same steps, in float32: diffusers' own "
    "pipeline on torch, plain graphs in ONNX Runtime, OpenVINO, stable-diffusion.cpp. Rounds "
    "are taken in turn, and a column says which part of the machine's matrix-multiply peak the "
    "denoiser makes.\n\n"
    "An image is reckoned from its first two steps; --whole takes them all. Random weights of a "
    "preset are as fast as real ones. TENSTEP_CPU_THREADS says how many threads each takes. A "
    "round of Stable Diffusion at 256 pixels takes two cores some 10 seconds, its peers more."
)
EPILOG = (
    "Example: tenstep bench speed --models sd-1.5,decidiffusion-2.0 --peers diffusers,openvino "
    "--report speed.md"
)
SIZE = 256
PLOTS = (".svg", ".png")


def speed(  # noqa: PLR0913 - a command has as many options as it has
    *,
    models: Annotated[
        str, typer.Option(metavar="A,B", help="Models; ratios are of the first over the second.")
    ] = "sd-1.5,decidiffusion-2.0",
    size: Annotated[
        int, typer.Option(help="Width and height of an image in pixels, a multiple of 64.")
    ] = SIZE,
    backends: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="tenstep's: torch, onnxruntime, all; peers are beside the first."
        ),
    ] = "torch",
    peers: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="diffusers, diffusers-onnxruntime, openvino, stable-diffusion.cpp, all, none.",
        ),
    ] = "all",
    chunks: Annotated[
        str, typer.Option(metavar="N,M", help="Images drawn at once; each is measured.")
    ] = "1",
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of each; medians are given.")] = 3,
    whole: Annotated[
        bool, typer.Option("--whole", help="Take every step of an image, not only two.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Tell where the time of a step on tenstep's torch goes."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a picture: .svg or .png.")
    ] = None,
    qualities: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="exact, balanced, fast, all: tenstep's torch is measured at each, and exact.",
        ),
    ] = "exact",
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report in Markdown.")
    ] = None,
) -> None:
    """Time text encoder, denoiser and decoder of models, beside other ways to run them."""
    from worker.devices import Device, pin_environment
    from worker.extra import require_worker_extra

    if plot is not None and plot.suffix.lower() not in PLOTS:
        raise InputError(f"--plot {plot}: a name that ends in {' or '.join(PLOTS)}")
    require_worker_extra()
    # As a worker's: else threads of one library spin while another's would work.
    pin_environment(Device("cpu", None), 0)
    plan = _plan(
        models=models,
        size=size,
        backends=backends,
        peers=peers,
        chunks=chunks,
        rounds=rounds,
        qualities=qualities,
        whole=whole,
        profile=profile,
    )
    measured = _measure(plan, quiet=as_json)
    if plot is not None:
        from worker.commands.speed_plot import plot_speed

        plot_speed(measured, plot)
    if report is not None:
        from worker.commands.speed_page import write_page

        write_page(measured, report)
    if as_json:
        sys.stdout.write(json.dumps(measured.to_json(), indent=2) + "\n")
    else:
        from worker.commands.speed_view import print_speed

        print_speed(measured)


def _plan(  # noqa: PLR0913 - one of each option
    *,
    models: str,
    size: int,
    backends: str,
    peers: str,
    chunks: str,
    rounds: int,
    qualities: str,
    whole: bool,
    profile: bool,
) -> Plan:
    from shared.models.catalog import load_card
    from shared.settings import load_settings
    from worker.bench.speed.contest import SHORTENED, Plan
    from worker.bench.speed.field import BACKENDS, PEERS, parse_names
    from worker.commands.bench import check_size

    check_size(size)
    ours = parse_names("--backends", backends, BACKENDS)
    if not ours:
        raise InputError("--backends: at least one", hint=f"There are {', '.join(BACKENDS)}.")
    if profile and SHORTENED not in ours:
        raise InputError(f"--profile: of {SHORTENED}, which is not among --backends")
    theirs = parse_names("--peers", peers, PEERS)
    settings = load_settings()
    if settings.device not in {"auto", "cpu"}:
        raise InputError(
            f"TENSTEP_DEVICE: this command measures the processor, not {settings.device}",
            hint="tenstep bench cost measures other devices.",
        )
    names = dict.fromkeys(part.strip() for part in models.split(","))
    cards = [load_card(name, settings.resolved_models_dir) for name in names]
    for card in cards:
        _check_torch(card)
    return Plan(
        cards=cards,
        side=size,
        chunks=_chunks(chunks),
        rounds=rounds,
        backends=ours,
        peers=theirs,
        threads=settings.cpu_threads or os.cpu_count() or 1,
        whole=whole,
        qualities=_qualities(qualities, ours),
        profile=profile,
    )


def _check_torch(card: ModelCard) -> None:
    if card.backend != "torch":
        raise InputError(
            f"{card.folder}: is exported already", hint="Name the model that it was made from."
        )


def _qualities(text: str, backends: Sequence[Name]) -> tuple[Quality, ...]:
    """Read a list of qualities; exact is always the first, for all ratios are over it."""
    from shared.domain.quality import Quality
    from worker.bench.speed.contest import SHORTENED
    from worker.bench.speed.field import parse_names

    asked = parse_names("--qualities", text, tuple(Quality))
    found = tuple(dict.fromkeys((Quality.EXACT, *asked)))
    if len(found) > 1 and SHORTENED not in backends:
        raise InputError(
            f"--qualities {text}: measured on {SHORTENED}, which is not among --backends"
        )
    return found


def _chunks(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InputError(f"--chunks: numbers such as 1,4, not {text!r}") from None
    if min(sizes) < 1:
        raise InputError(f"--chunks: at least 1, not {min(sizes)}")
    return sizes


def _measure(plan: Plan, *, quiet: bool) -> Report:
    from worker.commands.bench_view import progress_view
    from worker.quick_imports import import_diffusers_without_compiler

    # As a worker does, before anything imports diffusers.
    import_diffusers_without_compiler()
    from worker.bench.speed.contest import all_rounds, run
    from worker.bench.speed.machine import this_machine
    from worker.bench.speed.ours import equal_share
    from worker.bench.speed.report import Report
    from worker.models.measure import measure

    works = {card.name: measure(card, width=plan.side, height=plan.side) for card in plan.cards}
    has_peers = bool(plan.peers) or len(plan.backends) > 1
    filter_bytes = equal_share(works.values(), has_peers=has_peers)
    with (
        tempfile.TemporaryDirectory(prefix="tenstep-speed-") as folder,
        progress_view(all_rounds(plan), quiet=quiet) as watch,
    ):
        outcome = run(plan, Path(folder), watch, filter_bytes)
    return Report(plan, outcome, this_machine(plan.threads), works)
