"""Webhooks: made, listed, tried, deleted."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from producer.api.context import ContextOf, Operator
from producer.api.problems import NATIVE_ERRORS
from producer.api.tenancy import get_own, newest
from producer.webhooks.addresses import MAX_URL_CHARACTERS
from producer.webhooks.events import ALL_OF_BATCHES, EventType
from producer.webhooks.registry import (
    MAX_WEBHOOKS,
    delete,
    describe,
    recent_deliveries,
    register,
    send_test,
)
from shared.db.api_tables import Webhook

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], responses=NATIVE_ERRORS)

MOST_LISTED = 200
URL = "https://example.com/hooks/tenstep"
ID = "0197f3a2-5d00-7aa1-8c3d-2b3c4d5e6f70"
MOMENT = "2026-11-27T08:00:00+00:00"
EXAMPLE: dict[str, Any] = {"url": URL, "events": [EventType.FINISHED, EventType.BUDGET_SPENT]}
ABOUT = f"""
Have a server of yours told when a batch ends, or when its money is spent.

Events are POSTed as JSON, `{{"type", "timestamp", "data"}}`, and signed as
https://www.standardwebhooks.com describes: libraries for many languages verify that. Of batches
that are open now and of all that are made later each end is told of once. An event that is
not answered with 2xx within 15 s is sent again, ten times within three days; a receiver that
answers 410 is told nothing more. It may get an event twice: `webhook-id` is the same then.
URLs begin with `https://` and lead to the public Internet, at any port; redirects are not
followed. A tenant has {MAX_WEBHOOKS} at most.
"""


class NewWebhook(BaseModel):
    """Where to call, and what about."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    url: str = Field(min_length=1, max_length=MAX_URL_CHARACTERS)
    events: Annotated[list[EventType], Field(max_length=len(EventType))] = Field(
        default=[],
        description=f"Of {', '.join(ALL_OF_BATCHES)}; none is all of them.",
    )


class WebhookOut(BaseModel):
    """A webhook without its secret."""

    webhook_id: UUID = Field(examples=[ID])
    tenant: str = Field(examples=["default"])
    url: str = Field(examples=[URL])
    events: list[str] = Field(examples=[[EventType.FINISHED]])
    created_at: datetime = Field(examples=[MOMENT])
    disabled_at: datetime | None = Field(
        examples=[None], description="When its receiver said that it is gone for good."
    )


class MadeWebhook(WebhookOut):
    """A new webhook with its secret, which cannot be had again."""

    secret: str = Field(
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], description="Verifies what is sent."
    )


class WebhookList(BaseModel):
    """The newest first."""

    webhooks: list[WebhookOut]


class DeliveryOut(BaseModel):
    """An event that a webhook was told of, or is to be told of."""

    event_id: UUID = Field(examples=[ID], description="The header `webhook-id`.")
    type: str = Field(examples=[EventType.FINISHED])
    batch_id: UUID | None
    state: str = Field(examples=["pending"], description="pending, delivered or given_up")
    created_at: datetime = Field(examples=[MOMENT])
    attempts: int = Field(examples=[1])
    next_at: datetime | None = Field(description="When it is sent next.")
    delivered_at: datetime | None
    status: int | None = Field(examples=[503], description="HTTP status of the last answer.")
    error: str | None = Field(examples=["answered 503"])


class DeliveryList(BaseModel):
    """The newest first; what is older than 30 days is forgotten."""

    deliveries: list[DeliveryOut]


@router.post("", summary="Make a webhook", status_code=HTTPStatus.CREATED, description=ABOUT)
def create_webhook(context: ContextOf, who: Operator, new: NewWebhook) -> MadeWebhook:
    """Register where to call; the secret is in this answer and in no other."""
    webhook, secret = register(
        context.database, context.settings, who.tenant, new.url, frozenset(new.events)
    )
    return MadeWebhook.model_validate({**webhook, "secret": secret})


@router.get("", summary="List webhooks", response_model=WebhookList)
def list_webhooks(
    context: ContextOf, who: Operator, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50
) -> dict[str, Any]:
    """Return the newest webhooks, without their secrets."""
    with context.database.read() as session:
        return {"webhooks": [describe(one) for one in newest(session, Webhook, who, limit)]}


@router.delete(
    "/{webhook_id}",
    summary="Delete a webhook",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
)
def delete_webhook(context: ContextOf, who: Operator, webhook_id: UUID) -> Response:
    """Tell it nothing more, not even what it was to be told already."""
    with context.database.write() as session:
        delete(session, get_own(session, Webhook, webhook_id, who, lock=True))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/{webhook_id}/deliveries", summary="See what it was told", response_model=DeliveryList)
def list_deliveries(
    context: ContextOf,
    who: Operator,
    webhook_id: UUID,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
) -> dict[str, Any]:
    """Return the newest events for it, what was answered, and when it is tried again."""
    with context.database.read() as session:
        webhook = get_own(session, Webhook, webhook_id, who)
        return {"deliveries": recent_deliveries(session, webhook, limit)}


@router.post(
    "/{webhook_id}/test",
    summary="Send a test event",
    status_code=HTTPStatus.ACCEPTED,
    response_model=DeliveryOut,
)
def test_webhook(context: ContextOf, who: Operator, webhook_id: UUID) -> dict[str, Any]:
    """Have an event `webhook.test` sent within a second, like any other."""
    with context.database.write() as session:
        webhook = get_own(session, Webhook, webhook_id, who)
        return send_test(session, webhook, context.database.now(session))
