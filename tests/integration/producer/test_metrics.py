"""What Prometheus reads: the figures of the installation, and of the server's requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from producer.api.families import MOST_NAMES
from producer.api.installation import Installation
from producer.api.measures import measures
from producer.api.probe import Probe
from producer.backlog import Pool
from producer.services import open_services
from producer.totals import Cost, CostOf, WorkerKind, read_totals
from shared.db.batches import cancel_batch
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.outcomes import record_done
from shared.db.tallies import fold_tallies
from shared.domain.access import Scope
from shared.domain.jobs import JobState
from shared.settings import Settings
from shared.version import VERSION
from support.api import ApiServer
from support.factories import (
    IMAGE,
    LEASE,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    dispatch,
)
from support.valkey import run_valkey

IMAGE_COST = 11_111
"""Nano-dollars: a second at the factories' price."""


def figures(text: str) -> Mapping[tuple[str, frozenset[str]], float]:
    """Read what Prometheus would: values by name and by the values of labels."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests_counted(text: str) -> Mapping[tuple[str, str, str], float]:
    """Read the requests by method, route and status."""
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tenstep_http_requests_total"
    ]
    return {
        (one.labels["method"], one.labels["route"], one.labels["status"]): one.value
        for one in samples
    }


@pytest.mark.parametrize("folded", [False, True])
def test_totals_are_the_sums_of_all_batches(database: Database, *, folded: bool) -> None:
    with database.write() as session:
        now = database.now(session)
        add_price(session, effective_from=now - timedelta(days=1))
        worker = add_worker(session, started_at=now)
        add_worker(session, started_at=now).draining = True
        add_worker(session, started_at=now - timedelta(days=1))
        batch = add_batch(session, jobs=3)
        cancel_batch(session, add_batch(session, jobs=2), now)
        chunk = dispatch(session, batch.id, jobs=2, now=now)
        leases = claim_chunk(session, chunk, worker.id, now, LEASE)
        assert record_done(session, leases[0], IMAGE, TIMES, {}, now)
    if folded:
        with database.write() as session:
            fold_tallies(session)

    totals = read_totals(database, Settings())

    assert {state: count for state, count in totals.jobs.items() if count} == {
        JobState.PENDING: 1,
        JobState.LEASED: 1,
        JobState.DONE: 1,
        JobState.CANCELLED: 2,
    }
    assert totals.open_batches == 1
    assert totals.image_bytes == IMAGE.bytes
    assert totals.costs == {CostOf("render", "cpu"): Cost(IMAGE_COST, TIMES.device_ns)}
    assert totals.workers == {
        WorkerKind("cpu", "tiny", draining=False): 1,
        WorkerKind("cpu", "tiny", draining=True): 1,
    }
    assert totals.queues == {"cpu.tiny": Pool("cpu", "tiny")}
    assert totals.serving == {Pool("cpu", "tiny"): 1}
    assert totals.deliveries == 0


@pytest.fixture
def server(api: ApiServer) -> Iterator[httpx.Client]:
    with api.client(api.new_key("operators", Scope.ADMIN)) as client:
        yield client


def test_prometheus_can_read_it(api: ApiServer, server: httpx.Client) -> None:
    with api.database.write() as session:
        worker = add_worker(session, started_at=api.database.now(session))
        queue = worker.queue
        batch_id = add_batch(session, jobs=3).id
    assert server.get(f"/api/batches/{batch_id}").is_success
    server.get("/api/batches/not-an-id")
    server.get("/api/there/is/no/such/path")
    server.request("BREW", f"/api/batches/{batch_id}")

    answer = server.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = figures(answer.text)
    assert found["tenstep_jobs", frozenset({"pending"})] == 3
    assert found["tenstep_batches_open", frozenset()] == 1
    assert found["tenstep_workers", frozenset({"cpu", "tiny", "ready"})] == 1
    assert found["tenstep_queue_messages", frozenset({queue})] == 0
    assert found["tenstep_webhook_deliveries_pending", frozenset()] == 0
    assert found["tenstep_build_info", frozenset({VERSION})] == 1
    route = "/api/batches/{batch_id}"
    seen = requests_counted(answer.text)
    assert seen["GET", route, "200"] == 1
    assert seen["GET", route, "422"] == 1
    assert seen["GET", "other", "404"] == 1
    assert seen["other", route, "405"] == 1
    assert str(batch_id) not in answer.text


def test_it_is_for_administrators_alone(api: ApiServer) -> None:
    operators = api.new_key("operators", Scope.OPERATE)

    for secret, status in ((None, 401), ("tsk_wrong", 401), (operators, 403)):
        with api.client(secret) as client:
            assert client.get("/metrics").status_code == status


def test_without_redis_all_but_the_queues_is_told(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with run_valkey() as redis:
        settings = Settings(
            data_dir=tmp_path,
            database_url=SecretStr(str(sqlite_database.engine.url)),
            redis_url=SecretStr(redis.url),
        )
        with open_services(settings) as services:
            with sqlite_database.write() as session:
                add_worker(session, started_at=sqlite_database.now(session))
                add_batch(session, jobs=2)
            redis.server.stop()
            registry = CollectorRegistry()
            registry.register(Installation(services, Probe(services)))

            found = figures(generate_latest(registry).decode())

    assert found["tenstep_jobs", frozenset({"pending"})] == 2
    assert found["tenstep_service_up", frozenset({"redis"})] == 0
    assert found["tenstep_service_up", frozenset({"database"})] == 1
    assert not [name for name, _ in found if name == "tenstep_queue_messages"]


def test_models_without_number_are_a_bounded_number_of_figures(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        add_worker(session, started_at=sqlite_database.now(session))
        for number in range(60):
            add_batch(session, jobs=number + 1, model=f"model-{number}")

    shown = {
        sample.labels["model"]: sample.value
        for family in measures(read_totals(sqlite_database, Settings()))
        for sample in family.samples
        if sample.name == "tenstep_backlog_jobs"
    }

    assert len(shown) == MOST_NAMES  # one of them is "other", for one is the model of the worker
    assert shown["model-59"] == 60
    assert sum(shown.values()) == sum(range(1, 61))
    assert shown["other"] == sum(range(1, 12))
