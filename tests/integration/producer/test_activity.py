"""Lines over time have all that was done, whether it was folded or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from producer.activity import batch_series, recent_rates
from shared.db import tallies
from shared.db.activity import BatchSums
from shared.db.activity_tables import BatchActivity, WorkerActivity
from shared.db.cost_sums import read_costs
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.db.tallies import read_tally
from shared.domain.identifiers import NOBODY, new_id
from shared.domain.jobs import ON_DEVICE, JobState, LedgerKind
from support.activity import BEGIN, Done, append, at, fold, new_batch


@pytest.fixture
def batch_id(database: Database) -> UUID:
    return new_batch(database)


@pytest.fixture(params=["unfolded", "folded"])
def settle(request: pytest.FixtureRequest, database: Database) -> Callable[[], object]:
    """Folds what there is, or leaves it."""
    return (lambda: fold(database)) if request.param == "folded" else (lambda: None)


# Batches


def test_a_batch_of_which_nothing_came_has_no_points(database: Database, batch_id: UUID) -> None:
    with database.read() as session:
        series = batch_series(session, batch_id, until=BEGIN)

    assert (series.begin, series.points) == (None, ())


def test_a_pause_is_nothing_and_goes_on_until_now(
    database: Database, batch_id: UUID, settle: Callable[[], object]
) -> None:
    append(
        database,
        Done(9.999, batch_id, done=1, kind=LedgerKind.RENDER, nanodollars=5),
        Done(0, batch_id, done=1, kind=LedgerKind.RENDER, nanodollars=7),
        Done(40, batch_id, failed=1, kind=LedgerKind.FAILED_ATTEMPT, nanodollars=3),
    )
    settle()

    with database.read() as session:
        series = batch_series(session, batch_id, until=at(65))

    nothing = BatchSums(0, 0, 0)
    assert (series.begin, series.bucket_seconds) == (BEGIN, 10)
    assert series.points == (
        *(BatchSums(2, 0, 12), nothing, nothing, nothing),
        *(BatchSums(0, 1, 3), nothing, nothing),
    )


def test_a_retry_takes_no_failure_back(
    database: Database, batch_id: UUID, settle: Callable[[], object]
) -> None:
    append(database, Done(0, batch_id, failed=2), Done(30, batch_id, failed=-2))
    append(database, Done(31, batch_id, done=1), Done(32, batch_id, failed=1))
    settle()

    with database.read() as session:
        points = batch_series(session, batch_id).points

    assert [(point.done, point.failed) for point in points] == [(0, 2), (0, 0), (0, 0), (1, 1)]


def test_what_has_no_time_of_its_own_is_not_on_the_line(
    database: Database, batch_id: UUID, settle: Callable[[], object]
) -> None:
    kinds = [kind for kind in LedgerKind if kind not in ON_DEVICE]
    append(database, *(Done(0, batch_id, kind=kind, nanodollars=9) for kind in kinds))
    append(database, Done(20, batch_id, kind=LedgerKind.RENDER, nanodollars=4))
    settle()

    with database.read() as session:
        series = batch_series(session, batch_id)

    assert (series.begin, series.points) == (at(20), (BatchSums(0, 0, 4),))


@pytest.mark.parametrize(
    ("last", "points", "seconds", "count"),
    [
        (1199, 120, 10, 120),
        (1200, 120, 20, 61),
        (35, 1, 40, 1),
        (0, 1, 10, 1),
        (86_400, 7, 12_350, 7),
    ],
)
def test_the_time_of_a_point_grows_with_the_line(
    database: Database, batch_id: UUID, last: int, points: int, seconds: int, count: int
) -> None:
    append(database, Done(0, batch_id, done=1), Done(last, batch_id, done=2))

    with database.read() as session:
        series = batch_series(session, batch_id, points)

    assert (series.bucket_seconds, len(series.points)) == (seconds, count)
    assert series.points[-1].done == 2 if count > 1 else 3


MOMENTS = st.floats(0, 5_000, allow_nan=False)
NOTED = st.builds(
    Done,
    MOMENTS,
    batch_id=st.just(NOBODY),
    done=st.integers(0, 3),
    failed=st.integers(-2, 2),
    kind=st.none() | st.sampled_from(LedgerKind),
    nanodollars=st.integers(0, 10**12),
    worker_id=st.none(),
    device_seconds=st.just(0.0),
)
STORIES = st.lists(st.tuples(NOTED, st.booleans()), min_size=1, max_size=12)


def check_sums(database: Database, story: Sequence[tuple[Done, bool]], points: int) -> None:
    """Append one after the other, fold where the story says so, and add up."""
    batch_id = new_batch(database)
    noted = [
        one._replace(batch_id=batch_id, nanodollars=one.nanodollars if one.kind else 0)
        for one, _ in story
    ]
    for one, (_, folds) in zip(noted, story, strict=True):
        append(database, one)
        if folds:
            fold(database)
    with database.read() as session:
        series = batch_series(session, batch_id, points)
        done = read_tally(session, batch_id).counts[JobState.DONE]
        rows = read_costs(session, batch_ids=[batch_id])
    assert len(series.points) <= points
    assert series.bucket_seconds % 10 == 0
    assert sum(point.done for point in series.points) == done
    assert sum(point.failed for point in series.points) == sum(max(one.failed, 0) for one in noted)
    assert sum(point.nanodollars for point in series.points) == sum(
        row.booked.nanodollars for row in rows if row.kind in ON_DEVICE
    )
    fold(database)
    with database.read() as session:
        assert batch_series(session, batch_id, points) == series


def test_a_line_adds_up_however_it_was_folded(database: Database) -> None:
    @given(story=STORIES, points=st.integers(1, 40))
    @settings(max_examples=20)
    def holds(story: Sequence[tuple[Done, bool]], points: int) -> None:
        check_sums(database, story, points)

    holds()


def test_several_may_fold_at_once_and_nobody_sees_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "FOLDED_AT_ONCE", 50)
    batch_ids = [new_batch(database) for _ in range(4)]
    worker_ids = [new_id() for _ in range(4)]
    random = Random(2)
    append(
        database,
        *(
            Done(
                *(number / 10, random.choice(batch_ids), 1, 0, LedgerKind.RENDER, 7),
                *(random.choice(worker_ids), 0.05),
            )
            for number in range(1_000)
        ),
    )

    def fold_all() -> int:
        folded = 0
        while some := fold(database):
            folded += some
        return folded

    def look() -> int:
        with database.read() as session:
            return sum(point.done for point in batch_series(session, batch_ids[0]).points)

    before = look()
    with ThreadPoolExecutor(4) as pool:
        folding = [pool.submit(fold_all) for _ in range(3)]
        meanwhile = {look() for _ in range(30)}
        assert sum(one.result() for one in folding) == 1_000

    assert meanwhile == {before}
    with database.read() as session:
        lines = [batch_series(session, batch_id).points for batch_id in batch_ids]
        assert session.scalar(select(func.sum(WorkerActivity.busy_ns))) == 50_000_000 * 1_000
    assert sum(point.done for line in lines for point in line) == 1_000
    assert sum(point.nanodollars for line in lines for point in line) == 7_000


def test_a_batch_takes_its_line_along(database: Database, batch_id: UUID) -> None:
    append(database, Done(0, batch_id, done=1))
    fold(database)

    with database.write() as session:
        session.query(Batch).where(Batch.id == batch_id).delete()

    with database.read() as session:
        assert session.query(BatchActivity).count() == 0


def test_the_latest_rates_of_batches_are_one_question(
    database: Database, batch_id: UUID, settle: Callable[[], object]
) -> None:
    others = [new_batch(database) for _ in range(3)]
    append(
        database,
        *(Done(number, batch_id, done=2) for number in range(120)),
        Done(5, others[0], done=1_000),
        Done(101, others[1], done=13),
    )
    settle()
    asked: list[str] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *found: asked.append(str(found[2]))
    )

    with database.read() as session:
        rates = recent_rates(session, [batch_id, *others], at(105))

    assert len([statement for statement in asked if "SELECT" in statement]) == 1
    # From 40 s on, and what was done from 105 s to 110 s of those whose clock is ahead.
    assert rates == {batch_id: 140 / 65, others[0]: 0, others[1]: 13 / 65, others[2]: 0}
