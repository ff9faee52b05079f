"""``python -m producer.clerk``: one clerk, until SIGTERM or until its starter is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from producer.clerk.clerk import Clerk
from producer.logs import log_to_file
from producer.services import open_services
from shared.errors import TenstepError
from shared.process import watch_parent
from shared.settings import load_settings, starter_pid

log = structlog.get_logger()


def main() -> int:
    """Look for work until told to stop; what is begun then is gone on with by the next clerk."""
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    # Ctrl-C reaches the whole group; the process that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(starter_pid(), lambda: os._exit(1))
    try:
        settings = load_settings()
        log_to_file(settings)
        with open_services(settings) as services:
            clerk = Clerk(services)
            while not stop.wait(settings.dispatch_seconds):
                try:
                    clerk.work(stop.is_set)
                except SQLAlchemyError as error:
                    log.warning("clerk_failed", error=str(error))
    except TenstepError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
