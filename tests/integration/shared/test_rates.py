from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from shared.db.cost_tables import DeclaredRate
from shared.db.engine import Database
from shared.db.pass_rates import record_passes
from shared.db.rates import read_rates, record_rates
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.rates import Basis, Measured, Shape
from support.factories import START, add_worker

SHAPE = Shape(64, 64, 10, is_guided=True)
LARGER = Shape(128, 128, 10, is_guided=True)
MODEL = "tiny"


def drawn(*milliseconds: int, wall: int = 0) -> Measured:
    """Add up images that took so many milliseconds."""
    return Measured(
        len(milliseconds),
        sum(milliseconds) * 10**6,
        sum(one**2 for one in milliseconds),
        (wall or sum(milliseconds)) * 10**6,
    )


def record(
    session: Session, *milliseconds: int, minutes: int = 0, sku: str = "", load_ms: int = 0
) -> None:
    """Let a worker that started so many minutes later draw images of so many milliseconds."""
    worker = add_worker(session, started_at=START + timedelta(minutes=minutes), sku=sku)
    worker.load_ns = load_ms * 10**6
    record_rates(session, worker.id, worker.model, {SHAPE: drawn(*milliseconds)}, START)


def test_what_a_worker_measures_is_added_up(database: Database) -> None:
    with database.write() as session:
        worker = add_worker(session)
        record_rates(session, worker.id, worker.model, {SHAPE: drawn(100, 200, wall=400)}, START)
        record_rates(
            session,
            worker.id,
            worker.model,
            {SHAPE: drawn(300, wall=500), LARGER: drawn(900)},
            START,
        )

        rates = {rate.shape: rate for rate in read_rates(session, MODEL)}

    assert rates[SHAPE].images == 3
    assert rates[SHAPE].device_ns == 200_000_000
    assert rates[SHAPE].wall_ns == 300_000_000
    assert rates[SHAPE].image_spread == 500_000
    assert rates[LARGER].device_ns == 900_000_000
    assert rates[SHAPE].basis is Basis.MEASURED


def test_workers_of_one_device_are_one_rate_and_their_difference_is_told(
    database: Database,
) -> None:
    with database.write() as session:
        record(session, 100, 100, load_ms=1_000)
        record(session, 300, 300, load_ms=3_000)

        [rate] = read_rates(session, MODEL)

    assert rate.images == 4
    assert rate.device_ns == 200_000_000
    assert rate.image_spread == 0
    assert rate.worker_spread == pytest.approx(1_000_000 / 2**0.5, rel=0.001)
    assert rate.load_ns == 2 * 10**9


def test_only_the_five_latest_workers_count(database: Database) -> None:
    with database.write() as session:
        record(session, 9_000, minutes=0)
        for minutes in range(1, 6):
            record(session, 100, minutes=minutes)

        [rate] = read_rates(session, MODEL)

    assert (rate.images, rate.device_ns) == (5, 100_000_000)


def test_rates_are_told_apart_by_sku_and_by_model(database: Database) -> None:
    with database.write() as session:
        record(session, 100)
        record(session, 400, sku="c6a.large")

        rates = read_rates(session, MODEL)

        assert not read_rates(session, "another model")
    assert {rate.sku: rate.device_ns for rate in rates} == {
        "": 100_000_000,
        "c6a.large": 400_000_000,
    }


def test_a_declared_rate_stands_until_its_shape_is_measured_on_that_sku(
    database: Database,
) -> None:
    with database.write() as session:
        session.add(
            DeclaredRate(
                device_kind="cpu",
                sku="c6a.large",
                model=MODEL,
                **{name: getattr(SHAPE, name) for name in ("width", "height", "iterations")},
                device_ns=700_000_000,
                load_ns=5 * 10**9,
                source="a data sheet",
            )
        )
        record(session, 100)

        declared = {rate.sku: rate for rate in read_rates(session, MODEL)}["c6a.large"]
        record(session, 400, sku="c6a.large")
        measured = {rate.sku: rate for rate in read_rates(session, MODEL)}["c6a.large"]

    assert (declared.basis, declared.device_ns, declared.load_ns) == (
        Basis.DECLARED,
        700_000_000,
        5 * 10**9,
    )
    assert (measured.basis, measured.device_ns) == (Basis.MEASURED, 400_000_000)


def test_images_take_what_they_take_at_the_number_that_is_best_drawn_at_once(
    database: Database,
) -> None:
    with database.write() as session:
        worker = add_worker(session)
        worker.load_ns = 5 * 10**9
        record_rates(
            session,
            worker.id,
            worker.model,
            {SHAPE: drawn(*[100] * 8, *[40] * 8, wall=1_600)},
            START,
        )
        passes = {
            PassSize(SHAPE, 1): MeasuredPasses(8, 800 * 10**6, 80_000, 0),
            PassSize(SHAPE, 4): MeasuredPasses(1, 160 * 10**6, 6_400, 0),
            PassSize(SHAPE, 8): MeasuredPasses(1, 320 * 10**6, 12_800, 0),
        }
        record_passes(session, worker.id, worker.model, passes, START)

        [rate] = read_rates(session, MODEL)

    assert (rate.images, rate.device_ns, rate.image_spread) == (4, 40_000_000, 0)
    assert rate.wall_ns == 70_000_000, "30 ms beside the device, as on average"
    assert rate.load_ns == 5 * 10**9


def test_to_try_fewer_at_once_makes_no_quote_dearer(database: Database) -> None:
    def device_ns() -> int:
        with database.read() as session:
            [rate] = read_rates(session, MODEL)
            return rate.device_ns

    with database.write() as session:
        worker_id = add_worker(session).id
        record_rates(session, worker_id, MODEL, {SHAPE: drawn(*[40] * 8)}, START)
        eight = {PassSize(SHAPE, 8): MeasuredPasses.of(8, 320 * 10**6, 0)}
        record_passes(session, worker_id, MODEL, eight, START)
    before = device_ns()
    with database.write() as session:
        record_rates(session, worker_id, MODEL, {SHAPE: drawn(*[100] * 50)}, START)
        one = {PassSize(SHAPE, 1): MeasuredPasses.of(1, 100 * 10**6, 0)}
        record_passes(session, worker_id, MODEL, one, START)

    assert device_ns() == before == 40_000_000
