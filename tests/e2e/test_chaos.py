"""The chaos suite, short: what a fault leaves in the books, on Postgres, S3 and Redis.

`make chaos` plays all of it, with more jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import select

from chaos import faults
from chaos.fleet import Fleet, Unit
from chaos.play import Run, Scenario, play, submit
from chaos.stacks import SERVICES, Servers, Stack, services_stack
from shared.db.tables import SetAside
from shared.messaging.celery_app import make_celery
from shared.messaging.contracts import TaskName, queue_name
from support.postgres import Postgres
from support.seaweedfs import S3Server

JOBS = 150
CAP = 3
WORKERS = 2
QUEUE = queue_name("simulated", "emoji-64")


def one_after_the_other(run: Run) -> None:
    for fault in (
        faults.refuse_then_dawdle(3, 0),
        faults.flush_redis,
        faults.freeze_workers(1, 3),
        faults.kill_workers(1, most=3),
    ):
        fault(run)


EVERYTHING = Scenario(
    "short",
    "every fault on one fleet",
    one_after_the_other,
    SERVICES,
    killers=1,
    settings={
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.1",  # something to do for all of it
        "TENSTEP_LEASE_SECONDS": "2",
        "TENSTEP_MAX_ATTEMPTS": str(CAP),
        "TENSTEP_CHUNK_SIZE": "2",  # the job that kills is alone the sooner
    },
    # How soon is for `make chaos` to say: the machine may be busy with other tests.
    recovers_within_seconds=60,
    units=lambda _kind, workers: [Unit(["up", "--no-serve", "--workers", str(workers)])],
    bites=lambda figures: figures.lost >= CAP,
)


@pytest.fixture
def servers(_postgres: Postgres, s3_server: S3Server) -> Servers:
    return Servers(_postgres, s3_server)


def test_nothing_is_lost_and_nothing_is_booked_twice(servers: Servers) -> None:
    """The store refuses, Redis is emptied, a worker frozen, others killed, and a job kills."""
    outcome = play(EVERYTHING, servers, jobs=JOBS, workers=WORKERS)

    assert not outcome.problems


@pytest.fixture
def stack(servers: Servers, tmp_path: Path) -> Iterator[Stack]:
    with services_stack(tmp_path, servers) as stack:
        yield stack


def push(stack: Stack, raw: bytes) -> None:
    """Put something in the queue that did not come from tenstep."""
    assert stack.redis is not None
    with Redis.from_url(stack.redis.url) as client:
        client.lpush(f"{stack.settings.redis_key_prefix}{QUEUE}", raw)


def send(celery: Celery, name: str, **message: Any) -> None:
    celery.send_task(name, kwargs={"message": message}, queue=QUEUE)


def envelope(stack: Stack, celery: Celery) -> dict[str, Any]:
    """Return a message as it lies in Redis, and take it out."""
    assert stack.redis is not None
    send(celery, TaskName.RENDER_CHUNK, version=1)
    with Redis.from_url(stack.redis.url) as client:
        found: dict[str, Any] = json.loads(
            client.rpop(f"{stack.settings.redis_key_prefix}{QUEUE}")  # type: ignore[arg-type]
        )
    return found


def test_messages_that_make_no_sense_are_set_aside_and_the_next_batch_is_drawn(
    stack: Stack,
) -> None:
    assert stack.redis is not None
    stranger = uuid4()
    celery = make_celery(stack.settings, stack.redis.url)
    message = envelope(stack, celery)
    push(stack, b"\xff\x00 no JSON at all {")
    push(stack, b"[1, 2, 3]")
    push(stack, json.dumps({**message, "body": "bm8gSlNPTg=="}).encode())
    send(celery, "tenstep.unheard_of", version=1)
    pointer = {"chunk_id": str(uuid4()), "batch_id": str(stranger)}
    send(celery, TaskName.RENDER_CHUNK, version=99, **pointer)
    send(celery, TaskName.RENDER_CHUNK, version=1, **pointer)  # of a batch that is not there
    celery.close()

    batch_id = submit(stack, 20)
    finish(stack, batch_id, 20)

    with stack.database.read() as session:
        reasons = session.scalars(select(SetAside.reason)).all()
        kept = session.scalars(select(SetAside.body)).all()
    assert len(reasons) == 5, reasons
    for part in ("no such task", "cannot be decoded", "no envelope", "this version knows"):
        assert any(part in reason for reason in reasons), part
    assert any("no JSON at all" in body for body in kept)


def finish(stack: Stack, batch_id: UUID, jobs: int) -> None:
    fleet = Fleet(stack, [Unit(["up", "--no-serve", "--workers", str(WORKERS)])])
    run = Run(stack, fleet, batch_id, jobs)
    try:
        run.start_sampling()
        assert run.wait_for(lambda: run.done == jobs, 60)
    finally:
        run.stop_sampling()
        left = fleet.stop()
    assert not left
    assert all(unit.starts == 1 for unit in fleet.units)
