"""The command ``tenstep``: its list of commands, and one place for errors and signals."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn

import typer

from producer.cli import (
    budget,
    calibrate,
    control,
    cost,
    doctor,
    fleet,
    fleet_now,
    gallery,
    gc,
    jobs,
    keys,
    migrate,
    plan,
    pods,
    prices,
    pull,
    quote,
    reconcile,
    render,
    status,
    submit,
    workers,
)
from producer.cli.console import say
from producer.cli.errors import BROKEN_PIPE, report
from producer.cli.server import choose_server, without_named_server, without_server
from producer.interruption import raise_when_asked_to_stop

WORKER_COMMANDS = "tenstep.commands"
"""Entry points of packages that the producer must not import."""

app = typer.Typer(
    name="tenstep",
    help="Render very large batches of prompts into images, and know what each one cost.",
    epilog='Example: tenstep render "a red apple"',
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if is_asked:
        from shared.version import VERSION

        say(f"tenstep {VERSION}")
        raise typer.Exit


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Work through a tenstep server, such as https://tenstep.example; default "
        "TENSTEP_SERVER. Its key is in TENSTEP_API_KEY. Commands that need the database itself "
        "refuse it; worker, dispatch, up and serve, which make up a server, and doctor ignore "
        "TENSTEP_SERVER.",
    ),
]


@app.callback()
def _options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback has shown it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    server: Server = None,
) -> None:
    choose_server(server)


EPILOGS: dict[Callable[..., None], str] = {
    render.render: render.EPILOG,
    submit.submit: submit.EPILOG,
    quote.quote: quote.EPILOG,
    calibrate.calibrate: calibrate.EPILOG,
    plan.plan: plan.EPILOG,
    status.status: "Example: tenstep status --all",
    status.watch: "Example: tenstep watch 0197f3a2",
    jobs.jobs: jobs.JOBS_EPILOG,
    jobs.show: jobs.SHOW_EPILOG,
    pull.pull: pull.EPILOG,
    gallery.gallery: gallery.EPILOG,
    budget.budget: budget.EPILOG,
    control.cancel: "Example: tenstep cancel 0197f3a2",
    control.pause: "Example: tenstep pause 0197f3a2",
    control.resume: "Example: tenstep resume 0197f3a2",
    control.approve: "Example: tenstep approve 0197f3a2",
    control.reject: "Example: tenstep reject 0197f3a2",
    control.retry: "Example: tenstep retry 0197f3a2 --job 17 --job my-own-id",
    fleet.worker: fleet.WORKER_EPILOG,
    fleet.dispatch: fleet.DISPATCH_EPILOG,
    fleet.up: fleet.UP_EPILOG,
    fleet.serve: fleet.SERVE_EPILOG,
    fleet_now.fleet: fleet_now.EPILOG,
    gc.gc: gc.EPILOG,
    migrate.migrate: "Example: tenstep migrate --json",
    doctor.doctor: doctor.EPILOG,
    pods.pods: pods.EPILOG,
}
"""The commands in the order of ``--help``, with examples."""
NEED_THE_DATABASE = (
    *(render.render, calibrate.calibrate, plan.plan, gallery.gallery),
    *(gc.gc, migrate.migrate, reconcile.reconcile, pods.pods),
)
ON_A_SERVER = (fleet.worker, fleet.dispatch, fleet.up, fleet.serve, doctor.doctor)


def _register(command: Callable[..., None], epilog: str | None, group: typer.Typer = app) -> None:
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    # Else Rich breaks lines where the source does.
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    if command in NEED_THE_DATABASE:
        command = without_server(command)
    elif command in ON_A_SERVER:
        command = without_named_server(command)
    group.command(epilog=epilog, help=text)(command)


for _command, _epilog in EPILOGS.items():
    _register(_command, _epilog)
_register(reconcile.reconcile, reconcile.EPILOG, cost.app)
app.add_typer(cost.app)
app.add_typer(prices.app)
app.add_typer(keys.app)
app.add_typer(workers.app)
for _registered in keys.app.registered_commands:
    if _registered.callback is not None:
        _registered.callback = without_server(_registered.callback, f"keys {_registered.name}")
for _found in entry_points(group=WORKER_COMMANDS):
    _loaded = _found.load()
    if isinstance(_loaded, typer.Typer):
        app.add_typer(_loaded)
    else:
        _register(_loaded, getattr(sys.modules[_loaded.__module__], "EPILOG", None))


def main() -> NoReturn:
    """Run the command line that this process was started with."""
    raise_when_asked_to_stop(signal.SIGINT, signal.SIGTERM)
    sys.exit(run(sys.argv[1:]))


@cache
def _whole_command() -> Any:
    """Make what Typer makes of all commands; a process may run several."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code."""
    command = _whole_command()
    try:
        with command.make_context("tenstep", list(arguments) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit:  # Rich leaves so when the reader of a pipe has gone
        return BROKEN_PIPE
    except BaseException as error:  # noqa: BLE001 - whatever it is, the user gets one line
        return report(error, as_json="--json" in arguments)
    return 0
