"""``tenstep quote``: what prompts would cost, before anybody draws them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import complain, print_json
from producer.cli.errors import BAD_INPUT
from producer.cli.prompt_source import GivenPrompts, prompt_source
from producer.cli.quote_view import print_left_out, print_quotes
from producer.cli.submission_view import submission_view
from producer.cli.submit import Template, Variables, Zip
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.order import Order
    from producer.prompt_files import PromptSource
    from producer.prompt_lines import PromptLine
    from producer.prompt_shapes import CountedPrompts
    from producer.quote import Fleet
    from producer.quote_grounds import Grounds
    from producer.quoting import QuotedPrompts
    from shared.models.card import ModelCard
    from shared.settings import Settings

EPILOG = "Example: tenstep quote prompts.jsonl --fleet cuda:g5.xlarge=4,cpu=2"
FLEET = "On which devices"
DEVICES = re.compile(r"(?P<kind>[^:=,\s]{1,64})(:(?P<sku>[^:=,\s]{1,64}))?=(?P<count>[1-9]\d{0,5})")
LINES_A_LOOK = 10_000

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=100_000,
        help="Quote so many workers on TENSTEP_DEVICE.",
        rich_help_panel=FLEET,
    ),
]
FleetOption = Annotated[
    str | None,
    typer.Option(
        "--fleet",
        metavar="KIND[:SKU]=N,…",
        help="Quote these devices; default the workers that are alive.",
        rich_help_panel=FLEET,
    ),
]


def quote(
    file: options.PromptFile = None,
    prompt_format: options.Format = None,
    template: Template = None,
    var: Variables = None,
    workers: Workers = None,
    fleet: FleetOption = None,
    model: options.Model = None,
    negative_prompt: options.NegativePrompt = None,
    seed: options.Seed = None,
    n: options.Count = None,
    width: options.Width = None,
    height: options.Height = None,
    scheduler: options.Scheduler = None,
    steps: options.Steps = None,
    squeeze: options.Squeeze = None,
    guidance_scale: options.GuidanceScale = None,
    guidance_rescale: options.GuidanceRescale = None,
    quality: options.QualityName = None,
    *,
    zip_values: Zip = False,
    as_json: options.Json = False,
) -> None:
    """Say what prompts would cost and how long they would take, and submit nothing.

    Prompts are read and checked as tenstep submit does; bad lines are listed and left out, and
    the exit code is then 2. Rates are those that workers have measured: tenstep calibrate
    measures them where nothing was drawn yet. Every amount is a range.
    """
    from producer.cli.server import command_settings

    settings = command_settings()
    order = options.make_order(
        None,
        0,
        tenant=DEFAULT_TENANT,
        deadline_hours=None,
        safety_checker=True,
        negative_prompt=negative_prompt,
        seed=seed,
        n=n,
        width=width,
        height=height,
        scheduler=scheduler,
        steps=steps,
        squeeze=squeeze,
        guidance_scale=guidance_scale,
        guidance_rescale=guidance_rescale,
        quality=quality,
    )
    prompts = GivenPrompts(file, prompt_format, template, var or [], zip_values)
    if settings.server is not None:
        if workers is not None or fleet is not None:
            raise InputError("--workers and --fleet: a server quotes the workers that it has")
        quoted = _quoted_over(settings, prompts, order, model, as_json=as_json)
    else:
        asked = _asked(settings, workers, fleet)
        quoted = _quoted_here(settings, prompts, order, model, asked, as_json=as_json)
    if as_json:
        print_json(quoted.to_json())
    else:
        grounds = quoted.grounds
        print_quotes(quoted.quotes, quoted.prompts, quoted.model, grounds.rated, grounds.waste)
    if quoted.prompts.rejects.count:
        raise typer.Exit(BAD_INPUT)


def _quoted_over(
    settings: Settings, prompts: GivenPrompts, order: Order, model: str | None, *, as_json: bool
) -> QuotedPrompts:
    from producer.cli.remote.prompts import opened_upload
    from producer.cli.remote.quotes import quote_over
    from producer.cli.server import opened_server

    with opened_upload(prompts, settings) as upload, opened_server(settings) as client:
        return quote_over(client, upload, order, model, quiet=as_json)


def _quoted_here(
    settings: Settings,
    prompts: GivenPrompts,
    order: Order,
    model: str | None,
    asked: Fleet | None,
    *,
    as_json: bool,
) -> QuotedPrompts:
    from producer.order import check_order
    from producer.quoting import quote_prompts
    from shared.models.catalog import load_card

    card = load_card(model or settings.model, settings.resolved_models_dir)
    check_order(order, card, settings)
    # Before the prompts, which may take minutes to read.
    grounds = _grounds(settings, card, asked)
    with prompt_source(prompts, settings, card.name) as source:
        counted = _counted(source, order, card, as_json=as_json)
    quoted = quote_prompts(card.name, counted, grounds, settings.chunk_size, asked)
    if quoted.unquoted is not None:
        complain(
            f"the workers that are alive are not quoted: {quoted.unquoted.name}, of which not all "
            "were measured; tenstep calibrate measures them"
        )
    return quoted


def _asked(settings: Settings, workers: int | None, fleet: str | None) -> Fleet | None:
    from producer.quote import Devices, Fleet, Origin
    from producer.quote_grounds import local_fleet

    if workers is not None and fleet is not None:
        raise InputError("give --workers or --fleet, not both")
    if workers is not None:
        return local_fleet(settings, workers)
    if fleet is None:
        return None
    counts: dict[tuple[str, str], int] = {}
    for text in fleet.split(","):
        found = DEVICES.fullmatch(text.strip())
        if found is None:
            raise InputError(f"--fleet: {text.strip()!r} is not KIND=N, nor KIND:SKU=N")
        bought = found["kind"], found["sku"] or ""
        if bought in counts:
            raise InputError(f"--fleet: {text.partition('=')[0].strip()} is given twice")
        counts[bought] = int(found["count"])
    return Fleet([Devices(*bought, count) for bought, count in counts.items()], Origin.ASKED)


def _grounds(settings: Settings, card: ModelCard, asked: Fleet | None) -> Grounds:
    from producer.cli.database import is_there, opened
    from producer.quote_grounds import NoRateError, read_grounds

    if not is_there(settings):
        raise NoRateError(card.name)
    with opened(settings) as database, database.read() as session:
        grounds = read_grounds(session, settings, card.name, database.now(session))
    for bought in asked.bought if asked else ():
        if bought not in grounds.rated:
            raise NoRateError(card.name, bought)
    return grounds


def _counted(
    source: PromptSource, order: Order, card: ModelCard, *, as_json: bool
) -> CountedPrompts:
    from producer.prompt_shapes import count_prompts
    from producer.settle import Settler

    with submission_view(source.name, unit="lines", quiet=as_json) as show:
        watched = replace(source, lines=_watched(source, show))
        prompts = count_prompts(watched, Settler(order.defaults, card))
    if not as_json or not prompts.total:
        print_left_out(prompts.rejects)
    if not prompts.total:
        raise InputError(f"{source.name}: no line of it can be drawn")
    return prompts


def _watched(
    source: PromptSource, show: Callable[[int, float | None], None]
) -> Iterator[PromptLine]:
    """Tell now and then how far a source is read."""
    for number, line in enumerate(source.lines, start=1):
        if number % LINES_A_LOOK == 0:
            show(number, source.progress())
        yield line
