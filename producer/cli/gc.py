"""``tenstep gc``: images that nobody refers to, and the details of batches of long ago."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, say
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.gc import Collected

EPILOG = (
    "Examples: tenstep gc --older-than 2h --dry-run; "
    "tenstep gc --batches-older-than 90d --tenant shop --yes"
)
FEWEST_DAYS = timedelta(days=1)
UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def gc(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Such as 90s, 30m, 1h or 2d.")
    ] = "1h",
    batches_older_than: Annotated[
        str | None,
        typer.Option(
            "--batches-older-than",
            metavar="AGE",
            help="First remove the jobs of batches that ended so long ago, such as 90d.",
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", help="With --batches-older-than: only this tenant's batches."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --batches-older-than: do not ask.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Remove images from the store that no job refers to, and their thumbnails.

    A worker that dies after it has stored an image, and before it has booked it, leaves one.

    With --batches-older-than the jobs of old batches go first, with all that is known of each
    attempt, and so their images go too, unless a job of another batch has the same. Pull
    before what you want to keep. A batch itself stays, with its counts and its costs: status,
    bills and reports are the same as before. Cut off at any moment, it goes on next time.
    """
    from producer.cli.database import opened
    from producer.cli.old_batches import drop_old
    from producer.gc import collect_garbage
    from shared.clock import utc_now
    from shared.settings import load_settings
    from shared.storage.open import open_store

    grace = _age("--older-than", older_than)
    age = None if batches_older_than is None else _age("--batches-older-than", batches_older_than)
    _check(age, tenant, yes=yes)
    settings = load_settings()
    with opened(settings) as database:
        old = age and drop_old(database, age, tenant, dry_run=dry_run, yes=yes, as_json=as_json)
        found = collect_garbage(
            database, open_store(settings), utc_now(), grace, delete=not dry_run
        )
    if as_json:
        print_json({**found.to_json(), **({"old_batches": old} if age else {})})
        return
    for noun, of_kind in (("image", found.images), ("thumbnail", found.thumbnails)):
        say(_told(noun, of_kind, dry_run=dry_run))


def _told(noun: str, found: Collected, *, dry_run: bool) -> str:
    orphans = f"1 {noun}" if found.orphans == 1 else f"{found.orphans:,} {noun}s"
    verb = "not removed" if dry_run else "removed"
    return (
        f"{orphans} of {found.objects:,} in the store without a job, "
        f"{found.orphan_bytes:,} bytes: {verb}"
    )


def _check(age: timedelta | None, tenant: str | None, *, yes: bool) -> None:
    if age is None and (tenant is not None or yes):
        raise InputError("--tenant and --yes are about --batches-older-than")
    if age is not None and age < FEWEST_DAYS:
        raise InputError(
            "--batches-older-than: at least 1d",
            hint="What workers report late of a batch has to find its jobs.",
        )


def _age(option: str, text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd]?)", text)
    if match is None:
        raise InputError(f"{option}: not an age: {text!r}", hint="Such as 90s, 30m, 1h or 2d.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
