"""A worker that serves several models, as those who send jobs and those who watch it see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from producer.dispatch import Dispatcher
from producer.fleet_report import fleet_document
from producer.fleet_view import view_fleet
from producer.status import read_status
from producer.totals import read_totals
from shared.db.drawable_sizes import live_sizes
from shared.db.engine import Database
from shared.db.fleet import count_workers
from shared.db.model_tables import WorkerModel
from shared.db.served_models import latest_weights
from shared.db.tables import Job, Worker
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.factories import LEASE, START, add_batch, add_worker

SOON = START + timedelta(seconds=1)


def add_worker_of(database: Database, *models: str, loaded: Sequence[str] = ()) -> None:
    """Add a worker that serves some models; the first is in its memory, and those named."""
    with database.write() as session:
        worker = add_worker(session)
        worker.model, worker.queue, worker.polled_at = models[0], f"cpu.{models[0]}", START
        for model in models:
            is_loaded = model in {models[0], *loaded}
            session.add(
                WorkerModel(
                    worker_id=worker.id,
                    model=model,
                    queue=f"cpu.{model}",
                    weights_sha256=f"{model}'s" if is_loaded else None,
                    sizes=[[64, 64]] if model == "small" else None,
                    loaded_at=START if is_loaded else None,
                    load_ns=0,
                )
            )


def test_jobs_go_to_the_queue_of_their_model(database: Database, broker: Broker) -> None:
    add_worker_of(database, "tiny", "other")
    with database.write() as session:
        batches = {
            model: add_batch(session, jobs=2, model=model).id for model in ("tiny", "other", "none")
        }

    Dispatcher(database, broker, Settings()).tick(SOON)

    with database.read() as session:
        queues = {
            model: set(session.scalars(select(Job.queue).where(Job.batch_id == batch_id)))
            for model, batch_id in batches.items()
        }
        assert count_workers(session, SOON, LEASE, "other") == (1, 0)
        assert count_workers(session, SOON, LEASE, "none") == (0, 0)
    assert queues == {"tiny": {"cpu.tiny"}, "other": {"cpu.other"}, "none": {None}}
    assert len(broker.waiting_chunks("cpu.tiny")) == len(broker.waiting_chunks("cpu.other")) == 1


def test_a_worker_of_an_older_version_has_one_model(database: Database, broker: Broker) -> None:
    with database.write() as session:
        worker = add_worker(session)
        worker.weights_sha256 = "old"
        add_batch(session, jobs=2)

    assert Dispatcher(database, broker, Settings()).tick(SOON) == 1
    with database.read() as session:
        assert count_workers(session, SOON, LEASE, "tiny") == (1, 0)
        assert latest_weights(session, "tiny") == "old"


def test_what_is_known_of_a_model_is_not_said_of_another(database: Database) -> None:
    add_worker_of(database, "small", "other")
    with database.write() as session:
        for worker in session.scalars(select(Worker)):
            worker.weights_sha256 = "small's"
            worker.heartbeat_at = worker.polled_at = database.now(session)

    assert live_sizes(database, "small", LEASE) == frozenset({(64, 64)})
    assert live_sizes(database, "other", LEASE) is None
    with database.read() as session:
        assert latest_weights(session, "small") == "small's"
        assert latest_weights(session, "other") is None


def test_the_fleet_shows_all_models_and_which_are_in_memory(
    database: Database, tmp_path: Path
) -> None:
    add_worker_of(database, "tiny", "other", "third", loaded=["other"])
    settings = Settings(data_dir=tmp_path)
    with database.write() as session:
        add_batch(session, jobs=2, model="third")
    with database.read() as session:
        [worker] = fleet_document(view_fleet(session, settings, SOON))["workers"]

    assert worker["model"] == "tiny"
    assert worker["models"] == [
        {"model": "tiny", "queue": "cpu.tiny", "is_loaded": True},
        {"model": "other", "queue": "cpu.other", "is_loaded": True},
        {"model": "third", "queue": "cpu.third", "is_loaded": False},
    ]
    assert worker["why"] == (
        "Jobs of its models wait for a dispatcher, or until they are tried again."
    )
    assert json.dumps(worker, default=str)


def test_a_batch_is_told_of_workers_that_serve_its_model_beside_another(
    database: Database, tmp_path: Path
) -> None:
    add_worker_of(database, "tiny", "other")
    with database.write() as session:
        for worker in session.scalars(select(Worker)):
            worker.heartbeat_at = worker.polled_at = database.now(session)
        batch_id = add_batch(session, model="other").id
    settings = Settings(data_dir=tmp_path)

    assert read_status(database, settings, batch_id).workers_alive == 1
    assert read_totals(database, settings).queues.keys() == {"cpu.tiny", "cpu.other"}
