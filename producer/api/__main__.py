"""``python -m producer.api``: one server process, on a socket that its starter has opened."""

from __future__ import annotations

import os
import signal
import socket
import sys

import uvicorn

from producer.api.app import make_app
from producer.api.connections import impatient
from producer.logs import log_to_file
from producer.services import open_services
from shared.errors import TenstepError
from shared.process import tell_error, watch_parent
from shared.settings import load_settings, starter_pid

MAX_CONNECTIONS = 4_000
MAX_HEADER_BYTES = 2**16
IDLE_SECONDS = 30
STOP_SECONDS = 5


def main() -> int:
    """Serve until SIGTERM or until the starter is gone."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C reaches the whole group; the process that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(starter_pid(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        settings = load_settings()
        log_to_file(settings)
        with open_services(settings) as services:
            config = uvicorn.Config(
                make_app(services),
                http=impatient(settings.request_patience_seconds),
                ws="none",
                loop="auto",
                access_log=False,
                log_config=None,
                server_header=False,
                # Who asks is told from the connection: anybody can write a header.
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
            uvicorn.Server(config).run(sockets=[listening])
    except TenstepError as error:
        return tell_error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
