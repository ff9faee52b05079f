from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.domain.identifiers import new_id
from shared.settings import Settings
from support.factories import add_price
from support.tiny_model import write_tiny_model
from support.worker import start_worker, started
from worker.process import WorkerProcess
from worker.runtime import Runtime


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path, sqlite_database: Database) -> Settings:
    return Settings(
        data_dir=tmp_path,
        model=str(tiny_model),
        cpu_threads=1,
        heartbeat_seconds=0.1,
        lease_seconds=30,
        outage_patience_seconds=0.5,
    )


@pytest.fixture
def worker_id() -> UUID:
    return new_id()


@pytest.fixture
def runtime(settings: Settings, worker_id: UUID, sqlite_database: Database) -> Iterator[Runtime]:
    """A worker's process, but for the process."""
    with sqlite_database.write() as session:
        add_price(session)
    with started(settings, worker_id) as runtime:
        yield runtime


@pytest.fixture
def start(tmp_path: Path, sqlite_database: Database) -> Iterator[Callable[..., Runtime]]:
    """Start workers on simulated devices."""
    processes: list[WorkerProcess] = []

    def run(**settings: float) -> Runtime:
        found = Settings(
            data_dir=tmp_path,
            device="simulated:0",
            simulated_image_seconds=0.001,
            heartbeat_seconds=0.1,
            **settings,  # type: ignore[arg-type]  # numbers all
        )
        processes.append(start_worker(found, new_id()))
        return processes[-1].runtimes[0]

    yield run
    for process in processes:
        process.stop()
