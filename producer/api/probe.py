"""Whether the services that a server needs answer, asked seldom: anybody may ask the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from producer.services import Services
from shared.errors import ServiceUnavailableError

log = structlog.get_logger()

FINE = "ok"
DOWN = "down"
KEPT_SECONDS = 2.0
"""Looking writes an object and removes it."""


class Probe:
    """Keeps what it found for a moment."""

    def __init__(self, services: Services) -> None:
        self._checks: Mapping[str, Callable[[], None]] = {
            "database": services.database.check,
            "redis": services.broker.ping,
            "storage": services.store.check,
        }
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._found_at = -KEPT_SECONDS

    def look(self) -> dict[str, str]:
        """Return what each service answers; why one is down is in the log."""
        with self._lock:
            if time.monotonic() - self._found_at >= KEPT_SECONDS:
                self._found = {name: _answer(name, ask) for name, ask in self._checks.items()}
                self._found_at = time.monotonic()
            return self._found


def _answer(name: str, ask: Callable[[], None]) -> str:
    try:
        ask()
    except ServiceUnavailableError as error:
        log.warning("not_ready", service=name, error=str(error))
        return DOWN
    return FINE
