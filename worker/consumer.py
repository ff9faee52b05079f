"""Celery's consumer, but that what it cannot read is kept for a person to look at."""

from __future__ import annotations

from typing import Any

import structlog
from celery.worker.consumer import Consumer
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import Database
from shared.db.set_aside import set_aside
from shared.settings import assigned_worker_id, load_settings

log = structlog.get_logger()


class KeepingConsumer(Consumer):
    """Sets aside messages of an unknown kind, and bodies that are no JSON."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a body that cannot be decoded."""
        _keep(f"the body cannot be decoded: {exc}", message.body)
        super().on_decode_error(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep what is no task."""
        _keep("no task", body)
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a task by a name that this version does not know."""
        _keep(f"no such task: {message.headers.get('task')}", message.body)
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a task whose arguments make no sense."""
        _keep(f"not a task's arguments: {exc}", message.body)
        super().on_invalid_task(body, message, exc)


def _keep(reason: str, body: Any) -> None:
    log.error("message_set_aside", reason=reason)
    database = Database(load_settings().resolved_database_url)
    try:
        with database.write() as session:
            set_aside(session, assigned_worker_id(), reason, body, database.now(session))
    except SQLAlchemyError as error:
        log.warning("message_not_kept", reason=reason, error=str(error))
    finally:
        database.close()
