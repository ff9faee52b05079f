"""What every request passes before a route sees it: whose it is, how often, how much, how slow."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from producer.api.keyring import KeyRing
from producer.api.problems import ApiError, as_api_error, render
from producer.api.rates import RateLimiter
from shared.settings import Settings

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
OPEN_PREFIX = "/images/"
"""Of URLs that are signed."""
FORM = "/v1/files"
UPLOADS = frozenset({FORM, "/api/files", "/api/batches"})
MAX_DOCUMENT_BYTES = 16 * 2**20
MULTIPART_EXTRA_BYTES = 2**16
FEWEST_BYTES_A_SECOND = 1_024
"""A body that comes more slowly holds up a place for nothing."""


class Gate:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, rates: RateLimiter, settings: Settings
    ) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates
        self._max_upload_bytes = settings.max_upload_bytes
        self._patience = settings.request_patience_seconds

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        try:
            body = _Body(receive, self._most(scope, path), self._patience, Headers(scope=scope))
            if path not in OPEN and not path.startswith(OPEN_PREFIX):
                principal = await self._keys.principal(scope)
                scope.setdefault("state", {})["principal"] = principal
                await self._rates.count(principal)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered here
            await render(path, as_api_error(error))(scope, receive, send)
            return
        await self._app(scope, body, send)

    def _most(self, scope: AsgiScope, path: str) -> int:
        is_upload = path in UPLOADS and scope["method"] == "POST"
        if is_upload and path == "/api/batches" and _is_json(Headers(scope=scope)):
            is_upload = False
        if not is_upload:
            return MAX_DOCUMENT_BYTES
        return self._max_upload_bytes + (MULTIPART_EXTRA_BYTES if path == FORM else 0)


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "application/json").split(";")[0].endswith("json")


class _Body:
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
