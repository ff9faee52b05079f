"""What every request for a page passes: whose session it is, and what its answer allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.cookies import SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api.bodies import BoundedBody
from producer.api.keyring import KeyRing
from producer.api.problems import Answer, ApiError, as_api_error
from producer.api.rates import RateLimiter
from producer.sessions import form_token, new_token
from shared.settings import Settings

COOKIE = "tenstep_session"
SIGN_IN = "/signin"
STATIC = "/static/"
UPLOAD = "/batches/new/file"
THUMBNAIL = ".webp"
STREAM = "text/event-stream"
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
"""Of a stream that goes on longer than its session."""
MAX_FORM_BYTES = 16 * 2**20
SECONDS_AN_HOUR = 3_600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(slots=True)
class Visit:
    """A browser's session, be somebody signed in or not."""

    token: str = field(repr=False)
    """What its cookie holds; whoever changes it gives it another cookie."""

    @property
    def form_token(self) -> str:
        """What its forms carry."""
        return form_token(self.token)


class VisitGate:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        rates: RateLimiter,
        settings: Settings,
        refuse: Answer,
    ) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates
        self._settings = settings
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        headers = Headers(scope=scope)
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE) or None
        visit = Visit(given or new_token())
        state = scope.setdefault("state", {})
        state["visit"] = visit
        path: str = scope["path"]

        is_stream = has_ended = False

        async def answer(message: Message) -> None:
            nonlocal is_stream, has_ended
            if has_ended:  # who writes it has not noticed yet
                return
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                self._complete(sent, scope, visit, given)
                is_stream = sent.get("content-type", "").startswith(STREAM)
            elif is_stream and not await self._is_let_in(scope, given):
                message, has_ended = END, True
            await send(message)

        try:
            most = self._settings.max_upload_bytes if path == UPLOAD else MAX_FORM_BYTES
            body = BoundedBody(receive, most, self._settings.request_patience_seconds, headers)
            if not path.startswith(STATIC):
                await self._identify(scope, path, given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered here
            refusal = self._refuse(Request(scope), as_api_error(error))
            await refusal(scope, receive, answer)
            return
        await self._app(scope, body, answer)

    async def _is_let_in(self, scope: Scope, token: str | None) -> bool:
        try:
            await self._keys.visitor(scope, token)
        except ApiError:
            return False
        return True

    async def _identify(self, scope: Scope, path: str, token: str | None) -> None:
        try:
            principal = await self._keys.visitor(scope, token)
        except ApiError:
            if path == SIGN_IN:
                return
            raise
        scope["state"]["principal"] = principal
        if not path.endswith(THUMBNAIL):  # a page has a hundred
            await self._rates.count(principal)

    def _complete(
        self, headers: MutableHeaders, scope: Scope, visit: Visit, given: str | None
    ) -> None:
        for name, value in HEADERS.items():
            headers[name] = value
        if scope["path"].startswith(STATIC):
            return
        headers.setdefault("Cache-Control", "no-store")
        if visit.token != given:
            headers.append("Set-Cookie", self._cookie(scope, visit.token))

    def _cookie(self, scope: Scope, token: str) -> str:
        cookie: SimpleCookie = SimpleCookie({COOKIE: token})
        morsel = cookie[COOKIE]
        morsel["path"] = "/"
        morsel["httponly"] = True
        # Strict would make a link from a message or a ticket ask for the key again.
        morsel["samesite"] = "Lax"
        morsel["max-age"] = round(self._settings.session_hours * SECONDS_AN_HOUR)
        public_url = self._settings.public_url or ""
        if scope["scheme"] == "https" or public_url.startswith("https:"):
            morsel["secure"] = True
        return morsel.OutputString()
