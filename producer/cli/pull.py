"""``tenstep pull``: images out of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from producer.cli import options
from producer.cli.console import complain, print_json, say, shown, warn_of_cut_prompts
from producer.cli.errors import FAILED
from producer.cli.pull_view import counting_view
from producer.pull_format import ManifestKind, PullFormat
from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from producer.progress import Report
    from producer.pull import Pulled, PullOptions, PullProblem
    from shared.db.engine import Database
    from shared.settings import Settings

EPILOG = (
    "Examples: tenstep pull 0197f3a2 --to pictures; "
    "tenstep pull --to s3://bucket/drawn --format webdataset --manifest both"
)
MAX_PARALLEL = 64
MAX_LISTED = 20

To = Annotated[
    str | None,
    typer.Option(
        "--to",
        "--out",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="Where to; default the folder of its render, or renders/NAME.",
    ),
]
Format = Annotated[
    PullFormat,
    typer.Option("--format", help="A file an image, or WebDataset's tar shards."),
]
Manifest = Annotated[
    ManifestKind, typer.Option("--manifest", help="Which manifests to write beside them.")
]
ManifestOnly = Annotated[
    bool, typer.Option("--manifest-only", help="Fetch no images, write the manifests alone.")
]
Parallel = Annotated[
    int, typer.Option("--parallel", min=1, max=MAX_PARALLEL, help="Images fetched at once.")
]
ShardImages = Annotated[
    int,
    typer.Option(
        "--shard-images", min=1, max=1_000_000, help="Images a shard; 1 GiB ends one, too."
    ),
]


def pull(
    batch: options.Batch = None,
    to: To = None,
    pull_format: Format = PullFormat.FOLDER,
    manifest: Manifest = ManifestKind.JSONL,
    shard_images: ShardImages = 10_000,
    parallel: Parallel = 8,
    *,
    manifest_only: ManifestOnly = False,
    as_json: options.Json = False,
) -> None:
    """Write a batch's images and its manifest to a folder or to object storage.

    Images that are there already are not fetched again. A batch that is still being drawn
    gives what it has: pull again for the rest. A folder gets a contact sheet, too.

    Object storage needs the TENSTEP_S3_… settings or AWS's own. A place for shards, or in
    object storage, belongs to one batch.
    """
    from producer.cli.server import command_settings
    from producer.pull import PullOptions

    if manifest_only and manifest is ManifestKind.NONE:
        raise InputError("--manifest-only with --manifest none leaves nothing to do")
    settings = command_settings()
    pull_options = PullOptions(parallel, manifest, manifest_only, shard_images)
    pull_from = _pull_here if settings.server is None else _pull_over
    done = pull_from(settings, batch, to, pull_format, pull_options, quiet=as_json)
    pulled = done.pulled
    _complain_of(pulled.problems, pulled.not_fetched)
    warn_of_cut_prompts(pulled.cut)
    if as_json:
        document = {
            "batch_id": str(done.batch_id),
            "total": done.total,
            "format": pull_format.value,
        }
        sheet_path = str(done.sheet) if done.sheet else None
        print_json({**document, **pulled.to_json(), "contact_sheet": sheet_path})
    else:
        say(_summary(pulled, done.total, done.place))
    if pulled.not_fetched:
        raise typer.Exit(FAILED)


class _Done(NamedTuple):
    """What a pull came to."""

    batch_id: UUID
    total: int
    place: str
    pulled: Pulled
    sheet: Path | None


def _pull_over(
    settings: Settings,
    batch: str | None,
    to: str | None,
    pull_format: PullFormat,
    pull_options: PullOptions,
    *,
    quiet: bool,
) -> _Done:
    """Pull through a server, to a folder."""
    from producer.cli.remote.pull import RemotePuller
    from producer.cli.remote.references import find
    from producer.cli.server import opened_server
    from producer.contact_sheet import write_contact_sheet
    from producer.names import default_folder

    if pull_format is not PullFormat.FOLDER or "://" in (to or ""):
        raise InputError("over a server, images are pulled to a folder, a file an image")
    if pull_options.manifest in {ManifestKind.PARQUET, ManifestKind.BOTH}:
        raise InputError("over a server, the manifest is pulled as JSON lines")
    with opened_server(settings) as client, counting_view(quiet=quiet) as report:
        status = client.batch(find(client, batch))
        place = to or str(default_folder(status.name))
        puller = RemotePuller(client, status.batch_id, status.total, Path(place), pull_options)
        pulled = puller.finish(report)
        return _Done(status.batch_id, status.total, place, pulled, write_contact_sheet(pulled))


def _pull_here(
    settings: Settings,
    batch: str | None,
    to: str | None,
    pull_format: PullFormat,
    pull_options: PullOptions,
    *,
    quiet: bool,
) -> _Done:
    from producer.cli.database import opened
    from producer.names import default_folder
    from shared.db.batches import find_batch
    from shared.db.details import require_details

    with opened(settings) as database:
        with database.read() as session:
            found = require_details(find_batch(session, batch))
            batch_id, total = found.id, found.total
            place = to or found.client.get("out") or str(default_folder(found.name))
        with counting_view(quiet=quiet) as report:
            pulled, sheet = _pull(
                database, settings, batch_id, place, pull_format, pull_options, report
            )
    return _Done(batch_id, total, place, pulled, sheet)


def _pull(
    database: Database,
    settings: Settings,
    batch_id: UUID,
    place: str,
    pull_format: PullFormat,
    pull_options: PullOptions,
    report: Report,
) -> tuple[Pulled, Path | None]:
    from producer.contact_sheet import write_contact_sheet
    from producer.pull import Puller, pull_objects, pull_shards
    from shared.files import ensure_writable
    from shared.storage.folder import FolderStore
    from shared.storage.open import open_store, open_store_at

    store = open_store(settings)
    if place.startswith("s3://"):
        destination = open_store_at(place, settings)
        destination.check()
        write = pull_shards if pull_format is PullFormat.WEBDATASET else pull_objects
        return write(database, store, batch_id, destination, pull_options, report), None
    if "://" in place:
        raise InputError(f"--to: a folder or s3://bucket/prefix, not {place}")
    folder = Path(place)
    if pull_format is PullFormat.FOLDER:
        in_folder = Puller(database, store, batch_id, folder, pull_options).finish(report)
        return in_folder, write_contact_sheet(in_folder)
    ensure_writable(folder)
    shards = FolderStore(folder)
    return pull_shards(database, store, batch_id, shards, pull_options, report), None


def _complain_of(problems: Sequence[PullProblem], count: int) -> None:
    for problem in problems[:MAX_LISTED]:
        complain(f"image {problem.position}: {problem.reason}")
    if count > MAX_LISTED:
        complain(f"and {count - MAX_LISTED:,} more could not be fetched")


def _summary(pulled: Pulled, total: int, place: str) -> str:
    where = place if "://" in place else shown(Path(place))
    if pulled.shards is not None:
        where = f"{'1 shard' if pulled.shards == 1 else f'{pulled.shards:,} shards'} in {where}"
    return f"{pulled.images:,} of {total:,} images in {where}, {pulled.written:,} of them new"
