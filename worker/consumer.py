"""Celery's consumer: what it cannot read is kept, and that it polls is written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from celery import bootsteps
from celery.worker.consumer import Consumer
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import Database
from shared.db.fleet import record_poll
from shared.db.set_aside import set_aside
from shared.settings import Settings, assigned_worker_ids, load_settings
from worker.transport import seconds_since_last_poll

log = structlog.get_logger()

RECONNECT_SECONDS = 1


class KeepingConsumer(Consumer):
    """Sets aside messages of an unknown kind, and bodies that are no JSON.

    It looks for a broker that is away every second; Celery's own pauses grow to half a minute.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker."""
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=RECONNECT_SECONDS,
            interval_step=0,
            interval_max=RECONNECT_SECONDS,
        )
        return super().ensure_connected(conn)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a body that cannot be decoded."""
        keep_message(f"the body cannot be decoded: {exc}", message.body)
        super().on_decode_error(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep what is no task."""
        keep_message("no task", body)
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a task by a name that this version does not know."""
        keep_message(f"no such task: {message.headers.get('task')}", message.body)
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a task whose arguments make no sense."""
        keep_message(f"not a task's arguments: {exc}", message.body)
        super().on_invalid_task(body, message, exc)


class PollRecord(bootsteps.StartStopStep):
    """Tells the books, from Celery's own loop, that the queue is still being polled.

    The heartbeat has a thread of its own, which would go on beating while the loop hangs, and
    the worker would be counted on for ever. One that is drained polls nothing:
    that its loop goes round has to do.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Begin when the consumer has subscribed to its queues."""
        settings = load_settings()
        self._timer = parent.timer.call_repeatedly(
            settings.heartbeat_seconds, _record_poll, (settings, parent)
        )

    def stop(self, parent: Any) -> None:
        """End with the connection; the next one begins again."""
        if self._timer is not None:
            self._timer.cancel()


def is_consuming(parent: Any) -> bool:
    """Tell whether a consumer asks for messages; one that is drained does not."""
    tasks = parent.task_consumer
    return any(tasks.consuming_from(queue) for queue in tasks.queues)


def _record_poll(settings: Settings, parent: Any) -> None:
    if is_consuming(parent) and seconds_since_last_poll() > settings.lease_seconds:
        return
    database = books()
    try:
        with database.write() as session:
            record_poll(session, worker_ids(), database.now(session))
    except SQLAlchemyError as error:
        log.warning("poll_not_recorded", error=str(error))


def keep_message(reason: str, body: Any) -> None:
    """Set a message aside."""
    log.error("message_set_aside", reason=reason)
    database = books()
    try:
        with database.write() as session:
            set_aside(session, worker_ids()[0], reason, body, database.now(session))
    except SQLAlchemyError as error:
        log.warning("message_not_kept", reason=reason, error=str(error))


@cache
def worker_ids() -> Sequence[UUID]:
    """Return the ids of this process's workers."""
    return assigned_worker_ids()


@cache
def books() -> Database:
    """Return the database, as Celery's loop has it: never waits for who draws."""
    return Database(load_settings().resolved_database_url)
