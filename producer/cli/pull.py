"""``tenstep pull``: images out of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli import options
from producer.cli.console import complain, print_json, say, warn_of_cut_prompts
from producer.cli.errors import FAILED

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write to; default that of its render, or renders/NAME."),
]


def pull(batch: options.Batch = None, out: Out = None, *, as_json: options.Json = False) -> None:
    """Write a batch's images, manifest.jsonl and a contact sheet to a folder.

    Images that are there already are not fetched again. A batch that is still being drawn
    gives what it has.
    """
    from producer.cli.database import opened
    from producer.contact_sheet import write_contact_sheet
    from producer.names import default_folder
    from producer.pull import Puller
    from shared.db.batches import find_batch
    from shared.settings import load_settings
    from shared.storage.open import open_store

    settings = load_settings()
    with opened(settings) as database:
        with database.read() as session:
            found = find_batch(session, batch)
            batch_id, total = found.id, found.total
            folder = out or Path(found.client.get("out") or default_folder(found.name))
        pulled = Puller(database, open_store(settings), batch_id, folder).finish()
        sheet = write_contact_sheet(pulled)
    for problem in pulled.problems:
        complain(f"image {problem.position}: {problem.reason}")
    warn_of_cut_prompts(pulled.cut)
    if as_json:
        document = {"batch_id": str(batch_id), "total": total, **pulled.to_json()}
        print_json({**document, "contact_sheet": str(sheet) if sheet else None})
    else:
        say(f"{pulled.images:,} of {total:,} images in {folder}, {pulled.written:,} of them new")
    if pulled.problems:
        raise typer.Exit(FAILED)
