"""A large submission by the real command, killed and run again."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from shared.db.batches import count_jobs, find_batch
from shared.db.tables import Job
from shared.errors import InputError
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until

pytestmark = pytest.mark.timeout(300)

LINES = 60_000
BAD_EVERY = 1_000


def jobs_written(environment: dict[str, str]) -> int:
    """Count them; none while there is no batch, or no table yet."""
    Path(environment["TENSTEP_DATA_DIR"]).mkdir(exist_ok=True)
    with (
        opened_books(environment) as database,
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
    with opened_books(stack_env) as database, database.read() as session:
        jobs, ids, last = session.execute(
            select(
                func.count(), func.count(Job.custom_id.distinct()), func.max(Job.position)
            ).select_from(Job)
        ).one()
    assert (jobs, ids, last) == (good, good, good - 1)
    status = tenstep_json(stack_env, "status", cwd=tmp_path)
    assert status["submitted"]
    assert status["counts"]["pending"] == status["total"] == good
