"""``tenstep workers``: which there are, and whether they take jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from producer.cli import options
from producer.cli.console import print_json, print_rich, say
from shared.domain.workers import WorkerState
from shared.errors import InputError

if TYPE_CHECKING:
    from producer.wire.fleet import WorkerOut

LIST_EPILOG = "Example: tenstep workers list --all --json"
DRAIN_EPILOG = "Example: tenstep workers drain 0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"
RESUME_EPILOG = "Example: tenstep workers resume 0197f3a2-5c1e-7bb0-9f6e-1f2d3c4b5a69"
# One line a paragraph, or Rich breaks lines where the source does.
DRAIN_HELP = (
    "Have a worker take nothing more until it is resumed.\n\n"
    "It finishes what is in its device, gives back what it has not begun, and keeps its model "
    "loaded. Its device goes on to cost, as idle time."
)
MOST_LISTED = 1_000

app = typer.Typer(
    name="workers",
    help="List workers, drain them, have them go on.",
    epilog=LIST_EPILOG,
    no_args_is_help=True,
)

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="Id of a worker.")]


@app.command("list", epilog=LIST_EPILOG)
def list_workers(
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that ended or are silent.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MOST_LISTED, help="How many at most.")
    ] = 100,
    as_json: options.Json = False,
) -> None:
    """List the workers that are alive, the newest first."""
    workers = _listed(limit, only_live=not all_)
    if as_json:
        print_json({"workers": [worker.model_dump(mode="json") for worker in workers]})
        return
    from rich.table import Table

    from producer.cli.fleet_table import shown_models

    table = Table(box=None, pad_edge=False)
    for heading in ("worker", "state", "device", "model", "host"):
        table.add_column(heading, no_wrap=heading == "worker", overflow="fold")
    for worker in workers:
        models = "\n".join(shown_models(worker))
        table.add_row(str(worker.worker_id), worker.state.value, worker.device, models, worker.host)
    print_rich(table)


@app.command("drain", help=DRAIN_HELP, epilog=DRAIN_EPILOG)
def drain(worker: WorkerId, *, as_json: options.Json = False) -> None:
    """Have a worker take nothing more until it is resumed."""
    said = "drained: it finishes what is in its device, and takes nothing more"
    _show(_decide(worker, drains=True), said, as_json=as_json)


@app.command("resume", epilog=RESUME_EPILOG)
def resume(worker: WorkerId, *, as_json: options.Json = False) -> None:
    """Have a drained worker take jobs again."""
    _show(_decide(worker, drains=False), "takes jobs", as_json=as_json)


def _listed(limit: int, *, only_live: bool) -> Sequence[WorkerOut]:
    from producer.cli.database import opened
    from producer.cli.server import command_settings, opened_server

    settings = command_settings()
    if settings.server is not None:
        with opened_server(settings) as client:
            return client.workers(alive=only_live, limit=limit).workers
    from producer.fleet_documents import worker_documents
    from producer.wire.fleet import WorkerOut

    with opened(settings) as database, database.read() as session:
        now = database.now(session)
        found = worker_documents(session, settings, now, limit, only_live=only_live)
    return [WorkerOut.model_validate(worker) for worker in found]


def _decide(text: str, *, drains: bool) -> WorkerOut:
    from producer.cli.database import opened
    from producer.cli.server import command_settings, opened_server

    worker_id, settings = _id(text), command_settings()
    if settings.server is not None:
        with opened_server(settings) as client:
            return (client.drain_worker if drains else client.resume_worker)(worker_id)
    from producer.wire.fleet import WorkerOut
    from producer.workers import drain_worker, resume_worker

    decide = drain_worker if drains else resume_worker
    with opened(settings) as database:
        return WorkerOut.model_validate(decide(database, settings, worker_id))


def _show(worker: WorkerOut, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json(worker.model_dump(mode="json"))
    elif worker.state in {WorkerState.READY, WorkerState.DRAINED}:
        say(f"worker {worker.worker_id}: {said}")
    else:
        say(f"worker {worker.worker_id}: {said}; it is {worker.state}")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InputError(
            f"{text}: no id of a worker", hint="tenstep workers list shows them."
        ) from None
