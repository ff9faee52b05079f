"""``tenstep render``: everything in one command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from producer.cli import options
from producer.cli.console import (
    print_json,
    print_rejects,
    progress_view,
    say,
    shown,
    warn_of_cut_prompts,
)
from producer.cli.errors import BAD_INPUT, FAILED
from producer.interruption import pause
from shared.domain.jobs import DEFAULT_TENANT
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.cli.console import Update
    from producer.costs import Bill
    from producer.local_fleet import LocalFleet
    from producer.order import Order, Submission
    from producer.prompt_files import PromptSource
    from producer.prompt_format import PromptFormat
    from producer.rejects import Rejects
    from producer.render import Render, Rendered
    from producer.services import Services
    from producer.status import BatchStatus
    from producer.worker_process import WorkerProcess
    from shared.settings import Settings

EPILOG = (
    "Examples: tenstep render prompts.txt --out drawn; "
    'tenstep render "a red apple" --n 4; tenstep render --resume'
)
POLL_SECONDS = 0.25
LOOKING_SHARE = 9.0
"""How much longer to wait than a look took, so that looking stays a tenth of the time."""

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for images, manifest.jsonl and contact-sheet.png."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Finish a render that was interrupted: the newest, or the batch named as argument.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu or cuda:0, …; default TENSTEP_DEVICE.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Worker processes, if none is alive.")
]


def render(
    what: options.PromptFileOrPrompt = None,
    out: Out = None,
    prompt_format: options.Format = None,
    name: options.Name = None,
    priority: options.Priority = 0,
    tenant: options.Tenant = DEFAULT_TENANT,
    deadline_hours: options.DeadlineHours = None,
    max_cost: options.MaxCost = None,
    tag: options.Tags = None,
    model: options.Model = None,
    device: Device = None,
    workers: Workers = 1,
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
    no_safety_checker: options.NoSafetyChecker = False,
    resume: Resume = False,
    as_json: options.Json = False,
) -> None:
    """Draw prompts into a folder: submit, work, fetch, and show the bill.

    Starts what is not there (a Redis, a worker) and stops it again. Ctrl-C pauses the
    batch; --resume finishes it.
    """
    from producer.logs import log_to_file
    from producer.worker_process import head_start
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    chosen = {"model": model, "device": device}
    settings = load_settings().model_copy(
        update={option: value for option, value in chosen.items() if value is not None}
    )
    if resume:
        from producer.services import open_services

        log_to_file(settings)
        with open_services(settings) as services:
            _resume(services, what, out, workers, as_json=as_json)
        return
    if what is None:
        raise InputError("nothing to draw", hint="Name a file, - or a prompt; or use --resume.")
    card = load_card(settings.model, settings.resolved_models_dir)
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
        tags=tag or [],
        max_cost=max_cost,
        local_workers=workers,
    )
    log_to_file(settings)
    with _opened(what, prompt_format) as source:
        folder = _prepared(out, name or source.name)
        with head_start(settings, workers) as ahead:
            # Imported while the worker imports what it needs.
            from producer.services import open_services

            with open_services(settings) as services, _begun(services, ahead) as fleet:
                submission = _submit(services, card, source, order, folder)
                print_rejects(submission.rejects)
                _draw(
                    services,
                    submission.batch_id,
                    folder,
                    workers,
                    fleet=fleet,
                    rejects=submission.rejects,
                    as_json=as_json,
                )


@contextmanager
def _begun(services: Services, ahead: WorkerProcess | None) -> Iterator[LocalFleet | None]:
    """Have a worker that was started ahead load its model, now that its database is there."""
    from producer.local_fleet import LocalFleet

    if ahead is None:
        yield None
        return
    fleet = LocalFleet(services.settings, services.database, 1, ahead=ahead)
    fleet.start()
    try:
        yield fleet
    finally:
        # Where nothing was submitted, nobody else has ended it.
        fleet.end_idle()


@contextmanager
def _opened(what: str, prompt_format: PromptFormat | None) -> Iterator[PromptSource]:
    """Open a file if it looks like one, else take the words themselves for a prompt."""
    from producer.prompt_files import literal_prompt, open_prompts
    from producer.prompt_format import is_prompt_file

    if is_prompt_file(what):
        with open_prompts(what, prompt_format=prompt_format) as source:
            yield source
    else:
        yield literal_prompt(what)


def _prepared(out: Path | None, name: str) -> Path:
    from producer.names import default_folder
    from shared.files import ensure_writable

    folder = (out or default_folder(name)).absolute()
    ensure_writable(folder)
    return folder


def _submit(
    services: Services, card: Any, source: PromptSource, order: Order, folder: Path
) -> Submission:
    from producer.order import RefusedError
    from producer.render import OUT_KEY
    from producer.submit import submit

    order.client[OUT_KEY] = str(folder)
    try:
        return submit(services.database, services.settings, card, source, order)
    except RefusedError as error:
        print_rejects(error.rejects)
        raise


def _resume(
    services: Services, reference: str | None, out: Path | None, workers: int, *, as_json: bool
) -> None:
    from producer.render import resume_batch
    from shared.files import ensure_writable

    batch, folder = resume_batch(services, reference)
    folder = (out or folder).absolute()
    ensure_writable(folder)
    _draw(
        services.with_settings(_settings_for(services.settings, batch.model)),
        batch.id,
        folder,
        workers,
        rejects=None,
        as_json=as_json,
    )


def _settings_for(settings: Settings, model: str) -> Settings:
    """Keep a model that was named by its folder, if it is the one that is meant."""
    from shared.models.catalog import load_card

    if load_card(settings.model, settings.resolved_models_dir).name == model:
        return settings
    return settings.model_copy(update={"model": model})


def _draw(
    services: Services,
    batch_id: UUID,
    folder: Path,
    workers: int,
    *,
    fleet: LocalFleet | None = None,
    rejects: Rejects | None,
    as_json: bool,
) -> None:
    from producer.costs import make_bill
    from producer.render import Render
    from shared.db.tables import Batch

    try:
        with (
            Render(services, batch_id, folder, workers, fleet) as work,
            progress_view(quiet=as_json) as show,
        ):
            status = follow(work, show)
            rendered = work.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(services, batch_id)) from None
    with services.database.read() as session:
        bill = make_bill(session, session.get_one(Batch, batch_id))
    _print(rendered, status, bill, rejects, as_json=as_json)
    if rejects is not None and rejects.count:
        raise typer.Exit(BAD_INPUT)
    if status.failed or not status.is_finished or rendered.pulled.problems:
        raise typer.Exit(FAILED)


def follow(work: Render, show: Update) -> BatchStatus:
    """Look until nothing more happens; the larger the batch, the longer a look takes."""
    while True:
        begin = time.monotonic()
        status = work.poll()
        show(status)
        if status.is_at_rest:
            return status
        pause(max(POLL_SECONDS, LOOKING_SHARE * (time.monotonic() - begin)))


def _how_to_go_on(services: Services, batch_id: UUID) -> str:
    from shared.db.batches import count_jobs
    from shared.domain.jobs import JobState

    with services.database.read() as session:
        counts = count_jobs(session, batch_id)
    done, total = counts[JobState.DONE], sum(counts.values())
    return (
        f"interrupted: {done:,} of {total:,} images are drawn, the rest is paused; "
        f"go on with: tenstep render --resume {batch_id}"
    )


def _print(
    rendered: Rendered, status: BatchStatus, bill: Bill, rejects: Rejects | None, *, as_json: bool
) -> None:
    from producer.cli.cost_views import print_bill

    pulled = rendered.pulled
    warn_of_cut_prompts(pulled.cut)
    if as_json:
        print_json(
            {
                **status.to_json(),
                "out": str(pulled.folder),
                "manifest": str(pulled.manifest),
                "contact_sheet": str(rendered.contact_sheet) if rendered.contact_sheet else None,
                "images": pulled.images,
                "cut": pulled.cut,
                "rejected": rejects.to_json() if rejects else None,
                "bill": bill.to_json(),
            }
        )
        return
    for group in status.failures:
        say(f"failed: {group.count:,} x {group.code}, for example: {group.example_message}")
    for problem in pulled.problems:
        say(f"not fetched: image {problem.position}: {problem.reason}")
    if status.why_idle:
        say(f"{status.why_idle} Then: tenstep render --resume {status.summary.id}")
    say(f"{pulled.images:,} of {status.summary.total:,} images in {shown(pulled.folder)}")
    say(f"manifest: {shown(pulled.manifest)}")
    if rendered.contact_sheet:
        say(f"contact sheet: {shown(rendered.contact_sheet)}")
    print_bill(bill)
