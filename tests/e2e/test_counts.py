"""What is counted while a fleet is at work."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from shared.db.batches import count_jobs, find_batch
from shared.db.tables import Job
from shared.db.tallies import read_tally
from shared.domain.jobs import JobState
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until
from worker.simulated import FAIL

pytestmark = pytest.mark.timeout(300)


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
        with opened_books(simulated) as database:
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
        with (
            running(simulated, "up", "--no-serve", cwd=tmp_path),
            opened_books(simulated) as database,
        ):

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
    with opened_books(simulated) as database, database.read() as session:
        counted = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
        told = count_jobs(session, find_batch(session, batch).id)
    assert dict(counted) == {state.value: count for state, count in told.items() if count}
