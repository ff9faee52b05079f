"""What it costs to delete worker pods, against a stand-in for the Kubernetes API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from producer.kubernetes.alive import LONGEST_ROUND, is_alive, note_alive
from producer.kubernetes.cluster import Cluster
from producer.kubernetes.keeper import CostKeeper, Round
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.fleet import mark_stopped, note_stopping
from shared.db.outcomes import record_done
from shared.db.tables import Worker
from shared.errors import ConfigurationError, InputError, ServiceUnavailableError
from support.certificates import HAS_OPENSSL, certificate_for
from support.commands import running, wait_until
from support.factories import (
    IMAGE,
    LEASE,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    dispatch,
)
from support.kubernetes_stand_in import LABELS, NAMESPACE, StandInApiServer, serving
from support.shell import Shell

pytestmark = pytest.mark.skipif(not HAS_OPENSSL, reason="makes the certificate")

HEALTHY = Path(__file__).parents[3] / "infra/docker/healthy.py"
SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the loopback, and its key."""
    return certificate_for("IP:127.0.0.1", tmp_path_factory.mktemp("papers"))


@pytest.fixture
def kubernetes(
    papers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandInApiServer]:
    with serving(*papers, tmp_path / "service-account") as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


def keeper_of(database: Database, kubernetes: StandInApiServer) -> CostKeeper:
    cluster = Cluster.around(kubernetes.folder)
    return CostKeeper(database, cluster, cluster.namespace, SELECTOR, LEASE)


@pytest.fixture
def keep(database: Database, kubernetes: StandInApiServer) -> Callable[[], Round]:
    with database.write() as session:
        add_price(session)
    return keeper_of(database, kubernetes).keep


def add_pod_worker(database: Database, host: str, *, jobs: int = 0) -> Worker:
    """Add a live worker of a pod that holds some jobs."""
    with database.write() as session:
        session.expire_on_commit = False
        now = database.now(session)
        worker = add_worker(session, started_at=now)
        worker.host = host
        if jobs:
            chunk_id = dispatch(session, add_batch(session, jobs=jobs).id)
            claim_chunk(session, chunk_id, worker.id, now, LEASE)
    return worker


def test_the_more_a_pod_has_in_hand_the_later_it_goes(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    for name in ("drained", "idle", "busy", "busier", "two-devices"):
        kubernetes.add(name, cost="7")
    drained = add_pod_worker(database, "drained", jobs=5)
    add_pod_worker(database, "idle")
    add_pod_worker(database, "busy", jobs=1)
    add_pod_worker(database, "busier", jobs=5)
    add_pod_worker(database, "two-devices", jobs=5)
    add_pod_worker(database, "two-devices", jobs=4)
    with database.write() as session:
        note_stopping(session, drained.id, database.now(session))

    found = keep()

    costs = {name: int(cost) for name, cost in kubernetes.costs().items()}
    in_order = ["drained", "idle", "busy", "busier", "two-devices"]
    assert sorted(costs, key=lambda name: costs[name]) == in_order
    assert costs == {"drained": -1, "idle": 0, "busy": 1, "busier": 8, "two-devices": 16}
    assert (found.pods, found.of_workers, found.changed) == (5, 5, costs)
    assert kubernetes.pods["idle"]["annotations"]["somebody/else"] == "kept"


def test_only_what_has_changed_is_written(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    kubernetes.add("idle")
    kubernetes.add("busy")
    kubernetes.add("odd", cost="not a number")
    for host in ("idle", "odd"):
        add_pod_worker(database, host)
    worker = add_pod_worker(database, "busy")
    with database.write() as session:
        now = database.now(session)
        chunk_id = dispatch(session, add_batch(session, jobs=8).id)
        leases = claim_chunk(session, chunk_id, worker.id, now, LEASE)

    def finish(jobs: int) -> None:
        with database.write() as session:
            for _ in range(jobs):
                record_done(session, leases.pop(), IMAGE, TIMES, {}, database.now(session))
        keep()

    assert keep().changed == {"busy": 8, "odd": 0}, "without the annotation it is 0 as well"
    assert keep().changed == {}
    finish(3)
    assert kubernetes.patched == [("busy", "8"), ("odd", "0")], "5 are about as many as 8"
    finish(1)
    finish(4)
    assert kubernetes.patched[2:] == [("busy", "4"), ("busy", "0")]


def test_pods_without_workers_and_other_peoples_pods_are_left_alone(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    kubernetes.add("loads-its-model")
    kubernetes.add("loads-its-model-too", cost="5")
    kubernetes.add("somebody-elses", cost="5", **{"app.kubernetes.io/name": "other"})
    kubernetes.add("ending", cost="5")
    kubernetes.pods["ending"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    for host in ("somebody-elses", "ending", "a-machine-elsewhere"):
        add_pod_worker(database, host, jobs=1)

    found = keep()

    assert (found.pods, found.of_workers, found.changed) == (2, 0, {})
    assert kubernetes.patched == []


def test_a_pod_whose_worker_has_died_or_stopped_is_idle(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    for name in ("died", "stopped"):
        kubernetes.add(name, cost="8")
    died, stopped = (add_pod_worker(database, name, jobs=2) for name in ("died", "stopped"))
    with database.write() as session:
        now = database.now(session)
        session.get_one(Worker, died.id).heartbeat_at = now - timedelta(minutes=5)
        mark_stopped(session, stopped.id, now)

    assert keep().changed == {"died": 0, "stopped": 0}


def test_a_host_has_the_begin_of_a_long_pods_name(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    name = "a" * 62 + "-" + "7d4b9c-x2x4z"
    kubernetes.add(name)
    add_pod_worker(database, "a" * 62, jobs=1)

    assert keep().changed == {name: 1}


def test_many_pods_are_read_page_by_page(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    kubernetes.most_a_page = 2
    for number in range(5):
        kubernetes.add(f"worker-{number}")
    add_pod_worker(database, "worker-4", jobs=1)

    assert keep().changed == {"worker-4": 1}
    assert kubernetes.pages == [2, 2, 1]


def test_a_round_changes_so_many_and_first_those_that_turn_idle_or_busy(
    database: Database, kubernetes: StandInApiServer
) -> None:
    with database.write() as session:
        add_price(session)
    kubernetes.add("a-stays-busy", cost="4")
    kubernetes.add("b-turns-busy")
    kubernetes.add("c-turns-idle", cost="1")
    add_pod_worker(database, "a-stays-busy", jobs=1)
    add_pod_worker(database, "b-turns-busy", jobs=1)
    add_pod_worker(database, "c-turns-idle")
    keeper = replace(keeper_of(database, kubernetes), most_changes=2)

    first, second = keeper.keep(), keeper.keep()

    assert first.changed == {"b-turns-busy": 1, "c-turns-idle": 0}
    assert (first.put_off, second.put_off) == (1, 0)
    assert second.changed == {"a-stays-busy": 1}


def test_a_pod_that_ends_meanwhile_or_is_another_by_now_hurts_nobody(
    keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    for name in ("gone", "stays"):
        kubernetes.add(name)
        add_pod_worker(database, name, jobs=1)
    kubernetes.vanishing = {"gone"}

    found = keep()

    assert (found.changed, found.vanished) == ({"stays": 1}, ["gone"])


def test_nothing_to_find_is_no_error(
    keep: Callable[[], Round], kubernetes: StandInApiServer
) -> None:
    assert keep() == Round(pods=0, of_workers=0, changed={}, vanished=[], put_off=0)


def test_a_token_that_was_renewed_is_used(
    keep: Callable[[], Round], kubernetes: StandInApiServer
) -> None:
    keep()
    kubernetes.renew_token("the-second-token")
    keep()

    (kubernetes.folder / "token").write_text("an-old-token")
    with pytest.raises(ConfigurationError, match="does not accept the service account's token"):
        keep()


@pytest.mark.parametrize("verb", ["list", "patch"])
def test_what_has_not_been_granted_is_told(
    verb: str, keep: Callable[[], Round], database: Database, kubernetes: StandInApiServer
) -> None:
    kubernetes.add("busy")
    add_pod_worker(database, "busy", jobs=1)
    kubernetes.refuses = {verb}

    with pytest.raises(ConfigurationError, match=f"may not {verb} pods of {NAMESPACE}") as caught:
        keep()

    assert "system:serviceaccount:render:tenstep-pods" in caught.value.message
    assert "verbs list and patch on the resource pods" in (caught.value.hint or "")


def test_a_selector_that_is_none_is_told(database: Database, kubernetes: StandInApiServer) -> None:
    keeper = replace(keeper_of(database, kubernetes), selector="worker")

    with pytest.raises(InputError, match="--selector: unable to parse"):
        keeper.keep()


def test_a_server_that_another_authority_vouches_for_gets_no_token(
    keep: Callable[[], Round], kubernetes: StandInApiServer, tmp_path: Path
) -> None:
    certificate, _ = certificate_for("IP:127.0.0.1", tmp_path)
    (kubernetes.folder / "ca.crt").write_bytes(certificate.read_bytes())

    with pytest.raises(ServiceUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        keep()

    assert kubernetes.pages == []


def test_the_token_is_in_no_repr(database: Database, kubernetes: StandInApiServer) -> None:
    keeper = keeper_of(database, kubernetes)
    with keeper.cluster.opened() as client:
        assert kubernetes.token not in f"{keeper!r} {client!r} {client.headers!r}"


# The command


def is_healthy(environment: Mapping[str, str]) -> bool:
    command = [sys.executable, HEALTHY, "pods"]
    return subprocess.run(command, env=dict(environment), capture_output=True).returncode == 0


def test_outside_a_cluster_the_command_says_so(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert shell("pods", "--once") == 2
    assert "runs in no Kubernetes cluster" in shell.err


def test_a_pod_without_a_token_says_so(shell: Shell, kubernetes: StandInApiServer) -> None:
    (kubernetes.folder / "token").unlink()

    assert shell("pods", "--once", "--service-account", str(kubernetes.folder)) == 2
    assert "token: No such file" in shell.err.replace("\n", "")
    assert "service account whose token is mounted" in shell.err.replace("\n", " ")


def test_the_command_looks_once_and_tells(
    shell: Shell,
    sqlite_database: Database,
    kubernetes: StandInApiServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENSTEP_DATABASE_URL", str(sqlite_database.engine.url))
    kubernetes.add("busy")
    with sqlite_database.write() as session:
        add_price(session)
    add_pod_worker(sqlite_database, "busy", jobs=2)
    account = ("--service-account", str(kubernetes.folder))

    assert shell("pods", "--once", *account) == 0
    assert shell.out == "1 of 1 pods have workers; costs set: busy 2\n"
    assert shell.json("pods", "--once", *account) == {
        "pods": 1,
        "pods_of_workers": 1,
        "changed": {},
        "vanished": [],
        "put_off": 0,
    }
    kubernetes.refuses = {"list"}
    assert shell("pods", "--once", *account, "--json") == 2
    assert "verbs list and patch" in json.loads(shell.err)["error"]["hint"]


def test_a_process_that_has_not_gone_round_for_long_is_not_alive(tmp_path: Path) -> None:
    note_alive(tmp_path, timedelta(seconds=15))
    assert is_alive(tmp_path)

    note_alive(tmp_path, -LONGEST_ROUND)
    assert not is_alive(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_outlives_an_outage_and_ends_when_it_is_told_to(
    number: signal.Signals,
    sqlite_database: Database,
    kubernetes: StandInApiServer,
    tmp_path: Path,
) -> None:
    kubernetes.add("busy")
    with sqlite_database.write() as session:
        add_price(session)
    add_pod_worker(sqlite_database, "busy", jobs=1)
    environment = {
        **os.environ,
        "TENSTEP_DATABASE_URL": str(sqlite_database.engine.url),
        "TENSTEP_DATA_DIR": str(tmp_path / "data"),
    }
    options = ("--every", "1", "--service-account", str(kubernetes.folder), "--json")
    kubernetes.overloaded = 1
    assert not is_healthy(environment)

    with running(environment, "pods", *options, cwd=tmp_path) as process:
        wait_until(lambda: bool(kubernetes.patched))
        assert is_healthy(environment)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    *told, last = out.splitlines()
    events = [json.loads(line)["event"] for line in told]
    assert events[:2] == ["started", "kubernetes_lost"]
    assert events[-1] == "stopped"
    assert json.loads(last)["error"]["message"] == "interrupted"
    assert kubernetes.token not in out
