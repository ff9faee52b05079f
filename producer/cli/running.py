"""What commands that keep running tell of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from shared.domain.devices import Device

if TYPE_CHECKING:
    from producer.services import Services
    from producer.serving import ServerProcesses
    from shared.db.tables import Worker
    from shared.settings import Settings


def out_sentence(device: str, reason: str, settings: Settings) -> str:
    """Tell that no worker starts, or stays, on a device."""
    return (
        f"{device} is taken out, and tried again every {settings.device_retry_seconds:g} s: "
        f"{reason}"
    )


def ready_sentence(row: Worker) -> str:
    """Tell that a worker has loaded its model."""
    from shared.domain.money import NANOSECONDS

    seconds = row.load_ns / NANOSECONDS
    return (
        f"worker {row.id} is ready: {row.model} on {row.device} ({row.device_name}), "
        f"loaded in {seconds:.1f} s"
    )


def introduction(
    services: Services,
    devices: Sequence[str],
    workers: int,
    server: ServerProcesses | None,
    *,
    dispatches: bool,
) -> str:
    """Tell what runs from now on, and where.

    Args:
        services: what it works with.
        devices: which processes have.
        workers: how many each of them.
        server: what answers requests, if anything.
        dispatches: whether it feeds the queues.
    """
    settings = services.settings
    count = workers * sum(len(Device.parse_all(name)) for name in devices)
    does = (
        [f"{count} worker(s) of {', '.join(settings.served_models)} on {', '.join(devices)}"]
        if count
        else []
    )
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


class Speaker:
    """Tells of events, as sentences or as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, sentence: str, **facts: str | None) -> None:
        """Tell of an event; facts are for programs alone."""
        told = {"event": event, "message": sentence, **facts}
        typer.echo(json.dumps(told) if self._as_json else sentence)
