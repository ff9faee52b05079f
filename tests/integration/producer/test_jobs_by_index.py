"""A page is read through an index, whatever the database believes of its jobs."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, func, select, text, update

from producer.jobs import JobFilter, list_jobs
from shared.db.engine import Database
from shared.db.tables import Job
from shared.domain.jobs import JobState
from support.factories import START, add_batch
from support.plans import explained

JOBS = 20_000
RARE = JOBS - 40
"""From here on are the few jobs that are not done."""
ORDER = ("uq_job_batch_id", "sqlite_autoindex_job_2")
WAYS = {
    "all": (JobFilter(), ORDER),
    "pending": (JobFilter(state=JobState.PENDING), ORDER),
    "done": (JobFilter(state=JobState.DONE), ORDER),
    "cancelled": (JobFilter(state=JobState.CANCELLED), ORDER),
    "text": (JobFilter(text="dragon"), ORDER),
    "text-beyond-ascii": (JobFilter(text="drágon"), ORDER),
    "failed": (JobFilter(state=JobState.FAILED), ("ix_job_failed",)),
    "error": (JobFilter(error="code_1"), ("ix_job_failed",)),
    "failed-text": (JobFilter(state=JobState.FAILED, text="dragon"), ("ix_job_failed",)),
    "held": (JobFilter(state=JobState.HELD), ("ix_job_held",)),
    "held-text": (JobFilter(state=JobState.HELD, text="dragon"), ("ix_job_held",)),
    "leased": (JobFilter(state=JobState.LEASED), ("ix_job_lease",)),
    "leased-text": (JobFilter(state=JobState.LEASED, text="dragon"), ("ix_job_lease",)),
}


def fill(database: Database, batch_id: UUID) -> None:
    """Add the jobs to a batch with one, as copies of it."""
    columns = [column.name for column in Job.__table__.columns if column.name != "position"]
    is_postgres = database.engine.dialect.name == "postgresql"
    new = "gen_random_uuid()" if is_postgres else "lower(hex(randomblob(16)))"
    values = ", ".join(new if name == "id" else f"job.{name}" for name in columns)
    numbers = (
        "WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < :last)"
    )
    with database.engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO job ({', '.join(columns)}, position) {numbers} "  # noqa: S608 - ours
                f"SELECT {values}, number.i FROM job, number WHERE job.batch_id = :batch_id"
            ),
            {"batch_id": batch_id if is_postgres else batch_id.hex, "last": JOBS - 1},
        )


def analyze(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def set_states(database: Database, state: JobState, *conditions: ColumnElement[bool]) -> None:
    values: dict[str, object] = {"state": state, "error_code": None}
    if state is JobState.FAILED:
        values["error_code"] = "code_1"
    if state is JobState.LEASED:
        values["lease_expires_at"] = START
    with database.write() as session:
        session.execute(update(Job).where(*conditions).values(values))


BELIEFS = {
    "that-all-have-failed": JobState.FAILED,
    "that-all-are-held": JobState.HELD,
    "that-all-are-done": JobState.DONE,
}
"""How it was when the database last counted."""


@pytest.fixture(params=["nothing", "what-is-true", *BELIEFS])
def batch_id(request: pytest.FixtureRequest, database: Database) -> UUID:
    """A batch of which all are done but the last, and a database that believes this or that."""
    with database.write() as session:
        found = add_batch(session, jobs=1).id
    fill(database, found)
    if request.param in BELIEFS:
        set_states(database, BELIEFS[request.param])
        analyze(database)
    set_states(database, JobState.DONE)
    for rest, state in enumerate((JobState.FAILED, JobState.HELD, JobState.LEASED)):
        set_states(database, state, Job.position >= RARE, Job.position % 4 == rest)
    if request.param == "what-is-true":
        analyze(database)
    return found


def test_every_page_is_read_through_the_index_for_it(database: Database, batch_id: UUID) -> None:
    for name, (only, indexes) in WAYS.items():

        def look(only: JobFilter = only) -> None:
            with database.read() as session:
                list_jobs(session, batch_id, only, 10, 5)

        plans = explained(database, look)

        assert plans
        for each in plans:
            assert each.ways, each.statement
            for way in each.ways:
                assert any(index in way for index in indexes), (
                    f"{name}\n{each.statement}\n{each.plan}"
                )


def test_a_page_leaves_the_transaction_as_it_was(database: Database, batch_id: UUID) -> None:
    with database.read() as session:
        list_jobs(session, batch_id, JobFilter(), None, 5)
        if database.engine.dialect.name == "postgresql":
            assert session.scalar(text("SHOW enable_sort")) == "on"
        assert session.scalar(select(func.count()).select_from(Job)) == JOBS
