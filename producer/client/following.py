"""Following a batch to its end: by its events, or by asking again and again."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID

import httpx
from httpx_sse import ServerSentEvent, SSEError

from producer.client.answers import NotFoundError, document
from producer.client.steps import Call, Next, Open, Operation, Pause, Send
from producer.wire.batches import BatchDocument
from shared.errors import InputError, ServiceUnavailableError

Tell = Callable[[BatchDocument], None]

SILENCE_SECONDS = 60.0
"""The server writes something every 15 s, be it that nothing has changed."""
MORE_TRIES = 7
"""For a server that has answered before: it may be starting again."""
MOST_EMPTY_STREAMS = 3
"""Streams that told nothing, after which it asks instead: something between may hold them up."""
RECONNECT_SECONDS = 0.5
FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 5.0
STATUS, END = "status", "end"


def wait(batch_id: UUID, tell: Tell) -> Operation[BatchDocument]:
    """Follow a batch until it is finished; returns its last status.

    What waits for an approval or for a budget is not finished.

    Args:
        batch_id: which.
        tell: is called with every new status, the last one too.

    Raises:
        InputError: there is no such batch.
        ServiceUnavailableError: the server does not answer for too long.
    """
    told = _Told(tell)
    empty = 0
    while empty < MOST_EMPTY_STREAMS:
        before = told.events
        try:
            found = yield from _listen(batch_id, told, MORE_TRIES if before else 0)
        except NotFoundError:
            raise
        except (InputError, SSEError):  # no events are to be had there
            break
        if found is not None:
            return found
        empty = 0 if told.events > before else empty + 1
        yield Pause(RECONNECT_SECONDS)
    return (yield from _poll(batch_id, tell))


class _Told:
    """Counts what it tells."""

    def __init__(self, tell: Tell) -> None:
        self.events = 0
        self._tell = tell

    def __call__(self, status: BatchDocument) -> None:
        self.events += 1
        self._tell(status)


def _listen(batch_id: UUID, tell: Tell, more_tries: int) -> Operation[BatchDocument | None]:
    """Read one stream of events; returns the last status, or None if it broke off before."""
    call = Call(
        "GET",
        f"/api/batches/{batch_id}/events",
        silence_seconds=SILENCE_SECONDS,
        more_tries=more_tries,
    )
    yield Open(call, "events")
    while True:
        try:
            event: ServerSentEvent | None = yield Next()
        except httpx.TransportError:
            return None
        if event is None:
            return None
        if event.event not in {STATUS, END}:
            continue
        status = _read(event)
        tell(status)
        if event.event == END:
            return status


def _read(event: ServerSentEvent) -> BatchDocument:
    try:
        return BatchDocument.model_validate_json(event.data)
    except ValueError as error:
        raise ServiceUnavailableError("the server's events are not those of tenstep") from error


def _poll(batch_id: UUID, tell: Tell) -> Operation[BatchDocument]:
    """Ask for the status until the batch is finished, less often while nothing changes."""
    etag, pause = "", FIRST_POLL_SECONDS
    while True:
        headers = {"If-None-Match": etag} if etag else {}
        more_tries = MORE_TRIES if etag else 0
        call = Call("GET", f"/api/batches/{batch_id}", headers=headers, more_tries=more_tries)
        response = yield Send(call)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            pause = min(2 * pause, LONGEST_POLL_SECONDS)
        else:
            etag, pause = response.headers.get("ETag", ""), FIRST_POLL_SECONDS
            status = document(BatchDocument, response)
            tell(status)
            if status.finished:
                return status
        yield Pause(pause)
