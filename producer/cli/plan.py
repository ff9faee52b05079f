"""``tenstep plan``: the cheapest fleet by a deadline."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, say, shown
from producer.cli.errors import FAILED
from producer.cli.plan_options import USUAL_INTERRUPTIONS, check_picture, deadline_ns, read_terms
from producer.cli.prompt_source import GivenPrompts, prompt_source
from producer.cli.submit import Template, Variables, Zip
from producer.cli.values import dollars
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.plan_offers import OnOffer, Terms
    from producer.planning.offers import Work
    from producer.planning.plan import Plan
    from producer.prompt_files import PromptSource
    from producer.prompt_shapes import CountedPrompts
    from producer.settle import BatchDefaults
    from shared.models.card import ModelCard
    from shared.settings import Settings

DEVICES = "What can be had"
EPILOG = (
    "Example: tenstep plan prompts.jsonl --deadline 6h --max-cost 200 --limit g5.xlarge=8 "
    "--spot 0.35 --plot plan.svg"
)

Deadline = Annotated[
    str,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="When the last image is to be there, from the start: 90m, 6h, 2d or 1d12h.",
    ),
]
MaxCost = Annotated[
    str | None, typer.Option("--max-cost", metavar="USD", help="What it may cost at most.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KIND[:SKU]",
        help="Consider only these devices; repeatable.",
        rich_help_panel=DEVICES,
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="SKU=N",
        help="So many of a device can be had at once; repeatable.",
        rich_help_panel=DEVICES,
    ),
]
Spot = Annotated[
    list[str] | None,
    typer.Option(
        "--spot",
        metavar="F|SKU=F",
        help="Pay this share of the price, of all devices or of one, such as 0.35; they may be "
        "taken away. Repeatable.",
        rich_help_panel=DEVICES,
    ),
]
Interruptions = Annotated[
    str | None,
    typer.Option(
        "--interruptions-per-hour",
        metavar="R",
        help="With --spot: how often a device is taken away; each time it has to be ready again. "
        f"Default {USUAL_INTERRUPTIONS}.",
        rich_help_panel=DEVICES,
    ),
]
StartUp = Annotated[
    str,
    typer.Option(
        "--start-up",
        metavar="TIME",
        help="From paying for a device until it begins to load the model.",
        rich_help_panel=DEVICES,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw cost against finish time, as .svg or .png."),
]


def plan(
    file: options.PromptFile = None,
    prompt_format: options.Format = None,
    template: Template = None,
    var: Variables = None,
    max_cost: MaxCost = None,
    only: Only = None,
    limit: Limit = None,
    spot: Spot = None,
    interruptions_per_hour: Interruptions = None,
    start_up: StartUp = "3m",
    plot: Plot = None,
    model: options.Model = None,
    n: options.Count = None,
    width: options.Width = None,
    height: options.Height = None,
    scheduler: options.Scheduler = None,
    steps: options.Steps = None,
    squeeze: options.Squeeze = None,
    guidance_scale: options.GuidanceScale = None,
    quality: options.QualityName = None,
    *,
    deadline: Deadline,
    zip_values: Zip = False,
    as_json: options.Json = False,
) -> None:
    """Find the cheapest fleet that draws prompts by a deadline.

    Every device of the price book whose rate is known is considered, in whole numbers and any
    mix. Each is paid from the start until the last image is there. Nothing is submitted.

    The exit code is 1 if no fleet keeps to the deadline and to --max-cost; then it says what
    can be done instead.
    """
    from producer.planning.offers import Work
    from producer.planning.plan import make_plan
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    within_ns = deadline_ns(deadline)
    budget = None if max_cost is None else dollars("--max-cost", max_cost)
    terms = read_terms(start_up, only or [], limit or [], spot or [], interruptions_per_hour)
    check_picture(plot)
    settings = load_settings()
    card = load_card(model or settings.model, settings.resolved_models_dir)
    order = options.make_order(
        None,
        0,
        tenant=DEFAULT_TENANT,
        deadline_hours=None,
        safety_checker=True,
        n=n,
        width=width,
        height=height,
        scheduler=scheduler,
        steps=steps,
        squeeze=squeeze,
        guidance_scale=guidance_scale,
        quality=quality,
    )
    given = GivenPrompts(file, prompt_format, template, var or [], zip_values)
    with prompt_source(given, settings, card.name) as source:
        prompts = _count(source, order.defaults, card, as_json=as_json)
    work = Work(prompts.images, settings.chunk_size)
    on_offer, now = _read_offers(settings, card, work, terms)
    found = make_plan(work, on_offer.offers, within_ns, budget)
    _show(found, card, prompts, on_offer, now, as_json=as_json)
    if plot is not None:
        _plot(found, card, plot, as_json=as_json)
    if not found.is_possible:
        raise typer.Exit(FAILED)


def _count(
    source: PromptSource, defaults: BatchDefaults, card: ModelCard, *, as_json: bool
) -> CountedPrompts:
    from producer.cli.plan_view import print_left_out_lines
    from producer.prompt_shapes import count_prompts
    from producer.rejects import first_reason
    from producer.settle import Settler, check_default_sampler

    try:
        check_default_sampler(defaults, card)
    except ValueError as error:
        raise InputError(first_reason(error)[1]) from None
    prompts = count_prompts(source, Settler(defaults, card))
    if not as_json or not prompts.total:
        print_left_out_lines(prompts)
    if not prompts.total:
        raise InputError(f"{source.name}: no line of it can be drawn")
    return prompts


def _read_offers(
    settings: Settings, card: ModelCard, work: Work, terms: Terms
) -> tuple[OnOffer, datetime]:
    from producer.cli.database import is_there, opened
    from producer.plan_offers import NothingOnOfferError, read_offers

    if not is_there(settings):
        raise NothingOnOfferError(card.name, ())
    with opened(settings) as database, database.read() as session:
        now = database.now(session)
        return read_offers(session, card.name, work, terms, now), now


def _show(
    found: Plan,
    card: ModelCard,
    prompts: CountedPrompts,
    on_offer: OnOffer,
    now: datetime,
    *,
    as_json: bool,
) -> None:
    from producer.cli.plan_view import print_plan
    from producer.plan_json import plan_json

    if as_json:
        print_json(plan_json(found, card.name, prompts, on_offer, now))
    else:
        print_plan(found, card.name, on_offer, now)


def _plot(found: Plan, card: ModelCard, path: Path, *, as_json: bool) -> None:
    from producer.plan_plot import plot_plan

    plot_plan(found, card.name, path)
    if not as_json:
        say(f"picture: {shown(path)}")
