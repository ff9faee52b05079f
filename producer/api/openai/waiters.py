"""Requests that wait for a batch to end: none holds a thread, one query a moment serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import structlog
from anyio.to_thread import run_sync
from fastapi import Depends
from starlette.requests import Request

from producer.api.context import ContextOf
from producer.api.problems import too_many
from producer.openai_images import ended_among
from shared.errors import ServiceUnavailableError

log = structlog.get_logger()

POLL_SECONDS = 0.05
PAUSE_SECONDS = 1.0
"""After the database did not answer."""
MAX_WAITERS = 500
RETRY_SECONDS = 5

Ended = Callable[[Collection[UUID]], Collection[UUID]]
"""Returns which of some batches have ended, or cannot tell; called in a thread."""


class Waiters:
    """All that wait in one server process."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._places = 0
        self._waiting: dict[UUID, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among those that wait.

        Raises:
            ApiError: there are too many: 429.
        """
        if self._places >= MAX_WAITERS:
            message = f"{MAX_WAITERS} requests wait for their images already"
            raise too_many(message, RETRY_SECONDS, code="too_many_waiting")
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def until_ended(self, batch_id: UUID) -> None:
        """Wait until a batch has ended."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(batch_id, set()).add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            await future
        finally:
            waiting = self._waiting[batch_id]
            waiting.discard(future)
            if not waiting:
                del self._waiting[batch_id]

    async def _poll(self) -> None:
        while self._waiting:
            try:
                ended = await run_sync(self._ended, list(self._waiting))
            except ServiceUnavailableError as error:
                log.warning("waiters_not_told", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for batch_id in ended:
                for future in self._waiting.get(batch_id, ()):
                    if not future.done():
                        future.set_result(None)
            await asyncio.sleep(POLL_SECONDS)


async def _waiters(request: Request, context: ContextOf) -> Waiters:
    """Return those of this process; not in a thread, so that there are only ever one."""
    state = request.app.state
    if not hasattr(state, "waiters"):
        state.waiters = Waiters(lambda batch_ids: ended_among(context.database, batch_ids))
    waiters: Waiters = state.waiters
    return waiters


WaitersOf = Annotated[Waiters, Depends(_waiters)]
