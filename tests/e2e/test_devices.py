"""Fleets of several devices: each gets its share, processes are recycled, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.db.tables import Attempt, Worker
from support.books import opened_books
from support.commands import running, tenstep_json, wait_until

pytestmark = pytest.mark.timeout(300)

FAST = {"TENSTEP_SIMULATED_IMAGE_SECONDS": "0.02", "TENSTEP_CHUNK_SIZE": "4"}


def submit(environment: dict[str, str], folder: Path, count: int) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"a red apple number {i}\n" for i in range(count)), "utf-8")
    return str(tenstep_json(environment, "submit", str(path), cwd=folder)["batch_id"])


def attempts(environment: dict[str, str]) -> list[tuple[Attempt, Worker]]:
    with opened_books(environment) as database, database.read() as session:
        joined = select(Attempt, Worker).join(Worker, Attempt.worker_id == Worker.id)
        return [(attempt, worker) for attempt, worker in session.execute(joined)]


def drawn(environment: dict[str, str]) -> int:
    return sum(attempt.outcome == "done" for attempt, _ in attempts(environment))


def test_a_worker_that_is_recycled_comes_back_and_loses_nothing(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    environment = {**stack_env, **FAST, "TENSTEP_RECYCLE_AFTER_IMAGES": "12"}
    batch = submit(environment, tmp_path, 40)
    with running(environment, "up", "--no-serve", "--device", "simulated:0", cwd=tmp_path):
        wait_until(lambda: drawn(environment) == 40)
    tried = attempts(environment)
    assert len(tried) == 40, "no job was begun twice"
    workers = {worker.id: worker for _, worker in tried}
    assert len(workers) >= 3
    assert len({worker.pid for worker in workers.values()}) == len(workers)
    assert all(worker.stopped_at is not None for worker in workers.values())
    bill = tenstep_json(environment, "cost", batch, cwd=tmp_path)
    lines = {line["kind"]: line["count"] for line in bill["lines"]}
    assert (lines["render"], lines.get("failed_attempt", 0)) == (40, 0)


def test_devices_of_several_kinds_draw_one_batch_and_are_named_image_by_image(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    environment = {**stack_env, **FAST, "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.2"}
    devices = {"cpu", "simulated:0", "simulated:1", "simulated:qaic:2"}
    names = ("cpu", "simulated:0-1", "simulated:qaic:2")
    options = [word for name in names for word in ("--device", name)]

    def ready() -> set[str]:
        with opened_books(environment) as database, database.read() as session:
            return set(session.scalars(select(Worker.device)))

    tenstep_json(environment, "migrate", cwd=tmp_path)
    with running(environment, "up", "--no-serve", *options, cwd=tmp_path):
        wait_until(lambda: ready() == devices)
        submit(environment, tmp_path, 24)
        wait_until(lambda: drawn(environment) == 24)
        seen: dict[str, Any] = tenstep_json(environment, "fleet", cwd=tmp_path)
    assert {worker.device for _, worker in attempts(environment)} == devices
    assert {kind["device_kind"]: kind["alive"] for kind in seen["kinds"]} == {
        "cpu": 1,
        "simulated": 3,
    }
