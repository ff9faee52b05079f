"""Bodies of requests: not too large, and not too slow."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from producer.api.problems import ApiError

FEWEST_BYTES_A_SECOND = 1_024
"""A body that comes more slowly holds up a place for nothing."""


class BoundedBody:
    """Receives a body of bounded size, and not for ever."""

    def __init__(self, receive: Receive, most: int, patience: float, headers: Headers) -> None:
        self._receive = receive
        self._most = most
        self._patience = patience
        self._received = 0
        self._is_whole = False
        self._begin = asyncio.get_running_loop().time()
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise self._too_large()

    async def __call__(self) -> Message:
        """Receive what comes next."""
        if self._is_whole:  # then it waits for the client to go away
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience)
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            self._check()
        return message

    def _check(self) -> None:
        if self._received > self._most:
            raise self._too_large()
        seconds = asyncio.get_running_loop().time() - self._begin
        is_slow = self._received < (seconds - self._patience) * FEWEST_BYTES_A_SECOND
        if not self._is_whole and is_slow:
            raise _too_slow()

    def _too_large(self) -> ApiError:
        return ApiError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"this is more than {self._most:,} bytes",
            hint="Upload prompts as a file, and packed with gzip or zstd.",
            headers={"Connection": "close"},
        )


def _too_slow() -> ApiError:
    return ApiError(
        HTTPStatus.REQUEST_TIMEOUT, "the body comes too slowly", headers={"Connection": "close"}
    )
