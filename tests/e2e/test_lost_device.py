"""A job that loses its worker's device is to blame for it, and nobody who waited behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from shared.db.tables import Job
from support.books import opened_books
from support.commands import running, tenstep_json, wait_until
from worker.simulated import LOSE_DEVICE

pytestmark = pytest.mark.timeout(200)


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_job_that_loses_the_device_fails_in_the_end_and_alone(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    environment = {
        **stack_env,
        "TENSTEP_CHUNK_SIZE": "1",
        "TENSTEP_MAX_ATTEMPTS": "2",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.05",
    }
    path = tmp_path / "prompts.txt"
    others = "".join(f"apple {number}\n" for number in range(12))
    path.write_text(f"{LOSE_DEVICE}\n{others}", "utf-8")
    tenstep_json(environment, "submit", str(path), cwd=tmp_path)

    def jobs() -> list[tuple[str, int]]:
        with opened_books(environment) as database, database.read() as session:
            found = session.execute(select(Job.state, Job.attempts).order_by(Job.position))
            return [(state, attempts) for state, attempts in found]

    with running(environment, "up", "--no-serve", "--device", "simulated:0", cwd=tmp_path):
        wait_until(lambda: all(state in {"done", "failed"} for state, _ in jobs()))
    assert jobs() == [("failed", 2), *[("done", 1)] * 12]
    assert tenstep_json(environment, "cost", "reconcile", cwd=tmp_path)["holds"]
