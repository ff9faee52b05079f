"""How many jobs a chunk has, and which of them a queue's workers can draw, on both databases."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from producer.dispatch import Dispatcher
from producer.dispatch.queries import WINDOW
from producer.status import batch_status
from producer.waiting import why_waiting
from shared.db.engine import Database
from shared.db.fits import remember_fit
from shared.db.pass_rates import record_passes
from shared.db.tables import Batch, Job
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.rates import Shape
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.factories import START, add_batch, add_price, add_worker, jobs_of
from support.plans import explained

SHAPE = Shape(64, 64, 10, is_guided=True)
SECOND = timedelta(seconds=1)
NARROW = (
    *("ix_job_unsent", "ix_job_sent", "ix_job_lease", "ix_job_over_budget"),
    *("pk_job", "sqlite_autoindex_job_1"),
)


@pytest.fixture
def dispatcher(database: Database, broker: Broker, queue_settings: Settings) -> Dispatcher:
    with database.write() as session:
        add_price(session, device_kind="cuda")
    return Dispatcher(database, broker, queue_settings)


def submit(
    database: Database, jobs: int, *, wide: range = range(0), images_per_pass: int | None = None
) -> UUID:
    """Write a batch of 64 x 64; some of its positions are 128 wide."""
    with database.write() as session:
        batch = add_batch(session, jobs=jobs)
        batch.images_per_pass = images_per_pass
        some = update(Job).where(Job.position >= wide.start, Job.position < wide.stop)
        session.execute(some.values(width=128))
        return batch.id


def live(
    database: Database, *, name: str = "a device", sizes: list[list[int]] | None = None
) -> None:
    with database.write() as session:
        add_worker(session, device_kind="cuda", device_name=name, sizes=sizes)


def measured(database: Database, rates: dict[int, int], *, name: str = "a device") -> None:
    """Let a worker, long gone, draw passes: how long an image took by how many at once."""
    with database.write() as session:
        worker = add_worker(session, device_kind="cuda", device_name=name)
        worker.stopped_at = START
        passes = {
            PassSize(SHAPE, images): MeasuredPasses.of(images, images * ns, 0)
            for images, ns in rates.items()
        }
        record_passes(session, worker.id, worker.model, passes, START)


def chunks(database: Database, batch_id: UUID) -> list[list[int]]:
    """Return the positions in each chunk that was sent, in order."""
    found: dict[UUID, list[int]] = {}
    with database.read() as session:
        for job in jobs_of(session, batch_id):
            if job.chunk_id is not None:
                found.setdefault(job.chunk_id, []).append(job.position)
    return list(found.values())


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({}, 4),
        ({1: 100, 2: 100, 4: 100}, 4),
        ({1: 100, 2: 90, 4: 89}, 4),
        ({1: 100, 3: 90, 4: 89}, 3),
        ({1: 100, 2: 90, 4: 80, 8: 70, 16: 70}, 8),
    ],
)
def test_a_chunk_is_full_passes_of_the_best_size(
    rates: dict[int, int], size: int, dispatcher: Dispatcher, database: Database
) -> None:
    measured(database, rates)
    live(database)
    batch_id = submit(database, jobs=40)

    dispatcher.tick(START)
    dispatcher.tick(START + SECOND)

    assert [len(chunk) for chunk in chunks(database, batch_id)] == [size] * 3


def test_the_device_that_draws_fewest_at_once_decides(
    dispatcher: Dispatcher, database: Database
) -> None:
    measured(database, {1: 100, 4: 90, 8: 80, 16: 80}, name="large")
    measured(database, {1: 100, 3: 90, 8: 90}, name="small")
    live(database, name="large")
    live(database, name="small")
    batch_id = submit(database, jobs=40)

    dispatcher.tick(START)

    assert {len(chunk) for chunk in chunks(database, batch_id)} == {3}


def test_what_does_not_fit_makes_chunks_smaller(dispatcher: Dispatcher, database: Database) -> None:
    live(database)
    with database.write() as session:
        remember_fit(session, "tiny", "a device", 64, 64, images=3, now=START)
    batch_id = submit(database, jobs=9)

    dispatcher.tick(START)

    assert [len(chunk) for chunk in chunks(database, batch_id)] == [3, 3, 3]


def test_a_calibration_says_itself_how_many_are_drawn_at_once(
    dispatcher: Dispatcher, database: Database
) -> None:
    measured(database, {1: 100, 4: 90, 8: 80, 16: 80})
    live(database)
    small = submit(database, jobs=3, images_per_pass=1)
    large = submit(database, jobs=12, images_per_pass=6)

    for look in range(3):
        dispatcher.tick(START + look * SECOND)
        with database.write() as session:
            session.execute(update(Job).where(Job.chunk_id.is_not(None)).values(state="cancelled"))

    assert [len(chunk) for chunk in chunks(database, small)] == [1, 1, 1]
    assert [len(chunk) for chunk in chunks(database, large)] == [6, 6]


def test_a_queue_gets_what_all_of_its_workers_can_draw(
    dispatcher: Dispatcher, database: Database
) -> None:
    live(database)
    live(database, sizes=[[64, 64], [96, 96]])
    live(database, sizes=[[64, 64], [128, 64]])
    batch_id = submit(database, jobs=12, wide=range(2, 8))

    dispatcher.tick(START)

    assert chunks(database, batch_id) == [[0, 1, 8, 9], [10, 11]]


def test_why_what_nobody_can_draw_waits_is_told(
    dispatcher: Dispatcher, database: Database, queue_settings: Settings
) -> None:
    live(database, sizes=[[64, 64], [96, 96]])
    batch_id = submit(database, jobs=4, wide=range(4))

    assert dispatcher.tick(START) == 0

    with database.read() as session:
        batch = session.get_one(Batch, batch_id)
        status = batch_status(session, batch, queue_settings, START + SECOND)
        job = jobs_of(session, batch_id)[0]
        assert why_waiting(session, batch, job, queue_settings, START + SECOND) == status.why_idle
    assert status.why_idle is not None
    assert "128 x 64" in status.why_idle
    assert "64 x 64, 96 x 96" in status.why_idle


def test_no_more_than_a_window_is_read_for_what_can_be_drawn(
    dispatcher: Dispatcher, database: Database
) -> None:
    live(database, sizes=[[64, 64]])
    submit(database, jobs=WINDOW + 5, wide=range(WINDOW))

    def look() -> None:
        assert dispatcher.tick(START + SECOND) == 0

    look()
    plans = explained(database, look)

    assert len(plans) > 3
    for plan in plans:
        assert all(any(index in way for index in NARROW) for way in plan.ways), plan
