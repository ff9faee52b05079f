"""What passes of different sizes took, and what ran out of memory, on both databases."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.fits import fits_for, known_fit, remember_fit
from shared.db.pass_rates import RememberedPasses, best_pass, pass_rates, record_passes
from shared.db.tables import Worker
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.rates import Shape
from support.factories import START, add_worker

SHAPE = Shape(64, 64, 10, is_guided=True)
LARGER = Shape(128, 128, 10, is_guided=True)
DEVICE = ("tiny", "cuda", "a device")
FIT = ("tiny", "a device", 64, 64)
DAY = timedelta(days=1)


def measure(session: Session, worker: Worker, shape: Shape = SHAPE, **took: int) -> None:
    """Let a worker draw a pass a size; ``of_8=10`` is 8 images in 10 ns each."""
    sizes = {int(name.removeprefix("of_")): ns for name, ns in took.items()}
    measured = {
        PassSize(shape, images): MeasuredPasses.of(images, images * ns, 0)
        for images, ns in sizes.items()
    }
    record_passes(session, worker.id, worker.model, measured, START)


def best(session: Session, *, days: int = 0, default: int = 8) -> int:
    return best_pass(session, *DEVICE, SHAPE, default=default, now=START + days * DAY)


def test_passes_are_added_up_and_the_best_is_known(database: Database) -> None:
    with database.write() as session:
        worker = add_worker(session, device_kind="cuda")
        measure(session, worker, of_1=100, of_2=80, of_4=60)
        measure(session, worker, of_4=40, of_8=50)
        measure(session, worker, LARGER, of_8=5)

        assert pass_rates(session, *DEVICE, SHAPE) == {1: 100, 2: 80, 4: 50, 8: 50}
        assert best(session) == 4


def test_only_workers_of_that_model_and_device_count_and_the_latest_of_them(
    database: Database,
) -> None:
    with database.write() as session:
        for minutes, ns in enumerate([9_000, 10, 10, 10, 10, 10]):
            started_at = START + timedelta(minutes=minutes)
            worker = add_worker(session, device_kind="cuda", started_at=started_at)
            measure(session, worker, of_8=ns)
        measure(session, add_worker(session, device_kind="qaic"), of_8=1)
        measure(session, add_worker(session, device_kind="cuda", device_name="another"), of_8=1)

        assert pass_rates(session, *DEVICE, SHAPE) == {8: 10}


def test_no_more_is_best_than_fits(database: Database) -> None:
    with database.write() as session:
        measure(session, add_worker(session, device_kind="cuda"), of_1=100, of_2=80, of_4=50)
        remember_fit(session, *FIT, images=2, now=START)

        assert best(session) == 2


def test_the_same_measurements_are_gone_by_for_some_seconds(database: Database) -> None:
    passes = RememberedPasses()

    def remembered(session: Session, seconds: int) -> int:
        now = START + timedelta(seconds=seconds)
        names = frozenset({"a device"})
        return passes.best(session, "tiny", "cuda", names, SHAPE, default=8, now=now)

    with database.write() as session:
        assert remembered(session, 0) == 8
        measure(session, add_worker(session, device_kind="cuda"), of_1=100, of_2=80, of_8=80)

        assert remembered(session, 4) == 8
        assert remembered(session, 6) == 2


def test_of_two_lessons_the_smaller_is_kept(database: Database) -> None:
    with database.write() as session:
        remember_fit(session, *FIT, images=2, now=START)
        remember_fit(session, *FIT, images=4, now=START)

        assert known_fit(session, *FIT, START) == 2
        assert fits_for(session, "tiny", "a device", START) == {(64, 64): 2}
        assert not fits_for(session, "tiny", "another device", START)
        assert known_fit(session, "tiny", "a device", 128, 128, START) is None


def test_after_a_day_twice_as_many_are_tried_and_it_holds_for_another_if_that_fails(
    database: Database,
) -> None:
    with database.write() as session:
        remember_fit(session, *FIT, images=2, now=START)
        assert known_fit(session, *FIT, START + DAY) == 4

        remember_fit(session, *FIT, images=2, now=START + DAY)

        assert known_fit(session, *FIT, START + DAY) == 2
        assert known_fit(session, *FIT, START + 2 * DAY) == 4


def test_an_old_lesson_grows_to_what_was_drawn_since_and_a_fresh_one_does_not(
    database: Database,
) -> None:
    with database.write() as session:
        worker = add_worker(session, device_kind="cuda")
        remember_fit(session, *FIT, images=2, now=START)
        drawn = {PassSize(SHAPE, 4): MeasuredPasses.of(4, 40, 0)}

        record_passes(session, worker.id, worker.model, drawn, START + DAY / 2)
        assert known_fit(session, *FIT, START + DAY / 2) == 2
        record_passes(session, worker.id, worker.model, drawn, START + DAY)

        assert known_fit(session, *FIT, START + DAY) == 4
        assert known_fit(session, *FIT, START + 2 * DAY) == 8
