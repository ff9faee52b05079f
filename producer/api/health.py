"""Whether the server lives, and whether all that it needs does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from producer.api.context import ContextOf
from shared.errors import ServiceUnavailableError

log = structlog.get_logger()

router = APIRouter(tags=["health"])
FINE = "ok"
DOWN = "down"


class Health(BaseModel):
    """That the process answers."""

    status: str = Field(examples=[FINE])


class Readiness(Health):
    """Whether it can do its work."""

    checks: dict[str, str] = Field(
        examples=[{"database": FINE, "redis": FINE, "storage": DOWN}],
        description="What each service answers; why one is down is in the server's log.",
    )


@router.get("/healthz", summary="Is it alive?")
async def healthz() -> Health:
    """Answer, whatever else is down."""
    return Health(status=FINE)


@router.get("/readyz", summary="Can it work?", responses={503: {"model": Readiness}})
def readyz(context: ContextOf, response: Response) -> Readiness:
    """Ask the database, Redis and the object storage."""
    services: Mapping[str, Callable[[], None]] = {
        "database": context.database.check,
        "redis": context.services.broker.ping,
        "storage": context.store.check,
    }
    checks = {name: _answer_of(name, check) for name, check in services.items()}
    is_ready = set(checks.values()) == {FINE}
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status=FINE if is_ready else DOWN, checks=checks)


def _answer_of(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except ServiceUnavailableError as error:
        log.warning("not_ready", service=name, error=str(error))
        return DOWN
    return FINE
