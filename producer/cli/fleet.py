"""Commands that keep running: ``worker``, ``dispatch``, ``up``, ``serve``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import UUID

import typer

from producer.cli.running import Speaker, introduction, out_sentence, ready_sentence
from producer.interruption import pause

if TYPE_CHECKING:
    from producer.dispatch import DispatcherThread
    from producer.local_fleet import LocalFleet
    from producer.services import Services
    from producer.serving import ServerProcesses
    from shared.db.tables import Worker
    from shared.settings import Settings

WORKER_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep worker --device auto"
DISPATCH_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep dispatch"
UP_EPILOG = "Example: tenstep up --workers 2, then open http://127.0.0.1:8080"
SERVE_EPILOG = "Example: TENSTEP_DATABASE_URL=… tenstep serve --host 0.0.0.0 --port 8080"
DEFAULT_PORT = 8080
LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.5

Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="cpu, cuda:0, qaic:0, … or auto, every good accelerator of this host; may be given "
        "several times. Default TENSTEP_DEVICE, else cpu.",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Model to serve: a name or a folder; may be given several times, and the first is "
        "loaded at once. Default TENSTEP_MODEL, and TENSTEP_ALSO_MODELS.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        max=64,
        help="How many processes each device gets; more than one of cpu and simulated alone.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object for every event.")]
Host = Annotated[
    str, typer.Option("--host", help="Address to answer on; 0.0.0.0 is all of this host's.")
]


def worker(
    device: Devices = None, model: Models = None, workers: Workers = 1, *, as_json: Json = False
) -> None:
    """Run workers on this host until Ctrl-C, a process a device; crashed ones are started again.

    A device on which none starts is taken out and seldom tried again, while the others go on;
    tenstep devices lists what this host has.

    With a Redis of tenstep's own (no TENSTEP_REDIS_URL) it dispatches too, since nobody
    else may be there to do it.
    """
    settings = _settings(device, model)
    _run(settings, workers=workers, dispatches=settings.redis_url is None, as_json=as_json)


def dispatch(*, as_json: Json = False) -> None:
    """Feed the queues from SQL until Ctrl-C. Several may run at once."""
    _run(_settings(None, None), workers=0, dispatches=True, as_json=as_json)


def up(
    device: Devices = None,
    model: Models = None,
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


def _settings(devices: Sequence[str] | None, models: Sequence[str] | None) -> Settings:
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    chosen: dict[str, object] = {"device": ",".join(devices)} if devices else {}
    if models:
        chosen |= {"model": models[0], "also_models": tuple(models[1:])}
    settings = load_settings().model_copy(update=chosen)
    for name in settings.served_models:
        load_card(name, settings.resolved_models_dir)
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
    from producer.local_devices import ChosenDevices, choose_devices
    from producer.local_fleet import LocalFleet
    from producer.logs import log_to_file
    from producer.services import open_services

    log_to_file(settings)
    chosen = choose_devices(settings.device) if workers else ChosenDevices(())
    with open_services(settings) as services, _served(services, address, processes) as server:
        fleet = LocalFleet(settings, services.database, workers, chosen.names)
        dispatcher = DispatcherThread(
            Dispatcher(services.database, services.broker, settings),
            services.broker,
            settings.dispatch_seconds,
        )
        say = Speaker(as_json=as_json)
        said = introduction(services, chosen.names, workers, server, dispatches=dispatches)
        for sentence in chosen.left_out:
            say("device_left_out", sentence)
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
    say: Speaker,
) -> NoReturn:
    from sqlalchemy.exc import OperationalError

    ready: set[UUID] = set()
    out: dict[str, str] = {}
    while True:
        try:
            fleet.supervise()
            dispatcher.mend()
            if server is not None:
                server.supervise()
            for row in _newly_ready(services, fleet.worker_ids - ready):
                ready.add(row.id)
                say("worker_ready", ready_sentence(row))
            for device, reason in fleet.faults.items() - out.items():
                sentence = out_sentence(device, reason, services.settings)
                say("device_out", sentence, device=device)
            out = dict(fleet.faults)
        except OperationalError as error:
            say("database_lost", f"the database does not answer, trying again: {error.orig}")
        pause(POLL_SECONDS)


def _newly_ready(services: Services, worker_ids: set[UUID]) -> Sequence[Worker]:
    from sqlalchemy import select

    from shared.db.tables import Worker

    with services.database.read() as session:
        return session.scalars(select(Worker).where(Worker.id.in_(worker_ids))).all()
