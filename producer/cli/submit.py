"""``tenstep submit``: prompts into the queue."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rejects, say
from producer.cli.errors import BAD_INPUT
from producer.cli.prompt_source import GivenPrompts, prompt_source
from producer.cli.quote_view import print_expected
from producer.cli.submission_view import submission_view
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.order import Order, Submission
    from shared.settings import Settings

WHAT = "What is submitted"
EPILOG = (
    "Example: tenstep submit --template 'a {colour} {animal}' --var colour=red,blue "
    "--var animal=animals.txt --hold --sample 20"
)


class OnError(StrEnum):
    """What bad lines do to the good ones."""

    REJECT_FILE = "reject-file"
    ABORT = "abort"


Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="TEXT",
        help="Instead of FILE: a prompt such as 'a {colour} {animal}', multiplied by --var.",
        rich_help_panel=WHAT,
    ),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=FILE|A,B",
        help="Values of a placeholder: a file with one a line, or a list; repeatable.",
        rich_help_panel=WHAT,
    ),
]
Zip = Annotated[
    bool,
    typer.Option(
        "--zip",
        help="Take the values of --var side by side, not each with each.",
        rich_help_panel=WHAT,
    ),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        "--on-error",
        help="Bad lines: list them in a file and take the rest, or take nothing.",
        rich_help_panel=WHAT,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="The same key is the same batch; default a hash of content and settings.",
        rich_help_panel=WHAT,
    ),
]
Hold = Annotated[
    bool,
    typer.Option("--hold", help="Draw nothing until tenstep approve.", rich_help_panel=WHAT),
]
Sample = Annotated[
    int,
    typer.Option(
        "--sample",
        min=0,
        max=10_000,
        help="With --hold: draw so many of them before, spread over the batch.",
        rich_help_panel=WHAT,
    ),
]
Reuse = Annotated[
    bool,
    typer.Option(
        "--reuse",
        help="Take images that were drawn before from the same prompt, seed, settings and model.",
        rich_help_panel=WHAT,
    ),
]


def submit(
    file: options.PromptFile = None,
    prompt_format: options.Format = None,
    template: Template = None,
    var: Variables = None,
    on_error: OnErrorOption = OnError.REJECT_FILE,
    key: Key = None,
    sample: Sample = 0,
    name: options.Name = None,
    priority: options.Priority = 0,
    tenant: options.Tenant = DEFAULT_TENANT,
    deadline_hours: options.DeadlineHours = None,
    max_cost: options.MaxCost = None,
    tag: options.Tags = None,
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
    hold: Hold = False,
    reuse: Reuse = False,
    no_safety_checker: options.NoSafetyChecker = False,
    as_json: options.Json = False,
) -> None:
    """Put prompts in the queue, for workers that run elsewhere or later.

    A line's own fields go before these options, and these before the model's defaults.
    Lines that cannot be drawn are listed and left out; the exit code is then 2. Submitting
    the same again is the same batch: what was cut off goes on where it stopped.
    """
    from producer.cli.server import command_settings

    if sample and not hold:
        raise InputError("--sample goes with --hold")
    settings = command_settings()
    order = options.make_order(
        name,
        priority,
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
        tenant=tenant,
        deadline_hours=deadline_hours,
        safety_checker=not no_safety_checker,
        takes_good_lines=on_error is OnError.REJECT_FILE,
        is_held=hold,
        sample=sample,
        reuses=reuse,
        tags=tag or [],
        max_cost=max_cost,
    )
    prompts = GivenPrompts(file, prompt_format, template, var or [], zip_values)
    try:
        submission = _submit(settings, prompts, order, model, key, as_json=as_json)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on where it stopped") from None
    _show(submission, order, as_json=as_json)
    if submission.rejects.count:
        raise typer.Exit(BAD_INPUT)


def _submit(
    settings: Settings,
    prompts: GivenPrompts,
    order: Order,
    model: str | None,
    key: str | None,
    *,
    as_json: bool,
) -> Submission:
    if settings.server is not None:
        from producer.cli.remote.prompts import opened_upload
        from producer.cli.remote.submission import submit_over
        from producer.cli.server import opened_server

        with (
            opened_upload(prompts, settings) as upload,
            opened_server(settings) as client,
        ):
            return submit_over(client, settings, upload, order, model=model, key=key, quiet=as_json)
    return _submit_here(settings, prompts, order, model, key, as_json=as_json)


def _submit_here(
    settings: Settings,
    prompts: GivenPrompts,
    order: Order,
    model: str | None,
    key: str | None,
    *,
    as_json: bool,
) -> Submission:
    from dataclasses import replace

    from producer.cli.database import opened
    from producer.logs import log_to_file
    from producer.order import RefusedError, content_key
    from producer.submit import submit as submit_batch
    from shared.models.catalog import load_card
    from shared.telemetry.traces import PRODUCER, start_traces

    if settings.traces:
        # What they have to say is not for the terminal.
        log_to_file(settings)
    start_traces(PRODUCER, is_on=settings.traces)
    card = load_card(model or settings.model, settings.resolved_models_dir)
    with prompt_source(prompts, settings, card.name) as source:
        order = replace(order, key=key or content_key(source, order, card))
        try:
            with (
                opened(settings, may_create=True) as database,
                submission_view(source.name, quiet=as_json) as show,
            ):
                return submit_batch(database, settings, card, source, order, on_progress=show)
        except RefusedError as error:
            print_rejects(error.rejects, as_json=as_json)
            raise


def _show(submission: Submission, order: Order, *, as_json: bool) -> None:
    if as_json:
        print_json(submission.to_json())
        return
    print_rejects(submission.rejects)
    images = "1 image" if submission.total == 1 else f"{submission.total:,} images"
    batch = f"batch {submission.batch_id}: {images} of {submission.model}"
    if submission.was_there == submission.total:
        say(f"{batch}, submitted before; another --key submits it again")
        return
    say(f"{batch} {'held' if order.is_held else 'in the queue'}")
    if submission.was_there:
        say(f"{submission.was_there:,} of them were there already: it went on where it stopped")
    if submission.reused:
        say(f"{submission.reused:,} of them are done, with images that were drawn before")
    if submission.quote:
        print_expected(submission.quote)
    if order.is_held and order.sample:
        say(
            f"a sample of {min(order.sample, submission.total):,} is drawn first; look at it with "
            f"tenstep pull {submission.batch_id}, then tenstep approve or reject"
        )
