"""A device whose driver hangs: its process ends itself, and what it had is drawn elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from shared.db.tables import Attempt, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState
from support.books import opened_books
from support.commands import running, tenstep_json, wait_until
from worker.simulated import HANG

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_device_that_hangs_loses_its_process_and_no_job(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    """A simulated device hangs for an hour at this prompt; to a processor it is one as any."""
    environment = {
        **stack_env,
        "TENSTEP_CHUNK_TIME_LIMIT_SECONDS": "1",
        "TENSTEP_HEARTBEAT_SECONDS": "0.2",
        "TENSTEP_LEASE_SECONDS": "600",
        "TENSTEP_CHUNK_SIZE": "1",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.01",
    }
    path = tmp_path / "prompts.txt"
    path.write_text(f"a red apple\n{HANG}\na green apple\n", "utf-8")
    batch = str(tenstep_json(environment, "submit", str(path), cwd=tmp_path)["batch_id"])

    def lost() -> list[Attempt]:
        with opened_books(environment) as database, database.read() as session:
            is_lost = Attempt.outcome == AttemptOutcome.LOST
            return list(session.scalars(select(Attempt).where(is_lost)))

    with running(environment, "up", "--no-serve", "--device", "simulated:0", cwd=tmp_path):
        wait_until(lambda: bool(lost()))
    assert {attempt.error_code for attempt in lost()} == {"worker_lost"}

    # On a processor a chunk takes longer than that.
    patient = {**environment, "TENSTEP_CHUNK_TIME_LIMIT_SECONDS": "600"}
    with running(patient, "up", "--no-serve", "--device", "cpu", cwd=tmp_path):
        wait_until(lambda: states_of(environment) == [JobState.DONE] * 3)

    with opened_books(environment) as database, database.read() as session:
        of_hung = select(Attempt.device_kind).join(Job, Attempt.job_id == Job.id)
        drawn = of_hung.where(Job.prompt == HANG, Attempt.outcome == AttemptOutcome.DONE)
        assert session.scalars(drawn).all() == ["cpu"]
        counted = session.scalars(select(Job.attempts).order_by(Job.position)).all()
        assert all(session.scalars(select(Worker.stopped_at)))
    assert (counted[0], counted[2]) == (1, 1), "what waited behind it is not to blame"
    assert counted[1] > 1
    bill = tenstep_json(environment, "cost", batch, cwd=tmp_path)
    assert {line["kind"]: line["count"] for line in bill["lines"]}["render"] == 3
    assert tenstep_json(environment, "cost", "reconcile", cwd=tmp_path)["holds"]


def states_of(environment: dict[str, str]) -> list[str]:
    with opened_books(environment) as database, database.read() as session:
        return list(session.scalars(select(Job.state)))
