"""What an attempt costs: once, at the price of when it was claimed, in no round trip more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import event

from shared.db.engine import Database
from shared.db.tables import Attempt
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost
from support.factories import (
    LEASE,
    NANODOLLARS_PER_HOUR,
    START,
    TIMES,
    add_price,
    add_worker,
    ledger_of,
)
from support.scene import SECOND, Scene

DEARER = 3 * NANODOLLARS_PER_HOUR


def test_an_attempt_is_billed_at_the_price_of_when_it_was_claimed(scene: Scene) -> None:
    before, *_ = scene.claim()
    with scene.database.write() as session:
        add_price(session, nanodollars_per_hour=DEARER, effective_from=START + SECOND / 2)
    assert scene.finish(before)
    with scene.database.write() as session:
        other = add_worker(session).id
    scene.expire()
    after, *_ = scene.claim(scene.dispatch(), other, now=START + 2 * LEASE)
    assert scene.finish(after, now=START + 3 * LEASE)

    with scene.database.read() as session:
        renders = [
            (entry.nanodollars_per_hour, entry.amount_nanodollars)
            for entry in ledger_of(session, scene.batch_id)
            if entry.kind == LedgerKind.RENDER
        ]
    assert renders == [
        (rate, device_cost(TIMES.device_ns, rate)) for rate in (NANODOLLARS_PER_HOUR, DEARER)
    ]


def test_an_image_that_comes_after_its_lease_costs_the_rest_of_its_time_once(scene: Scene) -> None:
    late, *_ = scene.claim()
    scene.expire()
    for _ in range(2):
        assert not scene.finish(late, now=START + 2 * LEASE)

    with scene.database.read() as session:
        entries = [
            entry
            for entry in ledger_of(session, scene.batch_id)
            if entry.attempt_id == late.attempt.id
        ]
        attempt = session.get_one(Attempt, late.attempt.id)
    assert [entry.kind for entry in entries] == [LedgerKind.FAILED_ATTEMPT, LedgerKind.DUPLICATE]
    assert sum(entry.device_ns for entry in entries) == TIMES.device_ns == attempt.device_ns
    cost = device_cost(TIMES.device_ns, NANODOLLARS_PER_HOUR)
    assert sum(entry.amount_nanodollars for entry in entries) == cost == attempt.cost_nanodollars


def test_a_late_failure_that_took_less_than_was_booked_changes_nothing(scene: Scene) -> None:
    late, *_ = scene.claim()
    scene.finish(late, times=replace(TIMES, denoise_ns=10 * TIMES.denoise_ns))
    before = scene.kinds_booked()

    assert not scene.fail(late, again=False, now=START + timedelta(minutes=1))
    assert scene.kinds_booked() == before
    scene.assert_books_agree()


def test_booking_an_image_takes_no_round_trip_of_its_own(postgres_database: Database) -> None:
    """The job, the attempt with its entry in the books, and the counts: three statements."""
    scene = Scene.made(postgres_database)
    leases = scene.claim()
    scene.finish(leases[0])
    statements: list[str] = []

    @event.listens_for(postgres_database.engine, "before_cursor_execute")
    def listen(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(" ".join(statement.split()))

    assert scene.finish(leases[1])
    event.remove(postgres_database.engine, "before_cursor_execute", listen)

    assert [statement.split()[0] for statement in statements] == ["UPDATE", "WITH", "INSERT"]
    assert "UPDATE attempt" in statements[1]
    assert "INSERT INTO ledger" in statements[1]
    assert statements[2].startswith("INSERT INTO tally")
