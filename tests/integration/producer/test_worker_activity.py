"""What workers did is told by the minute for a day, and what they cost for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from producer.activity import worker_series
from producer.dispatch import Dispatcher
from shared.db.activity import WorkerSums, prune_activity
from shared.db.activity_tables import BatchActivity, WorkerActivity
from shared.db.engine import Database
from shared.domain.identifiers import new_id
from shared.domain.jobs import LedgerKind
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.activity import BEGIN, Done, append, at, fold, new_batch


@pytest.fixture
def batch_id(database: Database) -> UUID:
    return new_batch(database)


@pytest.fixture(params=["unfolded", "folded"])
def settle(request: pytest.FixtureRequest, database: Database) -> Callable[[], object]:
    """Folds what there is, or leaves it."""
    return (lambda: fold(database)) if request.param == "folded" else (lambda: None)


def test_work_is_spread_over_the_minutes_before_its_end(
    database: Database, settle: Callable[[], object]
) -> None:
    worker_id = new_id()
    work = Done(130, kind=LedgerKind.RENDER, nanodollars=6, worker_id=worker_id, device_seconds=100)
    idle = Done(140, kind=LedgerKind.IDLE, nanodollars=5, worker_id=worker_id, device_seconds=40)
    append(database, work, idle, Done(120, worker_id=worker_id, kind=LedgerKind.MODEL_LOAD))
    settle()

    with database.read() as session:
        series = worker_series(session, [worker_id], at(140), minutes=4)[worker_id]

    assert series.begin == BEGIN - timedelta(minutes=1)
    assert series.utilisation == (0, 0.5, 1, 0.5)
    assert series.last_hour == WorkerSums(1, 100_000_000_000, 6)
    booked = series.booked
    assert (booked.images, booked.device_ns, booked.idle_ns) == (1, 100 * 10**9, 40 * 10**9)
    assert (booked.total, booked.total_per_image) == (11, 11)


def test_a_worker_is_busy_for_all_of_its_time_at_most(
    database: Database, settle: Callable[[], object]
) -> None:
    worker_id, unheard_of = new_id(), new_id()
    append(
        database,
        *(
            Done(end, kind=LedgerKind.DUPLICATE, worker_id=worker_id, device_seconds=100_000)
            for end in (0, 59)
        ),
    )
    settle()

    with database.read() as session:
        series = worker_series(session, [worker_id, unheard_of], at(59), minutes=90)

    assert series[worker_id].utilisation == (*[0.0] * 30, *[1.0] * 60)
    assert set(series[unheard_of].utilisation) == {0.0}
    assert series[unheard_of].booked.total_per_image is None


def test_images_of_the_last_hour_are_told_whatever_the_length_of_the_line(
    database: Database, settle: Callable[[], object]
) -> None:
    worker_id = new_id()
    append(
        database,
        *(
            Done(60 * minute, kind=LedgerKind.RENDER, worker_id=worker_id, device_seconds=1)
            for minute in range(90)
        ),
    )
    settle()

    with database.read() as session:
        for minutes in (5, 90):
            series = worker_series(session, [worker_id], at(60 * 89), minutes)[worker_id]
            assert len(series.utilisation) == minutes
            assert (series.last_hour.images, series.booked.images) == (60, 90)


def test_old_minutes_of_workers_are_forgotten_and_lines_of_batches_are_not(
    database: Database, batch_id: UUID
) -> None:
    worker_id = new_id()
    append(
        database,
        *(
            Done(seconds, batch_id, 1, 0, LedgerKind.RENDER, 1, worker_id, 0)
            for seconds in (0, 60, 120)
        ),
    )
    fold(database)

    with database.write() as session:
        assert not prune_activity(session, at(60))

    with database.read() as session:
        begins = session.scalars(select(WorkerActivity.second).order_by(WorkerActivity.second))
        assert list(begins) == [at(seconds).timestamp() for seconds in (60, 120)]
        assert session.query(BatchActivity).count() == 3


def test_a_dispatcher_forgets_what_is_a_day_old_once_an_hour(
    database: Database, broker: Broker, queue_settings: Settings
) -> None:
    worker_id = new_id()
    append(
        database,
        *(
            Done(3600 * hour, kind=LedgerKind.RENDER, worker_id=worker_id, device_seconds=0)
            for hour in range(4)
        ),
    )
    fold(database)
    dispatcher = Dispatcher(database, broker, queue_settings)
    kept = []

    for later in (24.1, 25.9, 26.1):
        dispatcher.tick(BEGIN + later * timedelta(hours=1))
        with database.read() as session:
            kept.append(session.query(WorkerActivity).count())

    # Hours begin at full ones, and `BEGIN` is four minutes after.
    assert kept == [4, 3, 2]
