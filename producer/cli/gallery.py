"""``tenstep gallery``: a batch on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli import options
from producer.cli.console import complain, print_json, say, shown
from producer.cli.errors import FAILED
from producer.cli.pull_view import counting_view
from producer.gallery_state import GalleryState

EPILOG = "Example: tenstep gallery 0197f3a2 --limit 200 --to pictures.html"
MAX_LIMIT = 5_000
GALLERY = "gallery.html"

To = Annotated[
    Path | None,
    typer.Option(
        "--to",
        metavar="FILE.html",
        help="File to write; default gallery.html in the folder of its render, or renders/NAME.",
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="Jobs on the page, at most.")
]
State = Annotated[GalleryState, typer.Option("--state", help="Which jobs to show.")]


def gallery(
    batch: options.Batch = None,
    to: To = None,
    limit: Limit = 500,
    state: State = GalleryState.DONE,
    *,
    as_json: options.Json = False,
) -> None:
    """Write a batch's images on one HTML page that can be sent and needs nothing else.

    Of more images than fit it shows an even sample, and says so. Each comes with its prompt,
    seed, cost and device; a job that failed with its reason.
    """
    from producer.cli.database import opened
    from producer.gallery import write_gallery
    from producer.names import default_folder
    from shared.db.batches import find_batch
    from shared.db.details import require_details
    from shared.settings import load_settings
    from shared.storage.open import open_store

    settings = load_settings()
    with opened(settings) as database:
        with database.read() as session:
            found = require_details(find_batch(session, batch))
            batch_id = found.id
            folder = Path(found.client.get("out") or default_folder(found.name))
        with counting_view(quiet=as_json) as report:
            page = write_gallery(
                database,
                open_store(settings),
                batch_id,
                to or folder / GALLERY,
                state=state,
                limit=limit,
                report=report,
            )
    if as_json:
        print_json({"batch_id": str(batch_id), "state": state.value, **page.to_json()})
    else:
        say(f"{page.shown:,} of {page.of:,} in {shown(page.file)}")
    if page.missing:
        complain(f"{page.missing:,} images could not be fetched; the page tells why")
        raise typer.Exit(FAILED)
