"""A host's clock may be wrong; leases and liveness are measured by the database's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from shared.clock import utc_now
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.leases import renew_leases
from shared.db.lost_leases import expire_leases, has_expired_leases
from support.factories import LEASE, add_batch, add_price, add_worker, dispatch

REPOSITORY = Path(__file__).parents[3]
TEN_MINUTES = timedelta(minutes=10)
SECOND = timedelta(seconds=1)


@contextmanager
def clock_wrong_by(skew: timedelta) -> Iterator[None]:
    """Have this process believe in another time of day."""

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + skew

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared.clock.datetime", Skewed)
        yield


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES])
def test_on_postgres_the_servers_clock_counts(postgres_database: Database, skew: timedelta) -> None:
    before = utc_now()
    with clock_wrong_by(skew), postgres_database.read() as session:
        assert abs(utc_now() - before - skew) < TEN_MINUTES
        now = postgres_database.now(session)

    assert before - SECOND <= now <= utc_now() + SECOND
    assert now.utcoffset() == timedelta(0)


def test_in_a_long_transaction_time_goes_on(postgres_database: Database) -> None:
    with postgres_database.read() as session:
        first = postgres_database.now(session)
        assert postgres_database.now(session) > first


def test_in_sqlite_it_is_this_hosts_clock(sqlite_database: Database) -> None:
    with clock_wrong_by(TEN_MINUTES), sqlite_database.read() as session:
        before = utc_now()
        assert before <= sqlite_database.now(session) <= utc_now()


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES])
def test_a_worker_whose_clock_is_wrong_keeps_its_leases_and_no_longer_than_others(
    postgres_database: Database, skew: timedelta
) -> None:
    database = postgres_database
    with database.write() as session:
        now = database.now(session)
        add_price(session, effective_from=now - timedelta(days=1))
        worker = add_worker(session, started_at=now).id
        chunk_id = dispatch(session, add_batch(session, jobs=2).id, now=now)

    with clock_wrong_by(skew):
        with database.write() as session:
            assert len(claim_chunk(session, chunk_id, worker, database.now(session), LEASE)) == 2
        with database.write() as session:
            renew_leases(session, {worker: [chunk_id]}, database.now(session), LEASE)

    with database.write() as session:
        now = database.now(session)
        assert not has_expired_leases(session, now)
        assert [alive.id for alive in live_workers(session, now, LEASE)] == [worker]
        assert expire_leases(session, now + LEASE + SECOND, max_attempts=3) == 2
        assert not live_workers(session, now + LEASE + SECOND, LEASE)


def test_what_measures_leases_does_not_ask_the_hosts_clock() -> None:
    askers = {
        path.relative_to(REPOSITORY).as_posix()
        for package in ("worker", "producer/dispatch", "shared/db")
        for path in (REPOSITORY / package).rglob("*.py")
        if any(
            isinstance(node, ast.ImportFrom) and node.module == "shared.clock"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    }

    # When a program was compiled, and when a span began, is told to people alone.
    told = {"worker/qaic/compile.py", "worker/traces.py"}
    assert askers - told == {"shared/db/engine.py"}
