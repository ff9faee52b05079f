"""Connections that never come to ask anything are closed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0
"""From the first byte of a request, or from the connection's begin, to the end of the headers."""


class ImpatientProtocol(H11Protocol):
    """uvicorn's own, which by itself waits for ever for the headers of a request."""

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
        self._headers_due = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up(self) -> None:
        self._headers_due = None
        transport: Any = self.transport
        transport.close()
