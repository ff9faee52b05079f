"""``tenstep status`` and ``tenstep watch``: how far a batch is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import (
    print_batches,
    print_json,
    print_json_line,
    print_status,
    progress_view,
)
from shared.errors import InputError

if TYPE_CHECKING:
    from uuid import UUID

    from producer.batch_status import BatchStatus, BatchSummary
    from producer.cli.backend import Backend
    from shared.settings import Settings

MAX_LISTED = 1_000


def status(
    batch: options.Batch = None,
    *,
    list_all: Annotated[bool, typer.Option("--all", help="List the newest batches.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show counts, rate, time left, cost and failures of a batch, and why it stands still."""
    from producer.cli.backend import opened_backend
    from producer.cli.server import command_settings

    settings = command_settings()
    if list_all and batch is not None:
        raise InputError("give a batch or --all, not both")
    if list_all and not _may_have_batches(settings):
        _show_batches([], as_json=as_json)
        return
    with opened_backend(settings) as backend:
        if list_all:
            _show_batches(backend.batches(MAX_LISTED), as_json=as_json)
            return
        found = backend.status(batch)
    if as_json:
        print_json(found.to_json())
    else:
        print_status(found)


def _may_have_batches(settings: Settings) -> bool:
    from producer.cli.database import is_there

    return settings.server is not None or is_there(settings)


def _show_batches(batches: Sequence[BatchSummary], *, as_json: bool) -> None:
    if as_json:
        print_json({"batches": [batch.to_json() for batch in batches]})
    else:
        print_batches(batches)


def watch(
    batch: options.Batch = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two looks, at least.")
    ] = 1.0,
    *,
    as_json: options.Json = False,
) -> None:
    """Follow a batch until it is finished. Ctrl-C leaves; the batch goes on."""
    from producer.cli.backend import opened_backend
    from producer.cli.server import command_settings

    with opened_backend(command_settings()) as backend:
        batch_id = backend.find(batch)
        try:
            last = _follow(backend, batch_id, interval, as_json=as_json)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"left; tenstep watch {batch_id} looks again") from None
    if not as_json:
        print_status(last)


def _follow(backend: Backend, batch_id: UUID, seconds: float, *, as_json: bool) -> BatchStatus:
    with progress_view(quiet=as_json) as show:

        def tell(status: BatchStatus) -> None:
            if as_json:
                print_json_line(status.to_json())
            show(status)

        return backend.follow(batch_id, seconds, tell)
