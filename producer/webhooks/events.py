"""What webhooks are told, and the rows that keep it until it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.api_tables import Webhook, WebhookDelivery
from shared.domain.identifiers import new_id


class EventType(StrEnum):
    """What has happened."""

    FINISHED = "batch.finished"
    """All images of a batch are drawn, or failed."""
    CANCELLED = "batch.cancelled"
    """It was called off, and nothing of it is under way any more."""
    EXPIRED = "batch.expired"
    """Its time was over before all was drawn."""
    FAILED = "batch.failed"
    """None of its lines could be taken in."""
    BUDGET_SPENT = "batch.budget_spent"
    """Its money is spent; what is left of it is held until there is more."""
    TEST = "webhook.test"
    """Somebody asked for it."""


ALL_OF_BATCHES = tuple(kind for kind in EventType if kind is not EventType.TEST)


def write_event(
    session: Session,
    webhooks: Sequence[Webhook],
    kind: EventType,
    data: Mapping[str, Any],
    now: datetime,
    *,
    batch_id: UUID | None,
) -> Sequence[WebhookDelivery]:
    """Write down that webhooks are to be told of an event; each of them once.

    Args:
        session: writes.
        webhooks: who is told.
        kind: what has happened.
        data: more about it.
        now: the time, by the database's clock.
        batch_id: which batch it is about; None of a test.
    """
    event_id = new_id()
    payload = {"type": kind.value, "timestamp": now.isoformat(), "data": dict(data)}
    deliveries = [
        WebhookDelivery(
            webhook_id=webhook.id,
            event_id=event_id,
            event_type=kind,
            batch_id=batch_id,
            payload=payload,
            created_at=now,
            attempts=0,
            next_at=now,
        )
        for webhook in webhooks
    ]
    session.add_all(deliveries)
    session.flush()
    return deliveries


def who_hears(session: Session, tenant: str, kind: EventType, batch_id: UUID) -> Sequence[Webhook]:
    """Return the webhooks that want to be told of an event of a batch."""
    active = select(Webhook).where(
        Webhook.tenant == tenant, Webhook.disabled_at.is_(None), Webhook.first_batch <= batch_id
    )
    return [one for one in session.scalars(active) if kind in one.events.split(",")]
