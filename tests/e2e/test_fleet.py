"""Commands that go together: submit, worker, status, pull, cancel."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from shared.db.batches import count_jobs, find_batch
from shared.db.tables import Worker
from support.books import opened_books
from support.commands import (
    processes_of,
    running,
    tenstep,
    tenstep_json,
    wait_until,
)

pytestmark = pytest.mark.timeout(300)


def submit(environment: dict[str, str], folder: Path, count: int) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"a red apple number {i}\n" for i in range(count)), "utf-8")
    return str(tenstep_json(environment, "submit", str(path), cwd=folder)["batch_id"])


def counts(environment: dict[str, str]) -> dict[str, int]:
    with opened_books(environment) as database, database.read() as session:
        found = count_jobs(session, find_batch(session, None).id)
    return {str(state): count for state, count in found.items()}


def ready_workers(environment: dict[str, str]) -> int | None:
    with opened_books(environment) as database, database.read() as session:
        return session.scalar(select(func.count()).select_from(Worker))


def test_a_new_worker_finishes_what_a_killed_one_began(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    """The supervisor itself is killed: nothing is left to clean up after it."""
    stack_env = {**stack_env, "TENSTEP_LEASE_SECONDS": "3", "TENSTEP_HEARTBEAT_SECONDS": "1"}
    data_dir = Path(stack_env["TENSTEP_DATA_DIR"])
    count = 40
    batch = submit(stack_env, tmp_path, count)
    with running(stack_env, "up", "--no-serve", cwd=tmp_path) as first:
        wait_until(lambda: counts(stack_env)["done"] >= 3)
        first.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of(data_dir), seconds=30)
    assert counts(stack_env)["done"] < count

    with running(stack_env, "up", "--no-serve", cwd=tmp_path):
        wait_until(lambda: counts(stack_env)["done"] == count)
    wait_until(lambda: not processes_of(data_dir), seconds=30)

    assert tenstep_json(stack_env, "status", cwd=tmp_path)["counts"]["done"] == count
    bill = tenstep_json(stack_env, "cost", batch, cwd=tmp_path)
    assert {line["kind"]: line["count"] for line in bill["lines"]}["render"] == count
    pulled = tenstep(stack_env, "pull", batch, "--out", "out", cwd=tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == count


def test_a_cancelled_batch_stops_and_keeps_what_it_drew(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    batch = submit(stack_env, tmp_path, 200)
    with running(stack_env, "up", "--no-serve", cwd=tmp_path):
        wait_until(lambda: counts(stack_env)["done"] >= 2)
        tenstep_json(stack_env, "cancel", batch, cwd=tmp_path)
        after = counts(stack_env)
        wait_until(lambda: counts(stack_env)["leased"] == 0)
        final = counts(stack_env)

    assert after["pending"] == 0
    assert final["done"] >= 2
    assert final["done"] + final["cancelled"] == 200


def test_two_workers_share_a_batch_and_draw_nothing_twice(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    tenstep_json(stack_env, "migrate", cwd=tmp_path)
    with running(stack_env, "up", "--no-serve", "--workers", "2", cwd=tmp_path):
        wait_until(lambda: ready_workers(stack_env) == 2)
        batch = submit(stack_env, tmp_path, 24)
        wait_until(lambda: counts(stack_env)["done"] == 24)

    bill = tenstep_json(stack_env, "cost", batch, cwd=tmp_path)
    lines = {line["kind"]: line["count"] for line in bill["lines"]}
    assert lines["render"] == 24
    assert lines["model_load"] == 2
    assert lines.get("failed_attempt", 0) == 0
