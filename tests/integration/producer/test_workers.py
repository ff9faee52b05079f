"""Workers that are drained and resumed: who may, and what is said."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

import pytest

from producer.status import read_status
from producer.waiting import why_waiting
from producer.workers import drain_worker, resume_worker
from shared.db.engine import Database
from shared.db.fleet import count_workers, mark_stopped, note_stopping
from shared.db.tables import Batch, Worker
from shared.domain.access import Scope
from shared.errors import InputError
from shared.settings import Settings
from support.api import ApiServer
from support.factories import LEASE, add_batch, add_price, add_worker, dispatch, jobs_of
from support.shell import Shell

SETTINGS = Settings()


def started(database: Database) -> UUID:
    """Add a worker that is alive now, and what its device costs."""
    with database.write() as session:
        add_price(session)
        return add_worker(session, started_at=database.now(session)).id


def now_of(database: Database) -> datetime:
    with database.read() as session:
        return database.now(session)


def test_a_drained_worker_lives_and_counts_as_none_that_takes_jobs(database: Database) -> None:
    worker_id = started(database)

    first = drain_worker(database, SETTINGS, worker_id)
    again = drain_worker(database, SETTINGS, worker_id)

    assert first == again
    assert (first["state"], first["alive"], first["draining"]) == ("drained", True, True)
    with database.read() as session:
        assert count_workers(session, now_of(database), LEASE, "tiny") == (0, 1)
    for _ in range(2):
        assert resume_worker(database, SETTINGS, worker_id)["state"] == "ready"
    with database.read() as session:
        assert count_workers(session, now_of(database), LEASE, "tiny") == (1, 0)


def test_a_worker_whose_process_was_told_to_stop_is_not_resumed(database: Database) -> None:
    worker_id = started(database)
    with database.write() as session:
        note_stopping(session, worker_id, database.now(session))

    assert drain_worker(database, SETTINGS, worker_id)["state"] == "stopping"
    with pytest.raises(InputError, match="is stopping") as refused:
        resume_worker(database, SETTINGS, worker_id)

    assert refused.value.hint
    with database.read() as session:
        assert session.get_one(Worker, worker_id).draining
        assert count_workers(session, now_of(database), LEASE, "tiny") == (0, 0)


@pytest.mark.parametrize("decide", [drain_worker, resume_worker])
def test_nothing_is_decided_about_workers_that_are_gone(
    sqlite_database: Database, decide: object
) -> None:
    assert callable(decide)
    worker_id = started(sqlite_database)
    with sqlite_database.write() as session:
        mark_stopped(session, worker_id, sqlite_database.now(session))

    for gone, said in ((worker_id, "ended at"), (uuid4(), "no worker")):
        with pytest.raises(InputError, match=said) as refused:
            decide(sqlite_database, SETTINGS, gone)
        assert refused.value.hint


def test_a_batch_whose_workers_are_all_drained_says_so(sqlite_database: Database) -> None:
    worker_id = started(sqlite_database)
    with sqlite_database.write() as session:
        batch_id = add_batch(session).id
        dispatch(session, batch_id, now=sqlite_database.now(session))
    drain_worker(sqlite_database, SETTINGS, worker_id)

    status = read_status(sqlite_database, SETTINGS, batch_id)

    assert status.workers_alive == 0
    said = "Every worker with the model tiny that is alive is drained: tenstep workers resume"
    assert status.why_idle is not None
    assert status.why_idle.startswith(said)
    with sqlite_database.read() as session:
        batch, job = session.get_one(Batch, batch_id), jobs_of(session, batch_id)[0]
        now = sqlite_database.now(session)
        assert why_waiting(session, batch, job, SETTINGS, now) == status.why_idle


@pytest.fixture(params=["database", "server"])
def fleet(
    request: pytest.FixtureRequest, shell: Shell, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Commands in an empty folder, beside the database or through the server."""
    if request.param == "server":
        monkeypatch.setenv("TENSTEP_SERVER", api.url)
    else:
        monkeypatch.setenv("TENSTEP_DATA_DIR", str(api.settings.data_dir))
    return shell


def test_workers_are_listed_drained_and_resumed_on_the_command_line(
    fleet: Shell, api: ApiServer
) -> None:
    with api.database.write() as session:
        now = api.database.now(session)
        worker_id = str(add_worker(session, started_at=now, device_kind="cuda").id)

    assert fleet.json("workers", "drain", worker_id)["state"] == "drained"
    listed = {one["worker_id"]: one for one in fleet.json("workers", "list")["workers"]}
    assert listed[worker_id]["state"] == "drained"
    assert fleet("workers", "list", "--all", "--limit", "5") == 0
    assert worker_id in fleet.out
    assert max(map(len, fleet.out.splitlines())) <= 80
    assert fleet("workers", "resume", worker_id) == 0
    assert fleet.out == f"worker {worker_id}: takes jobs\n"
    assert listed[worker_id] | {"state": "ready", "draining": False} == fleet.json(
        "workers", "resume", worker_id
    )


@pytest.mark.parametrize(
    ("worker", "said"), [("one", "no id of a worker"), (str(UUID(int=1)), "no worker")]
)
def test_what_is_no_worker_is_said(fleet: Shell, worker: str, said: str) -> None:
    for command in ("drain", "resume"):
        assert fleet("workers", command, worker) == 2
        assert said in fleet.err


def test_the_api_tells_unknown_from_ended(api: ApiServer) -> None:
    with api.database.write() as session:
        add_price(session)
        ended = add_worker(session, started_at=api.database.now(session)).id
        mark_stopped(session, ended, api.database.now(session))
    # From the first key on everybody needs one, so this comes last.
    with api.client(api.new_key("operations", Scope.ADMIN)) as admin:
        for what in ("drain", "resume"):
            assert admin.post(f"/api/workers/{uuid4()}/{what}").status_code == 404
            refused = admin.post(f"/api/workers/{ended}/{what}")
            assert refused.status_code == 422
            assert "tenstep workers list" in refused.json()["hint"]
