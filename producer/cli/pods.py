"""``tenstep pods``: which worker pods Kubernetes removes first when a fleet shrinks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from producer.cli import options
from producer.cli.console import print_json, say
from producer.cli.running import Speaker
from producer.interruption import pause

if TYPE_CHECKING:
    from producer.kubernetes.keeper import CostKeeper, Round

EPILOG = "Example: tenstep pods --selector app.kubernetes.io/component=worker --once"
SELECTOR = "app.kubernetes.io/name=tenstep,app.kubernetes.io/component=worker"


def pods(
    selector: Annotated[
        str,
        typer.Option("--selector", metavar="LABELS", help="Which pods are those of workers."),
    ] = SELECTOR,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Where they are; default this pod's own.")
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            "--every",
            min=1,
            max=3600,
            metavar="SECONDS",
            help="How often to look; Kubernetes asks that costs change seldom.",
        ),
    ] = 15,
    service_account: Annotated[
        Path | None,
        typer.Option(
            "--service-account",
            metavar="FOLDER",
            help="Files token, ca.crt and namespace; default where Kubernetes mounts them.",
        ),
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: options.Json = False,
) -> None:
    """Keep the deletion costs of worker pods in line with their jobs, until Ctrl-C.

    When a fleet shrinks, Kubernetes then removes drained pods first, then idle ones, then those
    with the fewest jobs in hand. It runs in a pod of the cluster, whose service account may list
    and patch pods; one is enough, and nothing breaks without it.
    """
    from datetime import timedelta

    from producer.cli.database import opened
    from producer.kubernetes.cluster import SERVICE_ACCOUNT, Cluster
    from producer.kubernetes.keeper import CostKeeper
    from shared.settings import load_settings

    cluster = Cluster.around(service_account or SERVICE_ACCOUNT)
    where = namespace or cluster.namespace
    settings = load_settings()
    silence = timedelta(seconds=settings.lease_seconds)
    with opened(settings) as database:
        keeper = CostKeeper(database, cluster, where, selector, silence)
        if not once:
            _keep_on(keeper, settings.data_dir, every, Speaker(as_json=as_json))
        found = keeper.keep()
    if as_json:
        print_json(found.to_json())
    else:
        say(_told(found))


def _keep_on(keeper: CostKeeper, data_dir: Path, seconds: float, speak: Speaker) -> NoReturn:
    from datetime import timedelta

    from sqlalchemy.exc import OperationalError

    from producer.kubernetes.alive import note_alive
    from shared.errors import ServiceUnavailableError

    speak(
        "started",
        f"watching the pods of {keeper.namespace} with {keeper.selector}, "
        f"every {seconds:g} s; Ctrl-C stops",
    )
    try:
        while True:
            try:
                found = keeper.keep()
            except ServiceUnavailableError as error:
                speak("kubernetes_lost", f"trying again: {error.message}")
            except OperationalError as error:
                speak("database_lost", f"the database does not answer, trying again: {error.orig}")
            else:
                if found.changed or found.vanished:
                    speak("costs_set", _told(found), costs=json.dumps(found.changed))
            note_alive(data_dir, timedelta(seconds=seconds))
            pause(seconds)
    finally:
        speak("stopped", "stopped; the costs stay as they are")


def _told(found: Round) -> str:
    changed = [f"{name} {cost}" for name, cost in sorted(found.changed.items())]
    parts = [
        f"{found.of_workers:,} of {found.pods:,} pods have workers",
        f"costs set: {', '.join(changed) or 'none'}",
    ]
    parts += [f"gone meanwhile: {', '.join(found.vanished)}"] if found.vanished else []
    parts += [f"left for the next time: {found.put_off:,}"] if found.put_off else []
    return "; ".join(parts)
