"""Whether a container does its work: ``python healthy.py api [PORT]``, or dispatcher, worker, pods.

Exit code 0 if it does; else 1, and a line that says why not.
"""

from __future__ import annotations

import platform
import sys
from datetime import timedelta
from urllib.error import URLError
from urllib.request import urlopen

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from producer.kubernetes.alive import is_alive
from shared.db.engine import Database
from shared.db.fleet import is_live_host
from shared.db.leadership import DISPATCHER
from shared.db.tables import Leadership
from shared.errors import TenstepError
from shared.settings import Settings, load_settings

PORT = 8080
SECONDS = 5.0


def what_is_wrong_with_api(port: int) -> str | None:
    """Ask the server; returns None if it answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=SECONDS):
            return None
    except (URLError, TimeoutError) as error:
        return f"the server does not answer: {error}"


def what_is_wrong_with_dispatcher(settings: Settings) -> str | None:
    """Look who leads: of several dispatchers one does, for all of them."""
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            expires_at = session.scalar(
                select(Leadership.expires_at).where(Leadership.name == DISPATCHER)
            )
            is_led = expires_at is not None and expires_at > database.now(session)
    finally:
        database.close()
    return None if is_led else "no dispatcher leads"


def what_is_wrong_with_worker(settings: Settings) -> str | None:
    """Look for a live worker of this host: its heart beats, and it polls or holds a job."""
    host, silence = platform.node(), timedelta(seconds=settings.lease_seconds)
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            is_well = is_live_host(session, database.now(session), silence, host)
    finally:
        database.close()
    return None if is_well else f"no worker of {host} is alive"


def what_is_wrong_with_pods(settings: Settings) -> str | None:
    """Look whether the process goes round; that the cluster does not answer is not its fault."""
    return None if is_alive(settings.data_dir) else "it has not looked at the pods for long"


def what_is_wrong(role: str, port: int) -> str | None:
    """Look at one role; returns None if it does its work."""
    match role:
        case "api":
            return what_is_wrong_with_api(port)
        case "dispatcher":
            return what_is_wrong_with_dispatcher(load_settings())
        case "worker":
            return what_is_wrong_with_worker(load_settings())
        case "pods":
            return what_is_wrong_with_pods(load_settings())
        case _:
            return f"{role}: no such role"


def main(role: str, port: str = str(PORT)) -> int:
    """Look at one role, and tell; returns the exit code."""
    try:
        wrong = what_is_wrong(role, int(port))
    except TenstepError as error:
        wrong = str(error)
    except OperationalError as error:
        wrong = f"the database does not answer: {error.orig}"
    if wrong is not None:
        print(wrong)
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
