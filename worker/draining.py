"""A worker that somebody drained lets go of its queue, and takes it up again when resumed.

Were it to go on consuming, it would take messages from those that can draw them.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery import bootsteps
from sqlalchemy.exc import SQLAlchemyError

from shared.db.fleet import are_draining
from worker.consumer import books, is_consuming, worker_ids

log = structlog.get_logger()

ASKED_EVERY_SECONDS = 1.0
OBEYED_EVERY_SECONDS = 0.5
LET_GO_SECONDS = ASKED_EVERY_SECONDS + OBEYED_EVERY_SECONDS
"""How long after somebody drained a worker it may still be given messages."""


class DrainWatch(bootsteps.StartStopStep):
    """Consumes or not, in Celery's own loop, as the books say.

    The books are read in a thread: a database that hangs must not hold up the loop.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None
        self._is_drained = False
        self._asks = threading.Thread(target=self._ask, name="drain-watch", daemon=True)

    def start(self, parent: Any) -> None:
        """Begin when the consumer has subscribed to its queues."""
        if self._asks.ident is None:
            self._asks.start()
        self._timer = parent.timer.call_repeatedly(OBEYED_EVERY_SECONDS, self._obey, (parent,))

    def stop(self, parent: Any) -> None:
        """End with the connection; the next one begins as this one ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _ask(self) -> None:
        while True:
            try:
                with books().read() as session:
                    self._is_drained = are_draining(session, worker_ids())
            except SQLAlchemyError as error:
                log.warning("drain_not_looked_up", error=str(error))
            time.sleep(ASKED_EVERY_SECONDS)

    def _obey(self, parent: Any) -> None:
        if self._is_drained == is_consuming(parent):
            log.info("queue_let_go" if self._is_drained else "queue_taken_up")
            # What Redis sends after that, the channel puts back.
            (parent.task_consumer.cancel if self._is_drained else parent.task_consumer.consume)()
