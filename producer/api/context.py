"""What routes work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from producer.api.feed import SharedReads, StatusFeed
from producer.api.keyring import KeyRing
from producer.api.probe import Probe
from producer.api.problems import ApiError
from producer.api.signed_urls import UrlSigner
from producer.keys import Principal
from producer.services import Services
from shared.db.engine import Database
from shared.domain.access import Scope
from shared.settings import Settings
from shared.storage.base import ObjectStore

BEARER = HTTPBearer(
    auto_error=False,
    description="A key from `tenstep keys create`. While none was made, this host needs none.",
)


@dataclass(frozen=True, slots=True)
class Context:
    """The services of one server process."""

    services: Services
    feed: StatusFeed
    signer: UrlSigner
    probe: Probe
    keys: KeyRing
    reads: SharedReads[Any]
    """What pages show, read once for all who look at it."""

    @property
    def settings(self) -> Settings:
        """How it behaves."""
        return self.services.settings

    @property
    def database(self) -> Database:
        """The truth."""
        return self.services.database

    @property
    def store(self) -> ObjectStore:
        """The bytes."""
        return self.services.store

    def base_url(self, request: Request) -> str:
        """Return what clients call this server by, without a slash at the end."""
        return self.settings.public_url or str(request.base_url).rstrip("/")


# Dependencies are coroutines, though none waits: FastAPI would run each in a thread.


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _principal(
    request: Request,
    _credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
) -> Principal:
    """Return whom the gate has let in; the credentials are there to be documented."""
    principal: Principal = request.state.principal
    return principal


ContextOf = Annotated[Context, Depends(_context)]
Anybody = Annotated[Principal, Depends(_principal)]


def _allowed(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    async def check(who: Anybody) -> Principal:
        if not who.may(scope):
            raise ApiError(
                HTTPStatus.FORBIDDEN,
                f"this key lacks the scope {scope.value}",
                hint=f"tenstep keys create --scope {scope.value} makes one that has it.",
                code="scope_missing",
            )
        return who

    return check


Submitter = Annotated[Principal, Depends(_allowed(Scope.SUBMIT))]
Reader = Annotated[Principal, Depends(_allowed(Scope.READ))]
Operator = Annotated[Principal, Depends(_allowed(Scope.OPERATE))]
Admin = Annotated[Principal, Depends(_allowed(Scope.ADMIN))]

NEEDS_READ = Depends(_allowed(Scope.READ))
NEEDS_ADMIN = Depends(_allowed(Scope.ADMIN))
"""For routes where it does not matter who it is."""
