"""Attempts that come to nothing are counted by reason, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db.engine import Database
from shared.db.leases import Lease
from shared.db.outcomes import record_failure
from shared.db.setbacks import SetbackKind, read_setbacks
from shared.domain.jobs import WORKER_LOST
from support.factories import START, TIMES, attempts_of
from support.scene import MAX_ATTEMPTS, Scene


def fail(scene: Scene, lease: Lease, code: str, *, is_retried: bool) -> bool:
    with scene.database.write() as session:
        return record_failure(
            session,
            lease,
            code=code,
            message="it broke",
            retry_at=START + timedelta(seconds=1) if is_retried else None,
            times=TIMES,
            now=START,
        )


def counted(database: Database) -> dict[SetbackKind, int]:
    with database.read() as session:
        return dict(read_setbacks(session))


def test_errors_are_counted_by_what_became_of_the_job(scene: Scene) -> None:
    first, second, third = scene.claim()
    fail(scene, first, "out_of_memory", is_retried=True)
    fail(scene, second, "out_of_memory", is_retried=True)
    fail(scene, third, "bad_settings", is_retried=False)

    assert counted(scene.database) == {
        SetbackKind("out_of_memory", is_retried=True): 2,
        SetbackKind("bad_settings", is_retried=False): 1,
    }


def test_an_expired_lease_counts_once_whatever_its_worker_says_later(scene: Scene) -> None:
    first, *_ = scene.claim()
    scene.expire()

    assert not fail(scene, first, "unexpected", is_retried=True)

    assert counted(scene.database) == {SetbackKind(WORKER_LOST, is_retried=True): 3}


def test_what_is_counted_are_the_attempts_that_the_books_have(scene: Scene) -> None:
    chunk_id = scene.chunk_id
    for _ in range(MAX_ATTEMPTS):
        scene.claim(chunk_id)
        scene.expire()
        chunk_id = scene.dispatch()

    found = counted(scene.database)

    with scene.database.read() as session:
        lost = [one for one in attempts_of(session, scene.batch_id) if one.outcome == "lost"]
    assert sum(found.values()) == len(lost)
    assert found[SetbackKind(WORKER_LOST, is_retried=False)] == 1


def test_a_transaction_that_fails_counts_nothing(scene: Scene) -> None:
    first, *_ = scene.claim()

    def fail_and_raise() -> None:
        with scene.database.write() as session:
            record_failure(
                session, first, code="x", message="", retry_at=None, times=TIMES, now=START
            )
            session.execute(text("SELECT 1 FROM no_such_table"))

    with pytest.raises(DBAPIError):
        fail_and_raise()

    assert counted(scene.database) == {}
