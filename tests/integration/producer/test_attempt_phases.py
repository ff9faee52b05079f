"""An attempt's wait is told apart from the time in which its worker was loading."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from producer.attempt_phases import LOAD, WAIT, timed
from producer.job_details import JobAttempt
from shared.db.engine import Database
from shared.domain.jobs import AttemptOutcome
from support.factories import START, add_worker

MICROSECOND = 1_000
SECOND = 1_000_000_000
PHASES = {"text_encode": 3, "denoise": 5 * SECOND, "upload": 7}
ATTEMPT = JobAttempt(
    number=1,
    outcome=AttemptOutcome.DONE,
    worker_id=uuid4(),
    host=None,
    device=None,
    device_kind="cpu",
    device_name="a device",
    claimed_at=START,
    finished_at=None,
    queue_wait_ns=10 * SECOND,
    phases=PHASES,
    device_ns=None,
    cost_nanodollars=None,
    nanodollars_per_hour=None,
    reason=None,
    record=None,
)
SPANS = st.integers(-20_000_000, 20_000_000)
"""Microseconds around the claim."""


def phases_of(session: Session, attempt: JobAttempt) -> dict[str, int]:
    (one,) = timed(session, [attempt])
    assert one.nanoseconds == sum(phase.nanoseconds for phase in one.phases)
    return {phase.name: phase.nanoseconds for phase in one.phases}


def loading(session: Session, begin: int, end: int) -> JobAttempt:
    """Return an attempt by a worker that loaded then, in microseconds after the claim."""
    worker = add_worker(session)
    worker.online_at = START + timedelta(microseconds=begin)
    worker.started_at = START + timedelta(microseconds=end)
    session.flush()
    return replace(ATTEMPT, worker_id=worker.id)


@settings(suppress_health_check=list(HealthCheck))
@given(begin=SPANS, lasted=st.integers(0, 20_000_000), wait=st.integers(0, 30 * SECOND))
def test_wait_and_load_are_the_whole_wait_and_load_is_what_both_have(
    sqlite_database: Database, begin: int, lasted: int, wait: int
) -> None:
    with sqlite_database.write() as session:
        attempt = replace(loading(session, begin, begin + lasted), queue_wait_ns=wait)
        phases = phases_of(session, attempt)

    load = phases.pop(LOAD, 0)
    assert phases.pop(WAIT) + load == wait
    assert phases == PHASES
    both = min(begin + lasted, 0) * MICROSECOND - max(begin * MICROSECOND, -wait)
    assert abs(load - max(both, 0)) <= MICROSECOND


def test_a_worker_that_was_ready_before_was_not_waited_for(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        attempt = loading(session, -20_000_000, -10_000_000)
        assert list(phases_of(session, attempt)) == [WAIT, *PHASES]


def test_a_worker_that_nobody_knows_any_more_has_loaded_nothing(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        assert phases_of(session, ATTEMPT)[WAIT] == 10 * SECOND


def test_an_attempt_that_measured_nothing_has_no_phases(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        assert phases_of(session, replace(ATTEMPT, queue_wait_ns=None, phases={})) == {}
        assert timed(session, []) == []
