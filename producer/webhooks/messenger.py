"""The thread of a server that notices what webhooks are to be told, and tells them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from producer.webhooks.announce import Announcer
from producer.webhooks.deliver import Courier
from producer.webhooks.outbox import Answer, Parcel, forget_old, record, take_one
from shared.clock import utc_now
from shared.db.engine import Database
from shared.settings import Settings

log = structlog.get_logger()

LOOK_SECONDS = 0.5
FORGET_SECONDS = 600
SENT_AT_ONCE = 8
"""To so many webhooks; to each of them one event after the other."""
LAST_WAIT_SECONDS = 3


class MessengerThread:
    """Works until told to stop; outlives the failures of the database and of receivers.

    Several servers may have one each: what one takes the others leave.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._announcer = Announcer(database)
        self._courier = Courier(allow_private=settings.webhooks_to_private_addresses)
        self._sending: dict[UUID, asyncio.Task[None]] = {}
        """By webhook."""
        self._look_at = 0.0
        self._forget_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="messenger", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being sent has a moment to be received, and is else sent again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * LAST_WAIT_SECONDS)
        self._courier.close()

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        free = asyncio.Event()
        while not self._stop.is_set():
            free.clear()
            try:
                await asyncio.to_thread(self._look)
                await self._send_what_is_due(free)
            except SQLAlchemyError as error:
                log.warning("messenger_failed", error=str(error))
            except Exception:
                # Whatever it was, nobody would be told of anything any more.
                log.exception("messenger_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(free.wait(), LOOK_SECONDS)
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=LAST_WAIT_SECONDS)

    def _look(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._announcer.look()
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_SECONDS
            forget_old(self._database)

    async def _send_what_is_due(self, free: asyncio.Event) -> None:
        while len(self._sending) < SENT_AT_ONCE:
            parcel = await asyncio.to_thread(take_one, self._database, list(self._sending))
            if parcel is None:
                return
            task = asyncio.create_task(self._send(parcel))
            self._sending[parcel.webhook_id] = task
            task.add_done_callback(partial(self._sent, parcel.webhook_id, free))

    def _sent(self, webhook_id: UUID, free: asyncio.Event, _task: asyncio.Task[None]) -> None:
        del self._sending[webhook_id]
        free.set()

    async def _send(self, parcel: Parcel) -> None:
        known = {"webhook_id": str(parcel.webhook_id), "event_id": str(parcel.event_id)}
        try:
            answer = await self._courier.send(parcel, utc_now())
        except Exception:
            log.exception("webhook_not_called", **known)
            answer = Answer(None, "this should not have happened")
        try:
            await asyncio.to_thread(record, self._database, parcel, answer)
        except SQLAlchemyError as error:
            # Its lease runs out, and it is sent again.
            log.warning("delivery_not_recorded", **known, error=str(error))
        log.info("webhook_called", **known, status=answer.status, error=answer.error)
