"""What every request passes before a route sees it: whose it is, how often, how much, how slow."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from producer.api.bodies import BoundedBody
from producer.api.keyring import KeyRing
from producer.api.problems import as_api_error, render
from producer.api.rates import RateLimiter
from shared.settings import Settings

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
OPEN_PREFIX = "/images/"
"""Of URLs that are signed."""
FORM = "/v1/files"
UPLOADS = frozenset({FORM, "/api/files", "/api/batches"})
MAX_DOCUMENT_BYTES = 16 * 2**20
MULTIPART_EXTRA_BYTES = 2**16


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
            body = BoundedBody(
                receive, self._most(scope, path), self._patience, Headers(scope=scope)
            )
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
