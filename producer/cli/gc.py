"""``tenstep gc``: images that nobody refers to, and their thumbnails."""

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

UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def gc(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Such as 90s, 30m, 1h or 2d.")
    ] = "1h",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove images from the store that no job refers to, and their thumbnails.

    A worker that dies after it has stored an image, and before it has booked it, leaves one.
    """
    from producer.cli.database import opened
    from producer.gc import collect_garbage
    from shared.clock import utc_now
    from shared.settings import load_settings
    from shared.storage.open import open_store

    grace = _age(older_than)
    settings = load_settings()
    with opened(settings) as database:
        found = collect_garbage(
            database, open_store(settings), utc_now(), grace, delete=not dry_run
        )
    if as_json:
        print_json(found.to_json())
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


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd]?)", text)
    if match is None:
        raise InputError(f"--older-than: not an age: {text!r}", hint="Such as 90s, 30m, 1h or 2d.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
