"""Who sends a request: told from its key, its browser's session, or from being on this host."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.types import Scope as AsgiScope

from producer.api.problems import ApiError
from producer.keys import LOCAL, Principal, any_key, recognise
from producer.sessions import MAX_TOKEN_CHARACTERS, signed_in
from shared.db.engine import Database

KNOWN_SECONDS = 1.0
"""A key that was revoked may be good for so long."""
MOST_KNOWN = 10_000
MAX_KEY_CHARACTERS = 256
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
LISTED = "tenstep keys list shows them."
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tenstep"'}


Recognise = Callable[[Session, str, datetime], Principal | None]


class KeyRing:
    """Recognises keys and sessions; asks the database for each once a second at most."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[Recognise, str], tuple[float, Principal | None]] = {}
        self._asks_for_keys = False
        self._asked_at = -KNOWN_SECONDS

    async def principal(self, scope: AsgiScope) -> Principal:
        """Return who sends a request.

        Raises:
            ApiError: nobody who may: 401.
        """
        headers = Headers(scope=scope)
        secret = _secret(headers)
        if await self._needs_key():
            if secret is None:
                raise _refused("this server needs a key", "Send Authorization: Bearer tsk_…")
            owner = await self._owner(recognise, secret)
            if owner is None:
                raise _refused("this key is not known, or no longer", LISTED)
            return owner
        # Clients that cannot do without a key send one that nobody has made.
        return _local(scope, headers)

    async def visitor(self, scope: AsgiScope, token: str | None) -> Principal:
        """Return who asks for a page.

        Args:
            scope: the request.
            token: of the browser's session, if it has one.

        Raises:
            ApiError: nobody who is signed in: 401.
        """
        if not await self._needs_key():
            return _local(scope, Headers(scope=scope))
        found = None
        if token is not None and len(token) <= MAX_TOKEN_CHARACTERS:
            found = await self._owner(signed_in, token)
        if found is None:
            raise _refused("you are not signed in, or no longer", "Sign in with a key.")
        return found

    def forget(self, token: str) -> None:
        """Have a session that was ended looked up anew."""
        self._known.pop((signed_in, token), None)

    async def _owner(self, recognise: Recognise, secret: str) -> Principal | None:
        known = self._known.get((recognise, secret))
        if known is None or time.monotonic() - known[0] > KNOWN_SECONDS:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = time.monotonic(), await run_sync(self._look_up, recognise, secret)
            self._known[recognise, secret] = known
        return known[1]

    def _look_up(self, recognise: Recognise, secret: str) -> Principal | None:
        with self._database.read() as session:
            return recognise(session, secret, self._database.now(session))

    async def _needs_key(self) -> bool:
        if not self._asks_for_keys and time.monotonic() - self._asked_at > KNOWN_SECONDS:
            self._asks_for_keys = await run_sync(self._any_key)
            self._asked_at = time.monotonic()
        return self._asks_for_keys

    def _any_key(self) -> bool:
        with self._database.read() as session:
            return any_key(session)


def _local(scope: AsgiScope, headers: Headers) -> Principal:
    if not _is_local(scope, headers):
        raise _refused(
            "without a key this server can be used from its own host alone",
            "Make one there: tenstep keys create",
        )
    return LOCAL


def _secret(headers: Mapping[str, str]) -> str | None:
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, secret = given.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(secret) <= MAX_KEY_CHARACTERS:
        raise _refused("this is no key", "Send Authorization: Bearer tsk_…")
    return secret


def _is_local(scope: AsgiScope, headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a program on this host.

    A page of some web site in a browser here, or whoever is behind a proxy here, is not meant.
    """
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    if any(name in headers for name in PROXY_HEADERS):
        return False
    origin = headers.get("origin")
    named = [headers.get("host", ""), *([urlsplit(origin).netloc] if origin else [])]
    return all(_host_of(name) in LOCAL_NAMES for name in named)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _host_of(authority: str) -> str | None:
    try:
        return urlsplit(f"//{authority}").hostname
    except ValueError:
        return None


def _refused(message: str, hint: str) -> ApiError:
    return ApiError(HTTPStatus.UNAUTHORIZED, message, hint=hint, headers=CHALLENGE)
