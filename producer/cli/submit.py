"""``tenstep submit``: prompts into the queue."""

from __future__ import annotations

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rejects, say
from producer.cli.errors import BAD_INPUT
from shared.domain.jobs import DEFAULT_TENANT


def submit(
    file: options.PromptFile,
    prompt_format: options.Format = None,
    name: options.Name = None,
    priority: options.Priority = 0,
    tenant: options.Tenant = DEFAULT_TENANT,
    deadline_hours: options.DeadlineHours = None,
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
    *,
    no_safety_checker: options.NoSafetyChecker = False,
    as_json: options.Json = False,
) -> None:
    """Put prompts in the queue, for workers that run elsewhere or later.

    A line's own fields go before these options, and these before the model's defaults.
    Lines that cannot be drawn are listed and left out; the exit code is then 2.
    """
    from producer.cli.database import opened
    from producer.prompt_files import open_prompts
    from producer.submit import NothingAcceptedError
    from producer.submit import submit as submit_batch
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    settings = load_settings()
    card = load_card(model or settings.model, settings.resolved_models_dir)
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
        tenant=tenant,
        deadline_hours=deadline_hours,
        safety_checker=not no_safety_checker,
    )
    try:
        with (
            open_prompts(file, prompt_format=prompt_format) as source,
            opened(settings, may_create=True) as database,
        ):
            submission = submit_batch(database, settings, card, source, order)
    except NothingAcceptedError as error:
        print_rejects(error.rejects, as_json=as_json)
        raise
    if as_json:
        print_json(submission.to_json())
    else:
        print_rejects(submission.rejects)
        images = "1 image" if submission.total == 1 else f"{submission.total:,} images"
        say(f"batch {submission.batch_id}: {images} of {submission.model} in the queue")
    if submission.rejects.count:
        raise typer.Exit(BAD_INPUT)
