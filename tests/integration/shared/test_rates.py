from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from shared.db.cost_tables import DeclaredRate
from shared.db.engine import Database
from shared.db.rates import read_rates, record_rates
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
    record_rates(session, worker.id, {SHAPE: drawn(*milliseconds)}, START)


def test_what_a_worker_measures_is_added_up(database: Database) -> None:
    with database.write() as session:
        worker = add_worker(session)
        record_rates(session, worker.id, {SHAPE: drawn(100, 200, wall=400)}, START)
        record_rates(session, worker.id, {SHAPE: drawn(300, wall=500), LARGER: drawn(900)}, START)

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
