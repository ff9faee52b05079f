"""What becomes of a batch, or of jobs: cancelled, paused, tried again, approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, say
from shared.domain.jobs import BatchControl

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from shared.db.engine import Database

Jobs = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="JOB", help="Only this: a custom_id or a position; repeatable."),
]


def cancel(
    batch: options.BatchToChange, *, job: Jobs = None, as_json: options.Json = False
) -> None:
    """Call off what is not drawn yet, for good. Images that are drawn stay."""
    from producer.cli.database import opened
    from producer.control import cancel as cancel_jobs
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, batch)
        count = cancel_jobs(session, found, job or [], database.now(session))
        batch_id = found.id
        control = found.control
    if as_json:
        print_json({"batch_id": str(batch_id), "control": control, "cancelled": count})
    elif job:
        say(f"batch {batch_id}: {_images(count)} cancelled")
    else:
        say(f"batch {batch_id}: cancelled, {count:,} images of it not drawn")


def pause(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Hand out no more of a batch; what a worker has begun it finishes."""
    _control(batch, BatchControl.PAUSED, "paused", as_json=as_json)


def resume(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Go on with a paused batch."""
    _control(batch, BatchControl.ACTIVE, "goes on", as_json=as_json)


def retry(batch: options.BatchToChange, *, job: Jobs = None, as_json: options.Json = False) -> None:
    """Try every failed job of a batch again, or some that failed or that were called off."""
    from producer.cli.database import opened
    from producer.control import retry as retry_jobs
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, batch)
        # Workers' clock, for it decides when they may have them.
        count = retry_jobs(session, found, job or [], database.now(session))
        batch_id = found.id
    if as_json:
        print_json({"batch_id": str(batch_id), "retried": count})
    else:
        say(f"batch {batch_id}: {_images(count)} tried again")


def approve(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Have what is held of a batch drawn."""
    from producer.control import approve as approve_held

    _decide(batch, approve_held, as_json=as_json)


def reject(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Call off what is held of a batch. Images that are drawn stay."""
    from producer.control import reject as reject_held

    _decide(batch, reject_held, as_json=as_json)


def _decide(reference: str, decide: Callable[[Database, UUID], int], *, as_json: bool) -> None:
    from producer.cli.database import opened
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database:
        with database.read() as session:
            batch_id = find_batch(session, reference).id
        count = decide(database, batch_id)
    if as_json:
        print_json({"batch_id": str(batch_id), "jobs": count})
    else:
        say(f"batch {batch_id}: {_images(count)} no longer held")


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _control(reference: str, control: BatchControl, said: str, *, as_json: bool) -> None:
    from producer.cli.database import opened
    from shared.db.batches import find_batch, set_control
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, reference)
        set_control(session, found, control)
        batch_id = found.id
    if as_json:
        print_json({"batch_id": str(batch_id), "control": control.value})
    else:
        say(f"batch {batch_id}: {said}")
