"""``python -m producer.clerk``: one clerk, until SIGTERM or until its starter is gone."""

from __future__ import annotations

import os
import signal
import sys

import structlog
from sqlalchemy.exc import SQLAlchemyError

from producer.clerk.clerk import Clerk
from producer.interruption import pause, raise_when_asked_to_stop
from producer.logs import log_to_file
from producer.services import open_services
from shared.errors import TenstepError
from shared.process import tell_error, watch_parent
from shared.settings import load_settings, starter_pid

log = structlog.get_logger()


def main() -> int:
    """Look for work until told to stop; what is begun then is gone on with by the next clerk."""
    raise_when_asked_to_stop(signal.SIGTERM)
    # Ctrl-C reaches the whole group; the process that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(starter_pid(), lambda: os._exit(1))
    try:
        settings = load_settings()
        log_to_file(settings)
        with open_services(settings) as services:
            clerk = Clerk(services)
            while True:
                try:
                    clerk.work()
                except SQLAlchemyError as error:
                    log.warning("clerk_failed", error=str(error))
                pause(settings.dispatch_seconds)
    except KeyboardInterrupt:
        return 0
    except TenstepError as error:
        return tell_error(error)


if __name__ == "__main__":
    sys.exit(main())
