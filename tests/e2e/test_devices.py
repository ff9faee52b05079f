"""Fleets of several devices: each gets its share, processes are recycled, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.db.device_faults import list_faults
from shared.db.tables import Attempt, Worker
from support.books import opened_books
from support.commands import running, tenstep_json, wait_until
from support.qaic import compiled, exported_tiny, tell

pytestmark = pytest.mark.timeout(300)

CARDS = ("qaic:58", "qaic:59")
"""Of this module alone: a card has one worker at a time, whichever test it is of."""

FAST = {"TENSTEP_SIMULATED_IMAGE_SECONDS": "0.02", "TENSTEP_CHUNK_SIZE": "4"}


def submit(environment: dict[str, str], folder: Path, count: int) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"a red apple number {i}\n" for i in range(count)), "utf-8")
    return str(tenstep_json(environment, "submit", str(path), cwd=folder)["batch_id"])


def attempts(environment: dict[str, str]) -> list[tuple[Attempt, Worker]]:
    with opened_books(environment) as database, database.read() as session:
        joined = select(Attempt, Worker).join(Worker, Attempt.worker_id == Worker.id)
        return [(attempt, worker) for attempt, worker in session.execute(joined)]


def ready(environment: dict[str, str]) -> set[str]:
    with opened_books(environment) as database, database.read() as session:
        return set(session.scalars(select(Worker.device)))


def drawn(environment: dict[str, str]) -> int:
    return sum(attempt.outcome == "done" for attempt, _ in attempts(environment))


def test_a_worker_that_is_recycled_comes_back_and_loses_nothing(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    environment = {**stack_env, **FAST, "TENSTEP_RECYCLE_AFTER_IMAGES": "12"}
    batch = submit(environment, tmp_path, 40)
    with running(environment, "up", "--no-serve", "--device", "simulated:0", cwd=tmp_path):
        wait_until(lambda: drawn(environment) == 40)
    # What waited for its turn when a process was recycled is given back, and was not begun.
    tried = [(one, worker) for one, worker in attempts(environment) if one.outcome != "returned"]
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

    tenstep_json(environment, "migrate", cwd=tmp_path)
    with running(environment, "up", "--no-serve", *options, cwd=tmp_path):
        wait_until(lambda: ready(environment) == devices)
        submit(environment, tmp_path, 64)
        wait_until(lambda: drawn(environment) == 64)
        seen: dict[str, Any] = tenstep_json(environment, "fleet", cwd=tmp_path)
    assert {worker.device for _, worker in attempts(environment)} == devices
    assert {kind["device_kind"]: kind["alive"] for kind in seen["kinds"]} == {
        "cpu": 1,
        "simulated": 3,
    }


def faults(environment: dict[str, str]) -> list[str]:
    with opened_books(environment) as database, database.read() as session:
        return [fault.device for fault in list_faults(session, database.now(session))]


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_card_that_fails_at_work_is_taken_out_and_comes_back_while_another_draws(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    model, state = exported_tiny(tmp_path), tmp_path / "cards"
    environment = {
        **stack_env,
        "TENSTEP_MODEL": str(model.folder),
        "TENSTEP_CHUNK_SIZE": "2",
        "TENSTEP_DEVICE_RETRY_SECONDS": "5",
        "QAIC_EMULATOR_CARDS": "64",
        "QAIC_EMULATOR_STATE": str(state),
    }
    data = Path(environment["TENSTEP_DATA_DIR"])
    compiled(model, data / "models", sizes=[(model.width, model.height)])
    tenstep_json(environment, "migrate", cwd=tmp_path)
    options = [word for card in CARDS for word in ("--device", card)]
    with running(environment, "up", "--no-serve", *options, cwd=tmp_path):
        wait_until(lambda: ready(environment) == set(CARDS))
        tell(state, 59, "hang")  # what it begins is not over when it is lost
        submit(environment, tmp_path, 30)
        wait_until(lambda: "qaic:59" in {worker.device for _, worker in attempts(environment)})
        tell(state, 59, "error")
        wait_until(lambda: faults(environment) == ["qaic:59"])
        shown = tenstep_json(environment, "fleet", cwd=tmp_path)["faults"]
        assert [fault["device"] for fault in shown] == ["qaic:59"]
        listed = tenstep_json(environment, "devices", cwd=tmp_path)["devices"]
        assert [one["health"] for one in listed if one["device"] == "qaic:59"] == [
            "its status is Error"
        ]
        assert all(one["holder"] for one in listed if one["device"] == "qaic:58")
        wait_until(lambda: drawn(environment) == 30)

        (state / "59").unlink()
        wait_until(lambda: not faults(environment))
    names = {attempt.device_name for attempt, _ in attempts(environment)}
    assert all("emulator" in name for name in names)
