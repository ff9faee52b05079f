"""``tenstep status`` and ``tenstep watch``: how far a batch is."""

from __future__ import annotations

import time
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
    from producer.status import BatchStatus, BatchSummary
    from shared.db.engine import Database
    from shared.settings import Settings

MAX_LISTED = 1_000
PAUSE_A_LOOK = 4
"""Times as long as it looks ``watch`` waits: a very large batch must not load its database."""


def status(
    batch: options.Batch = None,
    *,
    list_all: Annotated[bool, typer.Option("--all", help="List the newest batches.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show counts, rate, time left, cost and failures of a batch, and why it stands still."""
    from producer.cli.database import is_there, opened
    from producer.status import list_batches, read_status
    from shared.settings import load_settings

    settings = load_settings()
    if list_all and batch is not None:
        raise InputError("give a batch or --all, not both")
    if list_all and not is_there(settings):
        _show_batches([], as_json=as_json)
        return
    with opened(settings) as database:
        if list_all:
            _show_batches(list_batches(database, MAX_LISTED), as_json=as_json)
            return
        found = read_status(database, settings, batch)
    if as_json:
        print_json(found.to_json())
    else:
        print_status(found)


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
    from producer.cli.database import opened
    from producer.status import read_status
    from shared.settings import load_settings

    settings = load_settings()
    with opened(settings) as database:
        reference = str(read_status(database, settings, batch).summary.id)
        try:
            last = _follow(database, settings, reference, interval, as_json=as_json)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"left; tenstep watch {reference} looks again") from None
    if not as_json:
        print_status(last)


def _follow(
    database: Database, settings: Settings, reference: str, interval: float, *, as_json: bool
) -> BatchStatus:
    from producer.status import read_status

    with progress_view(quiet=as_json) as show:
        while True:
            begin = time.monotonic()
            found = read_status(database, settings, reference)
            if as_json:
                print_json_line(found.to_json())
            show(found)
            if found.is_finished:
                return found
            looking = time.monotonic() - begin
            time.sleep(max(interval, looking * PAUSE_A_LOOK))
