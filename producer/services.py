"""The database, the store and the broker that the settings name, checked and ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shared.db.engine import Database
from shared.db.migrate import prepare
from shared.messaging.broker import Broker
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from shared.telemetry.traces import PRODUCER, start_traces


@dataclass(frozen=True, slots=True)
class Services:
    """What a dispatcher and a local fleet work with."""

    settings: Settings
    database: Database
    store: ObjectStore
    broker: Broker

    def with_settings(self, settings: Settings) -> Services:
        """Return the same services under other settings of workers."""
        return replace(self, settings=settings)


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Check each, start those of our own, and close them at the end.

    Raises:
        ConfigurationError: the database's tables are not for this version, or traces are wanted
            and cannot be sent.
        ServiceUnavailableError: one of them does not answer.
    """
    start_traces(PRODUCER, is_on=settings.traces)
    database = Database(settings.resolved_database_url)
    broker = Broker(settings)
    try:
        prepare(database, may_migrate=settings.migrate_at_start)
        store = open_store(settings)
        store.check()
        broker.connect()
        yield Services(settings, database, store, broker)
    finally:
        broker.close()
        database.close()
