"""A dispatcher in a thread of its own."""

from __future__ import annotations

import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from producer.dispatch.dispatcher import Dispatcher
from shared.errors import TenstepError
from shared.messaging.broker import Broker

log = structlog.get_logger()


class DispatcherThread:
    """Ticks until told to stop; outlives the failures of Redis and of the database.

    Whoever starts it calls `mend` from its own thread now and then: a server of our own
    has to be started again from there, for Linux ends it with the thread that started it.
    """

    def __init__(self, dispatcher: Dispatcher, broker: Broker, interval_seconds: float) -> None:
        self._dispatcher = dispatcher
        self._broker = broker
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._broker_is_lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the tick in progress."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def mend(self) -> None:
        """Start our own Redis again if a tick found it gone."""
        if not self._broker_is_lost.is_set():
            return
        self._broker_is_lost.clear()
        try:
            self._broker.connect()
        except TenstepError as error:
            log.warning("broker_unavailable", error=str(error))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self._dispatcher.tick_now()
                # A tick that finds no worker alive does not ask Redis, and without Redis
                # no worker stays alive.
                self._broker.ping()
            except (TenstepError, SQLAlchemyError) as error:
                log.warning("dispatch_failed", error=str(error))
                self._broker_is_lost.set()
            except Exception:
                # Whatever it was, a fleet without a dispatcher stands still.
                log.exception("dispatch_failed")
        try:
            self._dispatcher.stop()
        except SQLAlchemyError as error:
            log.warning("lead_not_given_up", error=str(error))
