"""What infra/operations.md says of backups, played through: its commands, on a running batch."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from shared.db.batches import count_jobs, find_batch, set_control
from shared.db.tables import Job
from shared.domain.jobs import BatchControl, JobState
from support.books import opened_books
from support.commands import running, tenstep_json, wait_until
from support.postgres import Postgres, client_program
from support.valkey import RedisServer, run_valkey

pytestmark = pytest.mark.timeout(300)

OPERATIONS = Path(__file__).parents[2] / "infra/operations.md"
JOBS = 80
SLOW = {"TENSTEP_SIMULATED_IMAGE_SECONDS": "0.1"}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with run_valkey() as server:
        yield server


@pytest.fixture
def lost_and_new(_postgres: Postgres) -> Iterator[tuple[str, str]]:
    """Two empty databases."""
    names = [_postgres.create_database() for _ in range(2)]
    lost, new = map(_postgres.url, names)
    yield lost, new
    for name in names:
        _postgres.drop_database(name)


def environment_of(url: str, redis: RedisServer, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TENSTEP_DATA_DIR": str(folder / "data"),
        "TENSTEP_DATABASE_URL": url,
        "TENSTEP_REDIS_URL": redis.url,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_CHUNK_SIZE": "4",
        # What was in hand at the backup is waited for, and no longer than needed.
        "TENSTEP_LEASE_SECONDS": "8",
        "TENSTEP_HEARTBEAT_SECONDS": "1",
    }


def run_as_written(program: str, **values: str) -> None:
    """Run the command of that name which operations.md has, with these variables in it."""
    [line] = [
        line
        for line in OPERATIONS.read_text("utf-8").splitlines()
        if line.startswith(f"{program} ")
    ]
    _, *words = shlex.split(line, comments=True)
    for name, value in values.items():
        words = [word.replace(f"${name}", value) for word in words]
    subprocess.run([client_program(program), *words], check=True, capture_output=True)


def submit(environment: Mapping[str, str], folder: Path, key: str, first_seed: int) -> str:
    path = folder / f"{key}.jsonl"
    lines = [{"prompt": f"an apple for {key}", "seed": first_seed + n} for n in range(JOBS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    made = tenstep_json(environment, "submit", str(path), "--key", key, cwd=folder)
    return str(made["batch_id"])


def images(environment: dict[str, str], batch: str) -> Mapping[int, str | None]:
    """Return the objects of a batch's images, by position."""
    with opened_books(environment) as database, database.read() as session:
        found = find_batch(session, batch)
        query = select(Job.position, Job.image_key).where(Job.batch_id == found.id)
        done = session.execute(query.where(Job.state == JobState.DONE))
        return {row.position: row.image_key for row in done}


def done(environment: dict[str, str], batch: str) -> int:
    with opened_books(environment) as database, database.read() as session:
        return count_jobs(session, find_batch(session, batch).id)[JobState.DONE]


def assert_books_are_right(environment: dict[str, str], folder: Path, *batches: str) -> None:
    """Every image once in the books and in the store, and nothing beside them."""
    for batch in batches:
        bill = tenstep_json(environment, "cost", batch, cwd=folder)
        assert {line["kind"]: line["count"] for line in bill["lines"]}["render"] == JOBS
    assert tenstep_json(environment, "cost", "reconcile", cwd=folder)["holds"]
    garbage = tenstep_json(environment, "gc", "--older-than", "0", cwd=folder)
    assert (garbage["objects"], garbage["orphans"]) == (JOBS * len(batches), 0)


def test_a_batch_goes_on_from_an_older_backup_and_ends_as_if_nothing_had_been(
    lost_and_new: tuple[str, str], redis: RedisServer, tmp_path: Path
) -> None:
    old_url, new_url = lost_and_new
    before = environment_of(old_url, redis, tmp_path)
    after = environment_of(new_url, redis, tmp_path)
    dump = str(tmp_path / "tenstep.dump")
    batch = submit(before, tmp_path, "kept", 0)
    with (
        running(before, "dispatch", cwd=tmp_path),
        running({**before, **SLOW}, "worker", cwd=tmp_path),
    ):
        wait_until(lambda: done(before, batch) >= 10)
        run_as_written("pg_dump", DATABASE=libpq(old_url), FILE=dump)
        in_the_backup = done(before, batch)
        wait_until(lambda: done(before, batch) >= in_the_backup + 10)
        # The rest waits, however long submitting takes; in the backup it does not.
        with opened_books(before) as database, database.write() as session:
            set_control(session, find_batch(session, batch), BatchControl.PAUSED)
        submit(before, tmp_path, "late", 1000)
    drawn_before = images(before, batch)
    assert len(drawn_before) < JOBS

    redis.restart_empty()
    run_as_written("pg_restore", DATABASE=libpq(new_url), FILE=dump)
    assert len(images(after, batch)) < len(drawn_before)
    assert submit(after, tmp_path, "kept", 0) == batch, "its key is in the backup"
    late = submit(after, tmp_path, "late", 1000)
    with (
        running(after, "dispatch", cwd=tmp_path),
        running({**after, "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.005"}, "worker", cwd=tmp_path),
    ):
        wait_until(lambda: done(after, batch) == done(after, late) == JOBS)

    assert drawn_before.items() <= images(after, batch).items(), "drawn again, to the same objects"
    assert_books_are_right(after, tmp_path, batch, late)


def libpq(url: str) -> str:
    """Write a URL as Postgres' own programs read it."""
    return url.replace("+psycopg", "")
