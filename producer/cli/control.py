"""What becomes of a batch, or of jobs: cancelled, paused, tried again, approved."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, say
from shared.domain.jobs import BatchControl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.cli.backend import Backend, Decided

Jobs = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="JOB", help="Only this: a custom_id or a position; repeatable."),
]


def cancel(
    batch: options.BatchToChange, *, job: Jobs = None, as_json: options.Json = False
) -> None:
    """Call off what is not drawn yet, for good. Images that are drawn stay."""
    with _backend() as backend:
        batch_id, count, control = backend.cancel(batch, job or [])
    if as_json:
        print_json({"batch_id": str(batch_id), "control": control.value, "cancelled": count})
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
    with _backend() as backend:
        batch_id, count, _ = backend.retry(batch, job or [])
    if as_json:
        print_json({"batch_id": str(batch_id), "retried": count})
    else:
        say(f"batch {batch_id}: {_images(count)} tried again")


def approve(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Have what is held of a batch drawn."""
    with _backend() as backend:
        _show_decided(backend.approve(batch), as_json=as_json)


def reject(batch: options.BatchToChange, *, as_json: options.Json = False) -> None:
    """Call off what is held of a batch. Images that are drawn stay."""
    with _backend() as backend:
        _show_decided(backend.reject(batch), as_json=as_json)


@contextmanager
def _backend() -> Iterator[Backend]:
    from producer.cli.backend import opened_backend
    from producer.cli.server import command_settings

    with opened_backend(command_settings()) as backend:
        yield backend


def _show_decided(decided: Decided, *, as_json: bool) -> None:
    batch_id, count, _ = decided
    if as_json:
        print_json({"batch_id": str(batch_id), "jobs": count})
    else:
        say(f"batch {batch_id}: {_images(count)} no longer held")


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _control(reference: str, control: BatchControl, said: str, *, as_json: bool) -> None:
    with _backend() as backend:
        batch_id, _, control = backend.set_control(reference, control)
    if as_json:
        print_json({"batch_id": str(batch_id), "control": control.value})
    else:
        say(f"batch {batch_id}: {said}")
