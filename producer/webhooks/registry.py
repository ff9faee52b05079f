"""Webhooks as their owners make and see them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.submit import ConflictError
from producer.webhooks.addresses import parse_url, resolve
from producer.webhooks.events import ALL_OF_BATCHES, EventType, write_event
from shared.db.api_tables import BatchRequest, Webhook, WebhookDelivery
from shared.db.batches import is_finished
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.db.tallies import NOTHING, read_tallies
from shared.domain.identifiers import first_id_of
from shared.errors import InputError
from shared.settings import Settings

MAX_WEBHOOKS = 20
"""Of a tenant."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - of all of them
SECRET_BYTES = 32
CLOCKS_DIFFER = timedelta(minutes=1)
"""Between hosts: what is made later may have a key that seems to be from before."""
LOOKS_BACK = 1_000
"""Batches: of those that were submitted before, a webhook is told if they are still open."""


def register(
    database: Database,
    settings: Settings,
    tenant: str,
    url: str,
    events: Collection[EventType],
) -> tuple[dict[str, Any], str]:
    """Have a tenant's server told of what becomes of its batches.

    Args:
        database: writes.
        settings: tell whether the own network may be reached.
        tenant: whose batches.
        url: where.
        events: of what; none is of all.

    Returns:
        The webhook, and the secret that signs what is sent, which cannot be had again.

    Raises:
        InputError: the URL is none that may be called, or there are too many webhooks.
    """
    allow_private = settings.webhooks_to_private_addresses
    resolve(parse_url(url, allow_private=allow_private), allow_private=allow_private)
    chosen = [kind for kind in ALL_OF_BATCHES if kind in events] or ALL_OF_BATCHES
    with database.write() as session:
        known = session.scalar(select(func.count()).where(Webhook.tenant == tenant)) or 0
        if known >= MAX_WEBHOOKS:
            raise InputError(
                f"{known} webhooks are there, and more than {MAX_WEBHOOKS} may not be",
                hint="Delete one that nobody needs.",
            )
        now = database.now(session)
        webhook = Webhook(
            tenant=tenant,
            url=url,
            events=",".join(chosen),
            secret=SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode(),
            first_batch=_first_batch(session, tenant, now),
            created_at=now,
        )
        session.add(webhook)
        session.flush()
        return describe(webhook), webhook.secret


def _first_batch(session: Session, tenant: str, now: datetime) -> UUID:
    """Return the oldest batch that is not at its end; what has ended before is no news."""
    unended = select(BatchRequest.id).where(
        BatchRequest.tenant == tenant, BatchRequest.ended_at.is_(None)
    )
    requested = set(session.scalars(unended))
    newest = select(Batch).where(Batch.tenant == tenant, Batch.end_announced_at.is_(None))
    batches = session.scalars(newest.order_by(Batch.id.desc()).limit(LOOKS_BACK)).all()
    tallies = read_tallies(session, [batch.id for batch in batches])
    ended = {
        batch.id
        for batch in batches
        if batch.submitted_at is not None
        and is_finished(tallies.get(batch.id, NOTHING).counts)
        and batch.id not in requested
    }
    open_ids = {batch.id for batch in batches} - ended
    first: UUID = min(requested | open_ids | {first_id_of(now - CLOCKS_DIFFER)})
    _forget_ends(session, tenant, [batch for batch in batches if batch.id in ended], first, now)
    return first


def _forget_ends(
    session: Session, tenant: str, ended: Sequence[Batch], first: UUID, now: datetime
) -> None:
    """Let nobody be told of what had ended before, but whom it was still to be told."""
    active = select(Webhook.first_batch).where(
        Webhook.tenant == tenant, Webhook.disabled_at.is_(None)
    )
    heard_from = session.scalar(active.order_by(Webhook.first_batch).limit(1))
    for batch in ended:
        if batch.id >= first and (heard_from is None or batch.id < heard_from):
            batch.end_announced_at = now


def describe(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook as plain values, without its secret."""
    return {
        "webhook_id": str(webhook.id),
        "tenant": webhook.tenant,
        "url": webhook.url,
        "events": webhook.events.split(","),
        "created_at": webhook.created_at.isoformat(),
        "disabled_at": webhook.disabled_at and webhook.disabled_at.isoformat(),
    }


def delete(session: Session, webhook: Webhook) -> None:
    """Tell it nothing more, not even what it was to be told already."""
    session.delete(webhook)
    session.flush()


def recent_deliveries(session: Session, webhook: Webhook, limit: int) -> Sequence[dict[str, Any]]:
    """Return what a webhook was told, or is to be told, newest first."""
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id)
    newest = query.order_by(WebhookDelivery.event_id.desc()).limit(limit)
    return [_describe_delivery(delivery) for delivery in session.scalars(newest)]


def send_test(session: Session, webhook: Webhook, now: datetime) -> dict[str, Any]:
    """Have an event sent that means nothing.

    Raises:
        ConflictError: nothing is sent there any more.
    """
    if webhook.disabled_at is not None:
        raise ConflictError(
            f"webhook {webhook.id} is disabled: its receiver said that it is gone for good"
        )
    data = {"webhook_id": str(webhook.id)}
    return _describe_delivery(
        *write_event(session, [webhook], EventType.TEST, data, now, batch_id=None)
    )


def _describe_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "event_id": str(delivery.event_id),
        "type": delivery.event_type,
        "batch_id": delivery.batch_id and str(delivery.batch_id),
        "state": _state_of(delivery),
        "created_at": delivery.created_at.isoformat(),
        "attempts": delivery.attempts,
        "next_at": delivery.next_at and delivery.next_at.isoformat(),
        "delivered_at": delivery.delivered_at and delivery.delivered_at.isoformat(),
        "status": delivery.status,
        "error": delivery.error,
    }


def _state_of(delivery: WebhookDelivery) -> str:
    if delivery.delivered_at is not None:
        return "delivered"
    return "given_up" if delivery.next_at is None else "pending"
