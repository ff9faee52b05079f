"""A tenant's webhook, and messengers that send what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update

from producer.webhooks.deliver import Courier
from producer.webhooks.messenger import MessengerThread
from producer.webhooks.outbox import Answer, record, take_one
from producer.webhooks.registry import recent_deliveries, register, send_test
from shared.clock import utc_now
from shared.db.api_tables import Webhook, WebhookDelivery
from shared.db.engine import Database
from shared.settings import Settings
from support.commands import wait_until

OPEN = Settings(webhooks_to_private_addresses=True)
SECOND = timedelta(seconds=1)
WAIT = 20


@dataclass
class Sender:
    """A tenant's webhook, and what becomes of its deliveries."""

    database: Database
    webhook_id: UUID
    secret: str

    @classmethod
    def to(cls, database: Database, url: str) -> Sender:
        webhook, secret = register(database, OPEN, "anna", url, [])
        return cls(database, UUID(webhook["webhook_id"]), secret)

    def send_test(self) -> str:
        with self.database.write() as session:
            webhook = session.get_one(Webhook, self.webhook_id)
            event_id: str = send_test(session, webhook, self.database.now(session))["event_id"]
        return event_id

    def deliveries(self) -> Sequence[dict[str, Any]]:
        with self.database.read() as session:
            webhook = session.get_one(Webhook, self.webhook_id)
            return recent_deliveries(session, webhook, 100)

    def state(self) -> tuple[str, int]:
        """Return how it is about the newest delivery, and how often it was tried."""
        newest = self.deliveries()[0]
        return newest["state"], newest["attempts"]

    def hurry(self) -> None:
        """Let all that is put off be due now."""
        with self.database.write() as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.next_at.is_not(None))
                .values(next_at=self.database.now(session) - SECOND)
            )


@contextmanager
def messenger(database: Database) -> Iterator[None]:
    """Send what is due, to private addresses too, while the block runs."""
    thread = MessengerThread(database, OPEN)
    thread.start()
    try:
        yield
    finally:
        thread.stop()


def sent(sender: Sender, courier: Courier) -> Answer:
    """Send an event right now; returns what came of it."""
    sender.send_test()
    while (parcel := take_one(sender.database, [])) is not None:
        answer = asyncio.run(courier.send(parcel, utc_now()))
        record(sender.database, parcel, answer)
        if parcel.webhook_id == sender.webhook_id:
            return answer
    raise AssertionError("nothing was due")


def soon(condition: Callable[[], bool]) -> None:
    """Wait for something that a messenger does."""
    wait_until(condition, seconds=WAIT)
