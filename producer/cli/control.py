"""What becomes of a batch, or of jobs: cancelled, paused, tried again, approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, say
from shared.domain.jobs import BatchControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from shared.db.tables import Batch, Job

HELD_AT_ONCE = 20_000
"""Jobs that one transaction decides about."""

Jobs = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="JOB", help="Only this: a custom_id or a position; repeatable."),
]


def cancel(
    batch: options.BatchToChange, *, job: Jobs = None, as_json: options.Json = False
) -> None:
    """Call off what is not drawn yet, for good. Images that are drawn stay."""
    from producer.cli.database import opened
    from shared.db.batches import cancel_batch, cancel_job, find_batch
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, batch)
        now = database.now(session)
        if job:
            count = sum(cancel_job(session, one, now) for one in _each(session, found, job))
        else:
            count = cancel_batch(session, found, now)
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
    from shared.db.batches import find_batch, retry_failed, retry_job
    from shared.settings import load_settings

    with opened(load_settings()) as database, database.write() as session:
        found = find_batch(session, batch)
        # Workers' clock, for it decides when they may have them.
        now = database.now(session)
        if job:
            count = sum(retry_job(session, one, now) for one in _each(session, found, job))
        else:
            count = retry_failed(session, found, now)
        batch_id = found.id
    if as_json:
        print_json({"batch_id": str(batch_id), "retried": count})
    else:
        say(f"batch {batch_id}: {_images(count)} tried again")


def approve(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Have what is held of a batch drawn."""
    from shared.db.batches import release_held

    _decide(batch, lambda session, found, _: release_held(session, found, HELD_AT_ONCE), as_json)


def reject(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Call off what is held of a batch. Images that are drawn stay."""
    from shared.db.batches import reject_held

    _decide(
        batch, lambda session, found, now: reject_held(session, found, HELD_AT_ONCE, now), as_json
    )


def _decide(
    reference: str,
    decide: Callable[[Session, Batch, datetime], int],
    as_json: bool,  # noqa: FBT001 - private, and always the last
) -> None:
    """Decide about the held jobs of a batch, some at a time: nobody waits long, all can go on."""
    from producer.cli.database import opened
    from shared.db.batches import find_batch
    from shared.settings import load_settings

    count = 0
    with opened(load_settings()) as database:
        with database.read() as session:
            batch_id = find_batch(session, reference).id
        while True:
            with database.write() as session:
                batch = find_batch(session, str(batch_id))
                decided = decide(session, batch, database.now(session))
            count += decided
            if decided < HELD_AT_ONCE:
                break
    if as_json:
        print_json({"batch_id": str(batch_id), "jobs": count})
    else:
        say(f"batch {batch_id}: {_images(count)} no longer held")


def _each(session: Session, batch: Batch, names: Sequence[str]) -> Iterator[Job]:
    """Yield the jobs in order of position, which is the order everybody locks them in."""
    from producer.named_jobs import find_jobs

    found = {job.position: job for name in names for job in find_jobs(session, batch, name)}
    for position in sorted(found):
        yield found[position]


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
