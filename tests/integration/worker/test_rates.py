"""What a worker draws is what the next quote goes by."""

from __future__ import annotations

from uuid import UUID

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.rates import read_rates
from shared.domain.rates import DeviceRate, Shape
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.commands import wait_until
from support.factories import add_batch, add_price, attempts_of, dispatch, jobs_of
from support.worker import render, started
from worker.runtime import Runtime

SHAPE = Shape(64, 64, 10, is_guided=True)


def put_in_queue(database: Database, jobs: int) -> RenderChunk:
    with database.write() as session:
        batch_id = add_batch(session, jobs=jobs).id
        chunk_id = dispatch(session, batch_id, now=utc_now())
    return RenderChunk(chunk_id=chunk_id, batch_id=batch_id)


def rates_of(database: Database, model: str) -> dict[Shape, DeviceRate]:
    with database.read() as session:
        return {rate.shape: rate for rate in read_rates(session, model)}


def test_images_are_measured_by_shape_and_those_that_failed_are_not(
    runtime: Runtime, sqlite_database: Database
) -> None:
    message = put_in_queue(sqlite_database, jobs=4)
    model = runtime.drawn_by.model
    with sqlite_database.write() as session:
        jobs = jobs_of(session, message.batch_id)
        jobs[1].squeeze = "900,10"
        jobs[3].guidance_scale = 1
        guided = {jobs[0].id, jobs[2].id}

    render(runtime, message)

    wait_until(lambda: len(rates_of(sqlite_database, model)) == 2)
    rates = rates_of(sqlite_database, model)
    with sqlite_database.read() as session:
        attempts = attempts_of(session, message.batch_id)
    times = [attempt.device_ns or 0 for attempt in attempts if attempt.job_id in guided]
    assert rates[SHAPE].images == 2
    assert rates[SHAPE].device_ns == sum(times) // 2
    assert rates[SHAPE].wall_ns > 0
    assert rates[SHAPE].load_ns == runtime.load_ns
    assert rates[SHAPE._replace(is_guided=False)].images == 1


def test_a_worker_that_stops_writes_down_what_it_has_measured(
    settings: Settings, worker_id: UUID, sqlite_database: Database
) -> None:
    with sqlite_database.write() as session:
        add_price(session)
    slow = settings.model_copy(update={"heartbeat_seconds": 600})
    with started(slow, worker_id) as runtime:
        render(runtime, put_in_queue(sqlite_database, jobs=2))
        render(runtime, put_in_queue(sqlite_database, jobs=3))

    assert rates_of(sqlite_database, runtime.drawn_by.model)[SHAPE].images == 5
