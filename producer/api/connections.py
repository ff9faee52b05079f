"""Connections that never come to ask anything are closed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient(seconds: float) -> type[H11Protocol]:
    """Make a protocol that waits so long for the headers of a request, and then hangs up."""

    class Impatient(_ImpatientProtocol):
        patience_seconds = seconds

    return Impatient


class _ImpatientProtocol(H11Protocol):
    """uvicorn's own, which by itself waits for ever."""

    patience_seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._headers_due: asyncio.TimerHandle | None = None
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of the headers, if they are not whole."""
        super().data_received(data)
        cycle: Any = self.cycle  # uvicorn's types leave out that there may be none yet
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()
        elif self.conn.trailing_data[0] and self._headers_due is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._headers_due = self.loop.call_later(self.patience_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up(self) -> None:
        self._headers_due = None
        transport: Any = self.transport
        transport.close()
