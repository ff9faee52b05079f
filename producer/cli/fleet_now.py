"""``tenstep fleet``: what each device does, how fast, and at what cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli import options
from producer.cli.console import print_json, print_json_line, print_rich
from producer.interruption import pause

if TYPE_CHECKING:
    from producer.wire.fleet import FleetOut

EPILOG = "Example: tenstep fleet --watch"

Look = Callable[[], "FleetOut"]


def fleet(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between two looks of --watch.")
    ] = 2.0,
    as_json: options.Json = False,
) -> None:
    """Show the devices of the whole fleet: what each does, how fast, and at what cost.

    How fast and how busy is of the last five minutes. A device on which no worker starts, or
    stays, is faulty: it is tried again from time to time. tenstep workers drains and resumes.
    """
    with _looking() as look:
        if not watch:
            _print(look(), as_json=as_json)
        elif sys.stdout.isatty() and not as_json:
            _show_live(look, interval)
        else:
            while True:
                found = look()
                if as_json:
                    print_json_line(found.model_dump(mode="json"))
                else:
                    _print(found, as_json=False)
                pause(interval)


def _print(found: FleetOut, *, as_json: bool) -> None:
    from producer.cli.fleet_table import fleet_table

    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_rich(fleet_table(found))


def _show_live(look: Look, seconds: float) -> None:
    from rich.live import Live

    from producer.cli.fleet_table import fleet_table

    with Live(fleet_table(look()), auto_refresh=False) as live:
        while True:
            pause(seconds)
            live.update(fleet_table(look()), refresh=True)


@contextmanager
def _looking() -> Iterator[Look]:
    """Open the database or the server, and hand out what looks at the fleet."""
    from producer.cli.database import opened
    from producer.cli.server import command_settings, opened_server

    settings = command_settings()
    if settings.server is not None:
        with opened_server(settings) as client:
            yield client.fleet
        return
    from producer.fleet_report import fleet_document
    from producer.fleet_view import view_fleet
    from producer.wire.fleet import FleetOut

    with opened(settings) as database:

        def look() -> FleetOut:
            with database.read() as session:
                view = view_fleet(session, settings, database.now(session))
                return FleetOut.model_validate(fleet_document(view))

        yield look
