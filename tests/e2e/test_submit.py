"""Large submissions, by the real command: killed, looked at while they run, drawn at once."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from shared.db.batches import count_jobs, find_batch
from shared.db.engine import Database
from shared.db.tables import Job
from shared.db.tallies import read_tally
from shared.domain.jobs import JobState
from shared.errors import InputError
from support.commands import running, tenstep, tenstep_json, wait_until
from worker.simulated import FAIL

pytestmark = pytest.mark.timeout(300)

LINES = 60_000
BAD_EVERY = 1_000


@contextmanager
def opened(environment: dict[str, str]) -> Iterator[Database]:
    sqlite = Path(environment["TENSTEP_DATA_DIR"]) / "tenstep.sqlite3"
    database = Database(environment.get("TENSTEP_DATABASE_URL", f"sqlite:///{sqlite}"))
    yield database
    database.close()


def jobs_written(environment: dict[str, str]) -> int:
    """Count them; none while there is no batch, or no table yet."""
    Path(environment["TENSTEP_DATA_DIR"]).mkdir(exist_ok=True)
    with (
        opened(environment) as database,
        suppress(InputError, OperationalError, ProgrammingError),
        database.read() as session,
    ):
        return sum(count_jobs(session, find_batch(session, None).id).values())
    return 0


def test_a_submission_killed_half_way_and_run_again_has_every_job_once(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, LINES + 1):
            is_bad = number % BAD_EVERY == 0
            line = {"prompt": 1 if is_bad else f"a red apple {number}", "custom_id": f"c{number}"}
            file.write(json.dumps(line) + "\n")
    good = LINES - LINES // BAD_EVERY
    with running(stack_env, "submit", str(path), cwd=tmp_path) as first:
        wait_until(lambda: jobs_written(stack_env) > 0)
        first.send_signal(signal.SIGKILL)
        first.wait()
    written = jobs_written(stack_env)
    assert 0 < written < good
    assert not tenstep_json(stack_env, "status", cwd=tmp_path)["submitted"]

    again = tenstep(stack_env, "submit", str(path), "--json", cwd=tmp_path)

    assert again.returncode == 2, "some lines are bad"
    submission = json.loads(again.stdout)
    assert (submission["was_there"], submission["total"]) == (written, good)
    assert submission["rejected"]["count"] == LINES // BAD_EVERY
    rejects = Path(submission["rejected"]["file"]).read_text("utf-8").splitlines()
    assert [json.loads(line)["line_number"] for line in rejects] == list(
        range(BAD_EVERY, LINES + 1, BAD_EVERY)
    )
    with opened(stack_env) as database, database.read() as session:
        jobs, ids, last = session.execute(
            select(
                func.count(), func.count(Job.custom_id.distinct()), func.max(Job.position)
            ).select_from(Job)
        ).one()
    assert (jobs, ids, last) == (good, good, good - 1)
    status = tenstep_json(stack_env, "status", cwd=tmp_path)
    assert status["submitted"]
    assert status["counts"]["pending"] == status["total"] == good


def test_counts_are_right_at_every_moment_of_a_run(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    """Looked at by another process all the time, while jobs fail, are cancelled and retried."""
    simulated = {
        **stack_env,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.01",
        "TENSTEP_MAX_ATTEMPTS": "1",
    }
    path = tmp_path / "prompts.txt"
    lines = [f"{f'{FAIL} ' if n % 10 == 0 else ''}prompt {n}\n" for n in range(300)]
    path.write_text("".join(lines), "utf-8")
    batch = str(tenstep_json(simulated, "submit", str(path), cwd=tmp_path)["batch_id"])
    wrong: list[str] = []
    looks = 0
    over = threading.Event()

    def look() -> None:
        nonlocal looks
        with opened(simulated) as database:
            while not over.wait(0.1):
                with database.read() as session:
                    found = find_batch(session, batch)
                    tally = read_tally(session, found.id)
                if tally.total != found.total or any(n < 0 for n in tally.counts.values()):
                    wrong.append(f"{tally.counts} of {found.total}")
                looks += 1

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        with running(simulated, "up", cwd=tmp_path), opened(simulated) as database:

            def done() -> int:
                with database.read() as session:
                    return count_jobs(session, find_batch(session, batch).id)[JobState.DONE]

            random = Random(7)
            wait_until(lambda: done() >= 30)
            for _ in range(3):
                for job in random.sample(range(300), 5):
                    tenstep(simulated, "cancel", batch, "--job", str(job), cwd=tmp_path)
                tenstep(simulated, "retry", batch, cwd=tmp_path)
            wait_until(lambda: tenstep_json(simulated, "status", cwd=tmp_path)["finished"])
    finally:
        over.set()
        watcher.join()

    assert looks > 10
    assert wrong == []
    with opened(simulated) as database, database.read() as session:
        counted = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
        told = count_jobs(session, find_batch(session, batch).id)
    assert dict(counted) == {state.value: count for state, count in told.items() if count}
