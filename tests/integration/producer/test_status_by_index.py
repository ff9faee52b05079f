"""A look at a huge batch reads no more of it than is under way, whatever its state."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update
from uuid_utils import uuid7

from producer.status import batch_status
from shared.db.bulk import NewJob, insert_jobs
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import note_move, note_new
from shared.domain.jobs import JobState
from shared.settings import Settings
from support.factories import LEASE, START, add_batch, add_price, add_worker, dispatch
from support.plans import explained

JOBS = 20_000
BY_STATE = ("ix_job_unsent", "ix_job_sent", "ix_job_lease", "ix_job_done", "ix_job_failed")
ONE = ("uq_job_batch_id", "sqlite_autoindex_job_2", "pk_job", "sqlite_autoindex_job_1")
"""Indexes for jobs that are named one by one."""


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        add_price(session)
        batch_id = add_batch(session, jobs=0).id
        sampler = ("dpmsolver++", 16, "10,6", 7.5, 0.7)
        rows = [
            NewJob(
                *(uuid7().hex, batch_id.hex, number, None, number, "a", "", number, 64, 64),
                *(*sampler, "{}", "pending"),
            )
            for number in range(JOBS)
        ]
        insert_jobs(session, rows)
        note_new(session, batch_id, JobState.PENDING, JOBS)
    return batch_id


def put_all_in(database: Database, batch_id: UUID, state: JobState) -> None:
    with database.write() as session:
        session.execute(
            update(Job)
            .where(Job.batch_id == batch_id)
            .values(state=state, finished_at=START, error_code="broken"),
            execution_options={"synchronize_session": False},
        )
        note_move(session, batch_id, JobState.PENDING, state, JOBS)


@pytest.mark.parametrize("is_counted", [False, True], ids=["uncounted", "counted"])
@pytest.mark.parametrize("state", [JobState.PENDING, JobState.DONE, JobState.FAILED])
@pytest.mark.parametrize("at_work", [False, True], ids=["idle", "at-work"])
def test_no_question_of_a_status_reads_a_batch_from_end_to_end(
    database: Database, batch_id: UUID, *, state: JobState, is_counted: bool, at_work: bool
) -> None:
    if at_work:
        with database.write() as session:
            worker_id = add_worker(session).id
            chunk_id = dispatch(session, batch_id, jobs=8)
            claim_chunk(session, chunk_id, worker_id, START, LEASE)
    if state is not JobState.PENDING:
        put_all_in(database, batch_id, state)
    if is_counted:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")

    def look() -> None:
        with database.read() as session:
            batch = session.get_one(Batch, batch_id)
            batch_status(session, batch, Settings(), START + timedelta(seconds=1))

    plans = explained(database, look)

    assert plans
    for plan in plans:
        indexes = (*BY_STATE, *ONE) if "error_message" in plan.statement else BY_STATE
        assert all(any(index in way for index in indexes) for way in plan.ways), plan
