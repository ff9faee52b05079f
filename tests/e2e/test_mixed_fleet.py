"""A fleet of processors, emulated cards and simulated devices: one of each kind is lost at work."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from shared.db.device_faults import list_faults
from shared.db.tables import Attempt, Job, Worker
from shared.domain.jobs import AttemptOutcome, JobState
from shared.models.card import ModelCard
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until
from support.qaic import compiled, exported_tiny, tell

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("stack_env", ["local"], indirect=True),
]

CARDS = ("qaic:61", "qaic:62", "qaic:63")
"""Of this module alone: a card has one worker at a time, whichever test it is of."""
SIMULATED = tuple(f"simulated:{index}" for index in range(5))
PROCESSORS = 2
EVERYTHING = sorted([*["cpu"] * PROCESSORS, *CARDS, *SIMULATED])
IMAGES = 240
"""So many that each device has some in hand when it is looked at, however fast the others are."""
DONE, LOST = AttemptOutcome.DONE, AttemptOutcome.LOST


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The tiny model, exported and compiled; its programs are in a folder beside it."""
    folder = tmp_path_factory.mktemp("mixed")
    card = exported_tiny(folder)
    compiled(card, folder / "models", sizes=[(card.width, card.height)])
    return card


@dataclass(frozen=True)
class Fleet:
    """Its settings and its books."""

    environment: dict[str, str]
    folder: Path

    @property
    def workers(self) -> list[Worker]:
        """All that ever were."""
        with opened_books(self.environment) as database, database.read() as session:
            return list(session.scalars(select(Worker).order_by(Worker.id)))

    @property
    def attempts(self) -> list[tuple[Attempt, Worker]]:
        """All attempts, each with who made it."""
        joined = select(Attempt, Worker).join(Worker, Attempt.worker_id == Worker.id)
        with opened_books(self.environment) as database, database.read() as session:
            return [(attempt, worker) for attempt, worker in session.execute(joined)]

    @property
    def states(self) -> Mapping[str, int]:
        """How many jobs are in which state."""
        with opened_books(self.environment) as database, database.read() as session:
            return Counter(session.scalars(select(Job.state)))

    @property
    def faults(self) -> list[str]:
        """The devices that were taken out."""
        with opened_books(self.environment) as database, database.read() as session:
            return [fault.device for fault in list_faults(session, database.now(session))]

    @property
    def online(self) -> list[str]:
        """The devices of the workers that are ready and have not ended."""
        return sorted(worker.device for worker in self.workers if worker.stopped_at is None)

    def holds_jobs(self, worker: Worker) -> bool:
        """Tell whether it has claimed something that is not over."""
        held = select(Job.id).where(Job.worker_id == worker.id)
        with opened_books(self.environment) as database, database.read() as session:
            return session.scalar(held.limit(1)) is not None

    def json(self, *command: str) -> Any:
        """Run a command that prints JSON."""
        return tenstep_json(self.environment, *command, cwd=self.folder)

    def kill_at_work(self, device: str) -> None:
        """Kill the process of a worker on a device while it has jobs in hand."""
        wait_until(lambda: self._was_killed_at_work(device))

    def _was_killed_at_work(self, device: str) -> bool:
        """Stop its workers one after the other, and kill that which turns out to be at work."""
        for worker in self.workers:
            if worker.device != device or worker.stopped_at is not None:
                continue
            process = psutil.Process(worker.pid)
            process.suspend()
            while process.status() != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            if self.holds_jobs(worker):
                process.kill()
                return True
            process.resume()
        return False


@pytest.fixture
def fleet(stack_env: dict[str, str], model: ModelCard, tmp_path: Path) -> Iterator[Fleet]:
    """Two processors, three emulated cards and five simulated devices, all ready."""
    assert model.folder is not None
    environment = {
        **stack_env,
        "TENSTEP_MODEL": str(model.folder),
        "TENSTEP_MODELS_DIR": str(model.folder.parent / "models"),
        "TENSTEP_CHUNK_SIZE": "3",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.4",
        "TENSTEP_DEVICE_RETRY_SECONDS": "4",
        "QAIC_EMULATOR_CARDS": "64",
        "QAIC_EMULATOR_STATE": str(tmp_path / "cards"),
    }
    found = Fleet(environment, tmp_path)
    found.json("migrate")
    accelerators = [word for name in (*CARDS, "simulated:0-4") for word in ("--device", name)]
    processors = ("--device", "cpu", "--workers", str(PROCESSORS))
    with (
        running(environment, "up", "--no-serve", *accelerators, cwd=tmp_path),
        running(environment, "worker", *processors, cwd=tmp_path),
    ):
        wait_until(lambda: found.online == EVERYTHING)
        yield found


def test_a_device_of_each_kind_is_lost_and_no_image_is(fleet: Fleet) -> None:
    prompts, card = fleet.folder / "prompts.txt", fleet.folder / "cards" / "62"
    prompts.write_text("".join(f"a red apple number {n}\n" for n in range(IMAGES)), "utf-8")
    tell(card.parent, 62, "hang")  # what it begins is not over when it is lost
    batch = fleet.json("submit", str(prompts))["batch_id"]
    fleet.kill_at_work("cpu")
    fleet.kill_at_work("simulated:2")
    [failing] = [worker for worker in fleet.workers if worker.device == "qaic:62"]
    wait_until(lambda: fleet.holds_jobs(failing))
    tell(card.parent, 62, "error")
    wait_until(lambda: fleet.faults == ["qaic:62"])
    assert_taken_out(fleet.json("fleet"), "qaic:62")

    wait_until(lambda: fleet.states == {JobState.DONE: IMAGES})
    card.unlink()
    wait_until(lambda: not fleet.faults and fleet.online == EVERYTHING)
    assert_whole(fleet.json("fleet"))

    assert_each_is_drawn_once(fleet)
    assert_every_image_names_its_device(fleet, batch)
    assert_every_kind_has_its_costs(fleet, batch)


def assert_taken_out(document: Mapping[str, Any], device: str) -> None:
    """A card in error is shown as such, beside those that work."""
    [fault] = document["faults"]
    assert (fault["host"], fault["device"]) == (platform.node(), device)
    assert fault["reason"] == f"{device}: the card is not ready: Status:Error"
    assert device not in {worker["device"] for worker in document["workers"]}
    assert {kind["device_kind"]: kind["faulty"] for kind in document["kinds"]} == {
        "cpu": 0,
        "qaic": 1,
        "simulated": 0,
    }


def assert_whole(document: Mapping[str, Any]) -> None:
    """All are there again, and none is missing anything."""
    assert not document["faults"]
    workers = document["workers"]
    assert sorted(worker["device"] for worker in workers) == EVERYTHING
    assert {worker["host"] for worker in workers} == {platform.node()}
    assert {worker["state"] for worker in workers} <= {"idle", "starting"}
    assert {kind["device_kind"]: kind["alive"] for kind in document["kinds"]} == {
        "cpu": PROCESSORS,
        "qaic": len(CARDS),
        "simulated": len(SIMULATED),
    }


def assert_each_is_drawn_once(fleet: Fleet) -> None:
    """What was in lost hands was begun again, by somebody, and nothing else was."""
    attempts = fleet.attempts
    drawn = Counter(attempt.job_id for attempt, _ in attempts if attempt.outcome == DONE)
    assert len(drawn) == IMAGES
    assert set(drawn.values()) == {1}
    lost = {worker.device for attempt, worker in attempts if attempt.outcome == LOST}
    assert {"cpu", "qaic:62", "simulated:2"} <= lost
    assert not lost & {"qaic:61", "qaic:63"}, "those of others kept theirs"
    assert {attempt.outcome for attempt, _ in attempts} <= {DONE, LOST}


def assert_every_image_names_its_device(fleet: Fleet, batch: str) -> None:
    """In the manifest; what is emulated or simulated says so."""
    pulled = tenstep(fleet.environment, "pull", batch, "--out", "out", cwd=fleet.folder)
    assert pulled.returncode == 0, pulled.stderr
    lines = (fleet.folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line)["attempt"]["record"] for line in lines]
    assert len(records) == IMAGES
    named = {
        kind: {record["device_name"] for record in records if kind in record["device"]}
        for kind in ("cpu", "qaic", "simulated")
    }
    assert named["qaic"] == {"emulator of Cloud AI 100 std"}
    assert named["simulated"] == {"simulated device"}
    assert len(named["cpu"]) == 1
    assert not any(word in str(named["cpu"]) for word in ("emulator", "simulated"))
    assert {record["device"] for record in records} <= set(EVERYTHING)


def assert_every_kind_has_its_costs(fleet: Fleet, batch: str) -> None:
    """What a batch has cost is told by device, and not a nano-dollar is missing."""
    groups = fleet.json("cost", batch, "--by", "device")["groups"]
    assert {group["device_kind"] for group in groups} == {"cpu", "qaic", "simulated"}
    assert sum(group["images"] for group in groups) == IMAGES
    for group in groups:
        assert group["images"] > 0
        assert group["render_nanodollars"] > 0
    devices = fleet.json("cost", batch)["devices"]
    assert any("emulator" in name for name in devices), devices
    assert any("simulated" in name for name in devices), devices
    assert fleet.json("cost", "reconcile")["holds"]
