"""Commands that keep running: ``worker``, ``dispatch``, ``up``, ``serve``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import UUID

import typer

if TYPE_CHECKING:
    from producer.dispatch import DispatcherThread
    from producer.local_fleet import LocalFleet
    from producer.services import Services
    from producer.serving import ServerProcesses
    from shared.db.tables import Worker
    from shared.settings import Settings

WORKER_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep worker --device cuda:0"
DISPATCH_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep dispatch"
UP_EPILOG = "Example: tenstep up --workers 2, then open http://127.0.0.1:8080"
SERVE_EPILOG = "Example: TENSTEP_DATABASE_URL=… tenstep serve --host 0.0.0.0 --port 8080"
DEFAULT_PORT = 8080
LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.5

Device = Annotated[
    str | None, typer.Option(help="cpu or cuda:0, cuda:1, …; default TENSTEP_DEVICE, else cpu.")
]
Model = Annotated[
    str | None, typer.Option(help="Model to load: a name or a folder; default TENSTEP_MODEL.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, max=64, help="How many worker processes.")
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object for every event.")]
Host = Annotated[
    str, typer.Option("--host", help="Address to answer on; 0.0.0.0 is all of this host's.")
]


def worker(
    device: Device = None, model: Model = None, workers: Workers = 1, *, as_json: Json = False
) -> None:
    """Run workers on this host until Ctrl-C; crashed ones are started again.

    With a Redis of tenstep's own (no TENSTEP_REDIS_URL) it dispatches too, since nobody
    else may be there to do it.
    """
    settings = _settings(device, model)
    _run(settings, workers=workers, dispatches=settings.redis_url is None, as_json=as_json)


def dispatch(*, as_json: Json = False) -> None:
    """Feed the queues from SQL until Ctrl-C. Several may run at once."""
    _run(_settings(None, None), workers=0, dispatches=True, as_json=as_json)


def up(
    device: Device = None,
    model: Model = None,
    workers: Workers = 1,
    host: Host = LOOPBACK,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Of the dashboard and the API; default 8080, if free."
        ),
    ] = None,
    *,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="With a dashboard and the API, or without.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run all that a batch needs until Ctrl-C: a dispatcher, local workers and the dashboard."""
    _run(
        _settings(device, model),
        workers=workers,
        dispatches=True,
        address=(host, port) if serve and _may_serve(port) else None,
        as_json=as_json,
    )


def _may_serve(port: int | None) -> bool:
    """Tell whether to serve: where nobody named a port, a light install goes without."""
    from producer.serving import can_serve

    return port is not None or can_serve()


def serve(
    host: Host = LOOPBACK,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to answer on; 0 is any.")
    ] = DEFAULT_PORT,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=64, help="How many processes answer.")
    ] = 1,
    *,
    dispatch: Annotated[
        bool,
        typer.Option(
            "--dispatch/--no-dispatch", help="Feed the queues too, or leave that to others."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Serve the dashboard and the HTTP API until Ctrl-C; the workers are elsewhere.

    Until a key is made (tenstep keys create) it can be used from its own host alone.
    """
    _run(
        _settings(None, None),
        workers=0,
        dispatches=dispatch,
        address=(host, port),
        processes=processes,
        as_json=as_json,
    )


def _settings(device: str | None, model: str | None) -> Settings:
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    chosen = {"device": device, "model": model}
    settings = load_settings().model_copy(
        update={name: value for name, value in chosen.items() if value is not None}
    )
    load_card(settings.model, settings.resolved_models_dir)
    return settings


def _run(
    settings: Settings,
    *,
    workers: int,
    dispatches: bool,
    as_json: bool,
    address: tuple[str, int | None] | None = None,
    processes: int = 1,
) -> None:
    from producer.dispatch import Dispatcher, DispatcherThread
    from producer.local_fleet import LocalFleet
    from producer.logs import log_to_file
    from producer.services import open_services

    log_to_file(settings)
    with open_services(settings) as services, _served(services, address, processes) as server:
        fleet = LocalFleet(settings, services.database, workers)
        dispatcher = DispatcherThread(
            Dispatcher(services.database, services.broker, settings),
            services.broker,
            settings.dispatch_seconds,
        )
        say = _Speaker(as_json=as_json)
        said = _introduction(services, workers, server, dispatches=dispatches)
        say("started", said, url=server.url if server else None)
        try:
            if dispatches:
                dispatcher.start()
            fleet.start()
            _watch_over(services, fleet, dispatcher, server, say)
        finally:
            say("stopping", "stopping: workers give back what they have not begun")
            dispatcher.stop()
            fleet.stop()
            say("stopped", "stopped; tenstep status tells what is left")


@contextmanager
def _served(
    services: Services, address: tuple[str, int | None] | None, processes: int
) -> Iterator[ServerProcesses | None]:
    """Answer at an address, and call webhooks, while the block runs; not if that is None.

    Without a port it is the usual one, or any that is free.
    """
    if address is None:
        yield None
        return
    from producer.serving import ServerProcesses, listen, listen_preferably

    host, port = address
    opened = listen_preferably(host, DEFAULT_PORT) if port is None else listen(host, port)
    with opened as listening:
        server = ServerProcesses(services.settings, listening, processes)
        # That has made sure that its packages are installed.
        from producer.webhooks.messenger import MessengerThread

        messenger = MessengerThread(services.database, services.settings)
        try:
            server.start()
            messenger.start()
            yield server
        finally:
            messenger.stop()
            server.stop()


def _watch_over(
    services: Services,
    fleet: LocalFleet,
    dispatcher: DispatcherThread,
    server: ServerProcesses | None,
    say: _Speaker,
) -> NoReturn:
    from sqlalchemy.exc import OperationalError

    ready: set[UUID] = set()
    while True:
        try:
            fleet.supervise()
            dispatcher.mend()
            if server is not None:
                server.supervise()
            for row in _newly_ready(services, fleet.worker_ids - ready):
                ready.add(row.id)
                say("worker_ready", _ready_sentence(row))
        except OperationalError as error:
            say("database_lost", f"the database does not answer, trying again: {error.orig}")
        time.sleep(POLL_SECONDS)


def _newly_ready(services: Services, worker_ids: set[UUID]) -> Sequence[Worker]:
    from sqlalchemy import select

    from shared.db.tables import Worker

    with services.database.read() as session:
        return session.scalars(select(Worker).where(Worker.id.in_(worker_ids))).all()


def _ready_sentence(row: Worker) -> str:
    from shared.domain.money import NANOSECONDS

    seconds = row.load_ns / NANOSECONDS
    return (
        f"worker {row.id} is ready: {row.model} on {row.device} ({row.device_name}), "
        f"loaded in {seconds:.1f} s"
    )


def _introduction(
    services: Services, workers: int, server: ServerProcesses | None, *, dispatches: bool
) -> str:
    settings = services.settings
    does = [f"{workers} worker(s) of {settings.model} on {settings.device}"] if workers else []
    does += ["a dispatcher"] if dispatches else []
    does += [f"a server at {server.url}"] if server else []
    serves = ""
    if server is not None:
        serves = (
            f"  pages    {server.url}/\n"
            f"  API      {server.url}/openapi.json, and below /v1 as OpenAI's\n"
        )
    *first, last = does or ["nothing"]
    return (
        f"running {' and '.join([', '.join(first), last] if first else [last])}; Ctrl-C stops\n"
        f"{serves}"
        f"  database {services.database.display_url}\n"
        f"  broker   {services.broker.display_url}\n"
        f"  store    {services.store.display_url}"
    )


class _Speaker:
    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, sentence: str, **facts: str | None) -> None:
        told = {"event": event, "message": sentence, **facts}
        typer.echo(json.dumps(told) if self._as_json else sentence)
