"""What ``tenstep gc`` says and asks of batches of long ago."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from producer.cli.console import complain, say
from producer.cli.errors import FAILED
from producer.cli.pull_view import counting_view
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.retention import Dropped, OldBatch
    from shared.db.engine import Database


def drop_old(
    database: Database,
    age: timedelta,
    tenant: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Remove the jobs of batches that ended so long ago; returns what came of it, for programs.

    Raises:
        Exit: somebody was asked, and said no.
        InputError: nobody can be asked.
    """
    from producer.retention import drop_details, find_old_batches

    with database.read() as session:
        ended_before = database.now(session) - age
    batches = find_old_batches(database, ended_before, tenant)
    if dry_run:
        if not as_json:
            say(f"{_described(batches)}: not removed")
        return _counted(batches)
    if batches and not yes:
        _ask(batches, as_json=as_json)
    with counting_view(quiet=as_json) as report:
        dropped = drop_details(database, batches, ended_before, report)
    if not as_json:
        _tell(dropped)
    return dropped.to_json()


def _ask(batches: Sequence[OldBatch], *, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise InputError(
            f"{_described(batches)}, would be removed, and nobody can be asked",
            hint="Say --yes to remove them, or --dry-run to count them.",
        )
    if not typer.confirm(f"Remove {_described(batches)}, with their images?", err=True):
        complain("nothing was removed")
        raise typer.Exit(FAILED)


def _described(batches: Sequence[OldBatch]) -> str:
    counted = _counted(batches)
    some = "1 old batch" if len(batches) == 1 else f"{len(batches):,} old batches"
    return f"the {counted['jobs']:,} jobs of {some}, {counted['image_bytes']:,} bytes of images"


def _counted(batches: Sequence[OldBatch]) -> dict[str, Any]:
    return {
        "batches": len(batches),
        "jobs": sum(batch.jobs for batch in batches),
        "image_bytes": sum(batch.image_bytes for batch in batches),
    }


def _tell(dropped: Dropped) -> None:
    some = "1 old batch" if dropped.batches == 1 else f"{dropped.batches:,} old batches"
    say(f"{dropped.jobs:,} jobs of {some}: removed; counts and costs remain")
    for spared in dropped.spared:
        complain(f"batch {spared.batch_id} stays: {spared.reason}")
