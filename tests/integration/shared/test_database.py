"""Migrations and transactions, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.schema import CheckConstraint

from shared.db.base import Base
from shared.db.engine import Database
from shared.db.migrate import downgrade, migrate
from shared.db.tables import Batch, Job
from shared.db.tallies import read_tally
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState
from shared.errors import ConfigurationError, ServiceUnavailableError
from support.factories import START, add_batch, jobs_of
from support.servers import free_port


def tables_of(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def indexes_of(database: Database) -> set[tuple[str, str, str]]:
    inspector = inspect(database.engine)
    return {
        (table, str(index["name"]), _condition(index["dialect_options"]))
        for table in Base.metadata.tables
        for index in inspector.get_indexes(table)
        if "duplicates_constraint" not in index
    }


def _condition(options: dict[str, object]) -> str:
    found = [str(value) for name, value in options.items() if name.endswith("_where")]
    return "".join(found).replace("::text", "").replace("(", "").replace(")", "")


def checks_of(database: Database) -> set[tuple[str, str]]:
    inspector = inspect(database.engine)
    return {
        (table, str(check["name"]))
        for table in Base.metadata.tables
        for check in inspector.get_check_constraints(table)
    }


def test_migrations_go_up_and_down_and_up_again(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    assert tables_of(database) == set(Base.metadata.tables)

    downgrade(database, "base")
    assert tables_of(database) == set()

    migrate(database)
    assert tables_of(database) == set(Base.metadata.tables)
    database.close()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session).id

    migrate(database)

    with database.read() as session:
        assert len(jobs_of(session, batch_id)) == 3


def test_the_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_make_the_checks_and_conditions_that_the_code_declares(
    database: Database, database_url: str
) -> None:
    declared = Database(database_url)
    Base.metadata.create_all(declared.engine)

    assert checks_of(database) == checks_of(declared) == declared_checks()
    assert indexes_of(database) == indexes_of(declared)
    declared.close()


def declared_checks() -> set[tuple[str, str]]:
    return {
        (table.name, str(check.name))
        for table in Base.metadata.tables.values()
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
        connection.execute(text("UPDATE compatibility SET oldest_revision = 'ffff'"))

    with pytest.raises(ConfigurationError, match=r"newer tenstep \(revision ffff\)"):
        migrate(database)


def test_a_write_that_fails_half_way_leaves_nothing(database: Database) -> None:
    def write() -> None:
        with database.write() as session:
            add_batch(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()

    with database.read() as session:
        assert session.query(Batch).count() == 0


def test_a_job_in_no_known_state_cannot_be_stored(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session).id

    with pytest.raises(IntegrityError), database.write() as session:
        session.query(Job).where(Job.batch_id == batch_id).update({"state": "lost in thought"})


def test_a_batch_takes_its_jobs_along(database: Database) -> None:
    with database.write() as session:
        batch = add_batch(session, jobs=1)
        job_id, batch_id = jobs_of(session, batch.id)[0].id, batch.id

    with database.write() as session:
        session.query(Batch).where(Batch.id == batch_id).delete()

    with database.read() as session:
        assert session.get(Job, job_id) is None


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=45)))
    with database.write() as session:
        batch_id = add_batch(session, created_at=elsewhere).id

    with database.read() as session:
        created_at = session.get_one(Batch, batch_id).created_at
    assert created_at == START
    assert created_at.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001

    with pytest.raises(StatementError, match="needs a zone"), database.write() as session:
        add_batch(session, created_at=naive)


def test_a_postgres_that_does_not_answer_is_named_without_its_password() -> None:
    database = Database(f"postgresql+psycopg://me:a-password@127.0.0.1:{free_port()}/db")

    with pytest.raises(ServiceUnavailableError, match="does not answer") as caught:
        database.check()
    assert "a-password" not in str(caught.value)
    assert "postgresql+psycopg://me:***@127.0.0.1" in str(caught.value)
    database.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "tenstep.sqlite3"
    path.write_text("a letter to my aunt" * 100)
    database = Database(f"sqlite:///{path}")

    with pytest.raises(ServiceUnavailableError, match="not a database"):
        database.check()
    database.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(ServiceUnavailableError, match="cannot make the folder"):
        Database(f"sqlite:///{tmp_path}/file/data/tenstep.sqlite3")


def test_batches_from_before_there_were_tallies_are_counted_once(database_url: str) -> None:
    database = Database(database_url)
    migrate(database, revision="0005")
    batch_id, now = new_id(), START
    with database.engine.begin() as connection:
        metadata = MetaData()
        metadata.reflect(connection)
        tables = metadata.tables
        key = (lambda found: found) if database_url.startswith("postgres") else (lambda f: f.hex)
        connection.execute(
            tables["batch"].insert(),
            {
                "id": key(batch_id),
                "name": "old",
                "tenant": "default",
                "model": "tiny",
                "priority": 0,
                "control": "active",
                "total": 3,
                "client": {},
                "created_at": now,
            },
        )
        for position, state in enumerate(["done", "done", "failed"]):
            connection.execute(
                tables["job"].insert(),
                {
                    "id": key(new_id()),
                    "batch_id": key(batch_id),
                    "position": position,
                    "prompt": "a",
                    "negative_prompt": "",
                    **dict.fromkeys(("seed", "width", "height", "steps"), 8),
                    **dict.fromkeys(("guidance_scale", "guidance_rescale"), 1.0),
                    "details": {},
                    "state": state,
                    "attempts": 1,
                    "fencing_token": 1,
                },
            )
            connection.execute(
                tables["ledger"].insert(),
                {
                    "id": key(new_id()),
                    "event_id": f"attempt:{position}",
                    "kind": "render",
                    "batch_id": key(batch_id),
                    "device_kind": "cpu",
                    "device_ns": 1,
                    "nanodollars_per_hour": 1,
                    "amount_nanodollars": 5,
                    "created_at": now,
                },
            )

    migrate(database)

    with database.read() as session:
        tally = read_tally(session, batch_id)
        assert session.get_one(Batch, batch_id).submitted_at == now
    assert (tally.counts[JobState.DONE], tally.counts[JobState.FAILED]) == (2, 1)
    assert (tally.total, tally.nanodollars) == (3, 15)
    database.close()


def test_a_database_that_is_up_to_date_is_not_written_to(database: Database) -> None:
    """Every command looks at it first, and must not wait for whoever writes."""
    with database.write():
        migrate(database)
