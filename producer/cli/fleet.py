"""Commands that keep running: ``worker``, ``dispatch``, ``up``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from producer.services import Services
    from shared.settings import Settings

WORKER_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep worker --device cuda:0"
DISPATCH_EPILOG = "Example: TENSTEP_REDIS_URL=redis://queue:6379/0 tenstep dispatch"
UP_EPILOG = "Example: tenstep up --workers 2"
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
    device: Device = None, model: Model = None, workers: Workers = 1, *, as_json: Json = False
) -> None:
    """Run a dispatcher and local workers until Ctrl-C: all that a batch needs."""
    _run(_settings(device, model), workers=workers, dispatches=True, as_json=as_json)


def _settings(device: str | None, model: str | None) -> Settings:
    from shared.models.catalog import load_card
    from shared.settings import load_settings

    chosen = {"device": device, "model": model}
    settings = load_settings().model_copy(
        update={name: value for name, value in chosen.items() if value is not None}
    )
    load_card(settings.model)
    return settings


def _run(settings: Settings, *, workers: int, dispatches: bool, as_json: bool) -> None:
    from producer.dispatch import Dispatcher, DispatcherThread
    from producer.local_fleet import LocalFleet
    from producer.logs import log_to_file
    from producer.services import open_services

    log_to_file(settings)
    with open_services(settings) as services:
        fleet = LocalFleet(settings, services.database, workers)
        dispatcher = DispatcherThread(
            Dispatcher(services.database, services.broker, settings),
            services.broker,
            settings.dispatch_seconds,
        )
        say = _Speaker(as_json=as_json)
        say(
            "started",
            _introduction(services, workers, dispatches=dispatches),
        )
        if dispatches:
            dispatcher.start()
        fleet.start()
        try:
            for event in _events(services, fleet):
                say(*event)
        finally:
            say("stopping", "stopping: workers give back what they have not begun")
            if dispatches:
                dispatcher.stop()
            fleet.stop()
            say("stopped", "stopped; tenstep status tells what is left")


def _events(services: Services, fleet: Any) -> Iterator[tuple[str, str]]:
    """Watch over the fleet for ever, and tell when a worker of ours is ready."""
    from shared.db.tables import Worker
    from shared.domain.money import NANOSECONDS

    ready: set[UUID] = set()
    while True:
        fleet.supervise()
        with services.database.read() as session:
            for worker_id in fleet.worker_ids - ready:
                row = session.get(Worker, worker_id)
                if row is not None:
                    ready.add(worker_id)
                    seconds = row.load_ns / NANOSECONDS
                    where = f"{row.model} on {row.device} ({row.device_name})"
                    sentence = f"worker {worker_id} is ready: {where}, loaded in {seconds:.1f} s"
                    yield "worker_ready", sentence
        time.sleep(POLL_SECONDS)


def _introduction(services: Services, workers: int, *, dispatches: bool) -> str:
    settings = services.settings
    does = [f"{workers} worker(s) of {settings.model} on {settings.device}"] if workers else []
    does += ["a dispatcher"] if dispatches else []
    return (
        f"running {' and '.join(does)}; Ctrl-C stops\n"
        f"  database {services.database.display_url}\n"
        f"  broker   {services.broker.display_url}\n"
        f"  store    {services.store.display_url}"
    )


class _Speaker:
    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, sentence: str) -> None:
        line = json.dumps({"event": event, "message": sentence}) if self._as_json else sentence
        typer.echo(line)
