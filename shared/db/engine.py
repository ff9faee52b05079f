"""Connections and transactions. Nothing else opens or commits one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, DateTime, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from shared.clock import utc_now
from shared.db.setbacks import add_setbacks
from shared.db.tallies import append_tallies
from shared.errors import ServiceUnavailableError

SQLITE_BUSY_SECONDS = 60
SQLITE_CACHE_KILOBYTES = 32_000
SQLITE_CHECKPOINT_PAGES = 8_000
CONNECT_TIMEOUT_SECONDS = 10

CLOCK = select(func.clock_timestamp(type_=DateTime(timezone=True)))
"""Made once: that takes longer than to run it."""


class Database:
    """One engine and its two kinds of transaction."""

    def __init__(self, url: str, *, idle_seconds: float = 0, pings: bool = True) -> None:
        """Make an engine; nothing is connected yet.

        Args:
            url: SQLAlchemy's.
            idle_seconds: how long Postgres lets a transaction of this process do nothing
                before it ends it; 0 is for ever. SQLite has no such thing.
            pings: whether a connection is tried before each transaction. Without, the first
                after an outage fails: for those who try again in any case.
        """
        self.engine = _create_engine(url, idle_seconds, pings=pings)
        self.display_url = shown_url(self.engine.url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that changes nothing."""
        with Session(self.engine.execution_options(tenstep_read_only=True)) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a transaction that changes nothing and sees the database at one moment."""
        with self.read() as session:
            if self.engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits when the block ends well, else rolls back."""
        with Session(self.engine) as session, session.begin():
            # SQLite's lock is had from here on: what is told as now is no earlier than what
            # others, who were waited for, have written.
            session.connection()
            yield session
            append_tallies(session)
            add_setbacks(session)

    def now(self, session: Session) -> datetime:
        """Return the time by the one clock that leases and heartbeats are measured by.

        On Postgres it is the server's, so that a worker whose own clock is wrong neither
        loses its leases nor keeps dead ones. A SQLite file is used by one host: its clock.
        """
        if self.engine.dialect.name != "postgresql":
            return utc_now()
        # now() would be when the transaction began, perhaps long before it got its locks.
        told: datetime = session.connection().execute(CLOCK).scalar_one()
        return told.astimezone(UTC)

    def check(self) -> None:
        """Connect once.

        Raises:
            ServiceUnavailableError: it does not answer.
        """
        try:
            with self.engine.connect():
                pass
        except (OperationalError, InterfaceError, DatabaseError, OSError) as error:
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise ServiceUnavailableError(
                f"the database {self.display_url} does not answer: {reason}",
                hint="Start it, or correct TENSTEP_DATABASE_URL.",
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def shown_url(url: URL) -> str:
    """Write a URL without its passwords, wherever they stand in it."""
    hidden = {name: "***" for name in url.query if "password" in name}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _create_engine(url: str, idle_seconds: float, *, pings: bool) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _create_sqlite_engine(url, parsed.database)
    return create_engine(
        url,
        pool_pre_ping=pings,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c idle_in_transaction_session_timeout={round(idle_seconds * 1000)}",
        },
    )


def _create_sqlite_engine(url: str, path: str | None) -> Engine:
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceUnavailableError(
                f"cannot make the folder {Path(path).parent}: {error.strerror}",
                hint="Set TENSTEP_DATA_DIR to a folder that you may write to.",
            ) from error
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: ConnectionPoolEntry) -> None:
        # The driver's own implicit BEGIN would start deferred transactions, which fail
        # with "database is locked" when two of them turn from reading to writing.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # A million jobs are written a fifth faster than with SQLite's own 2 MB and 4 MB.
        connection.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KILOBYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("tenstep_read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
