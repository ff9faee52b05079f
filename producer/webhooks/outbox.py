"""What is to be delivered: taken by compare-and-set, and kept until it is delivered or given up.

A delivery that is taken is put off by a lease before it is sent: if its messenger dies,
another one sends it. So a receiver may get an event twice, and knows it by its id.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from shared.db.api_tables import Webhook, WebhookDelivery
from shared.db.engine import Database
from shared.domain.identifiers import first_id_of

LEASE = timedelta(seconds=60)
"""More than sending may take."""
RETRIED_AFTER = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""The pauses after each try; then it is given up, three days after the first."""
JITTER = 0.1
"""The part by which a pause may be longer, so that what failed together comes back apart."""
KEPT = timedelta(days=30)
FORGOTTEN_AT_ONCE = 1_000
UNSYNCHRONIZED = {"synchronize_session": False}
DICE = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery that this messenger has taken, to be sent now."""

    delivery_id: UUID
    webhook_id: UUID
    event_id: UUID
    attempt: int
    """How often it has been taken, this time included."""
    url: str = field(repr=False)
    secret: str = field(repr=False)
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending."""

    status: int | None
    """Of HTTP; None when nobody answered."""
    error: str | None
    """Why it is not delivered; None when it is."""


def take_one(database: Database, busy: Collection[UUID]) -> Parcel | None:
    """Take the delivery that is longest due; None when there is none.

    Args:
        database: writes, if there is one.
        busy: webhooks whose deliveries are left alone.
    """
    with database.read() as session:
        now = database.now(session)
        due = select(WebhookDelivery.id, WebhookDelivery.next_at).where(
            WebhookDelivery.next_at.is_not(None),
            WebhookDelivery.next_at <= now,
            WebhookDelivery.webhook_id.not_in(busy),
        )
        found = session.execute(due.order_by(WebhookDelivery.next_at).limit(1)).first()
    if found is None:
        return None
    with database.write() as session:
        return _take(session, found.id, found.next_at, database.now(session))


def _take(session: Session, delivery_id: UUID, due_at: datetime, now: datetime) -> Parcel | None:
    taken = session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.next_at == due_at)
        .values(next_at=now + LEASE, attempts=WebhookDelivery.attempts + 1),
        execution_options=UNSYNCHRONIZED,
    )
    if cast("CursorResult[Any]", taken).rowcount != 1:
        return None
    delivery = session.get_one(WebhookDelivery, delivery_id)
    webhook = session.get_one(Webhook, delivery.webhook_id)
    return Parcel(
        delivery.id,
        webhook.id,
        delivery.event_id,
        delivery.attempts,
        webhook.url,
        webhook.secret,
        delivery.payload,
    )


def record(database: Database, parcel: Parcel, answer: Answer) -> None:
    """Write down what came of it, unless another messenger has taken it since."""
    with database.write() as session:
        ours = select(WebhookDelivery).where(
            WebhookDelivery.id == parcel.delivery_id, WebhookDelivery.attempts == parcel.attempt
        )
        delivery = session.scalar(ours.with_for_update())
        if delivery is None or delivery.next_at is None:
            return
        now = database.now(session)
        delivery.status, delivery.error = answer.status, answer.error
        if answer.error is None:
            delivery.delivered_at, delivery.next_at = now, None
        elif parcel.attempt > len(RETRIED_AFTER):
            delivery.next_at = None
        else:
            pause = RETRIED_AFTER[parcel.attempt - 1]
            delivery.next_at = now + pause * (1 + JITTER * DICE.random())
        session.flush()
        if answer.status == HTTPStatus.GONE:
            _disable(session, parcel.webhook_id, now)


def _disable(session: Session, webhook_id: UUID, now: datetime) -> None:
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.disabled_at.is_(None))
        .values(disabled_at=now),
        execution_options=UNSYNCHRONIZED,
    )
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.next_at.is_not(None))
        .values(next_at=None),
        execution_options=UNSYNCHRONIZED,
    )


def count_pending(session: Session) -> int:
    """Count the deliveries that are neither delivered nor given up."""
    pending = select(func.count()).where(WebhookDelivery.next_at.is_not(None))
    return session.scalar(pending) or 0


def forget_old(database: Database) -> None:
    """Delete some of what was delivered, or given up, more than 30 days ago."""
    with database.write() as session:
        before = database.now(session) - KEPT
        old = (
            select(WebhookDelivery.id)
            .where(
                WebhookDelivery.id < first_id_of(before),
                WebhookDelivery.next_at.is_(None),
            )
            .limit(FORGOTTEN_AT_ONCE)
        )
        session.execute(
            delete(WebhookDelivery).where(WebhookDelivery.id.in_(old)),
            execution_options=UNSYNCHRONIZED,
        )
