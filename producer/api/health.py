"""Whether the server lives, and whether all that it needs does."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from producer.api.context import ContextOf
from producer.api.probe import DOWN, FINE

router = APIRouter(tags=["health"])


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
    """Ask the database, Redis and the object storage, once in two seconds at most."""
    checks = context.probe.look()
    is_ready = set(checks.values()) == {FINE}
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status=FINE if is_ready else DOWN, checks=checks)
