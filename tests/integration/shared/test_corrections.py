"""A price that is set after the fact: the books come out as if it had been there all along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db import corrections
from shared.db.claims import claim_chunk
from shared.db.corrections import Corrected
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import LedgerEntry, Price
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.leases import renew_leases, return_jobs
from shared.db.ledger import charge_model_load
from shared.db.outcomes import record_done
from shared.db.price_spans import Affected, find_affected
from shared.db.prices import price_in_force, price_steps
from shared.db.settlement import settle_worker, unsettled_workers
from shared.db.tables import Worker
from shared.db.tallies import read_tally
from shared.domain.jobs import LedgerKind
from shared.domain.money import device_cost, online_cost
from support.factories import (
    IMAGE,
    LEASE,
    NANODOLLARS_PER_HOUR,
    START,
    TIMES,
    add_batch,
    add_price,
    add_worker,
    attempts_of,
    dispatch,
    ledger_of,
)
from support.pricing import set_price, span_from
from support.scene import SECOND, Scene

DEARER = 50_000_000
LOAD_NS = 1_234_567_891
AMOUNT = func.sum(LedgerEntry.amount_nanodollars)


def assert_books_are_as_the_prices_say(
    session: Session, worker_ids: list[UUID], batch_id: UUID
) -> None:
    """Check every attempt, model load and worker against the price book as it is now."""
    booked: Mapping[UUID | None, int] = {
        attempt_id: int(amount)
        for attempt_id, amount in session.execute(
            select(LedgerEntry.attempt_id, AMOUNT)
            .where(LedgerEntry.batch_id == batch_id)
            .group_by(LedgerEntry.attempt_id)
        )
    }
    for attempt in attempts_of(session, batch_id):
        worker = session.get_one(Worker, attempt.worker_id)
        rate = price_in_force(session, worker.device_kind, worker.device_sku, attempt.claimed_at)
        assert attempt.nanodollars_per_hour == rate
        assert booked.get(attempt.id, 0) == device_cost(attempt.device_ns or 0, rate)
        assert booked.get(attempt.id, 0) == (attempt.cost_nanodollars or 0)
    for worker in session.scalars(select(Worker).where(Worker.id.in_(worker_ids))):
        assert booked_for_load(session, worker) in {0, cost_of_load(session, worker)}
        if worker.settled_until is not None:
            steps = price_steps(session, worker.device_kind, worker.device_sku)
            due = online_cost(worker.online_at, worker.settled_until, steps)
            assert due == session.scalar(
                select(func.coalesce(AMOUNT, 0)).where(
                    LedgerEntry.worker_id == worker.id, LedgerEntry.created_at <= worker.settled_at
                )
            )
    sums = read_costs(session, worker_ids=worker_ids)
    assert sum(row.booked.nanodollars for row in sums) == session.scalar(
        select(func.coalesce(AMOUNT, 0)).where(LedgerEntry.worker_id.in_(worker_ids))
    )
    assert read_tally(session, batch_id).nanodollars == session.scalar(
        select(func.coalesce(AMOUNT, 0)).where(LedgerEntry.batch_id == batch_id)
    )


def booked_for_load(session: Session, worker: Worker) -> int:
    of_no_attempt = (LedgerEntry.batch_id.is_not(None), LedgerEntry.attempt_id.is_(None))
    booked = select(AMOUNT).where(LedgerEntry.worker_id == worker.id, *of_no_attempt)
    return int(session.scalar(booked) or 0)


def cost_of_load(session: Session, worker: Worker) -> int:
    kind, sku = worker.device_kind, worker.device_sku
    return device_cost(worker.load_ns, price_in_force(session, kind, sku, worker.online_at))


def corrections_of(session: Session, batch_id: UUID) -> list[LedgerEntry]:
    return [e for e in ledger_of(session, batch_id) if e.kind == LedgerKind.CORRECTION]


# Entry by entry


def test_each_entry_is_corrected_by_the_difference_and_stays_as_it_is(scene: Scene) -> None:
    drawn, failed, _ = scene.claim()
    scene.finish(drawn)
    scene.fail(failed, again=False)
    with scene.database.read() as session:
        before = {
            entry.id: entry.amount_nanodollars for entry in ledger_of(session, scene.batch_id)
        }

    scene.cancel()
    with scene.database.write() as session:
        corrected = set_price(session, START, DEARER)

    difference = device_cost(TIMES.device_ns, DEARER) - device_cost(
        TIMES.device_ns, NANODOLLARS_PER_HOUR
    )
    assert corrected == Corrected(entries=2, workers=0, nanodollars=2 * difference)
    with scene.database.read() as session:
        entries = {entry.id: entry for entry in ledger_of(session, scene.batch_id)}
        assert {id_: entries[id_].amount_nanodollars for id_ in before} == before
        price = session.scalars(select(Price).where(Price.effective_from == START)).one()
        made = corrections_of(session, scene.batch_id)
        assert {entry.event_id for entry in made} == {
            f"correction:{price.id}:{id_}" for id_ in before
        }
        for entry in made:
            corrects = entries[UUID(entry.event_id[-36:])]
            assert entry.amount_nanodollars == difference
            assert entry.nanodollars_per_hour == DEARER
            assert entry.device_ns == 0
            same = ("batch_id", "job_id", "attempt_id", "worker_id", "device_kind")
            for name in (*same, "priced_at", "created_at"):
                assert getattr(entry, name) == getattr(corrects, name)
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


def test_only_what_was_priced_until_the_next_price_is_corrected(scene: Scene) -> None:
    with scene.database.write() as session:
        add_price(session, nanodollars_per_hour=7, effective_from=START + SECOND / 2)
    for lease in scene.claim():
        scene.finish(lease)

    with scene.database.write() as session:
        assert not find_affected(session, span_from(session, START + SECOND))
        assert find_affected(session, span_from(session, START - SECOND)) == Affected(entries=3)
        assert set_price(session, START - 2 * SECOND, DEARER).entries == 3
        assert set_price(session, START - SECOND, NANODOLLARS_PER_HOUR).entries == 3
        assert set_price(session, START - 3 * SECOND, DEARER).entries == 0
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
        batch = sum(entry.amount_nanodollars for entry in ledger_of(session, scene.batch_id))
        assert batch == 3 * device_cost(TIMES.device_ns, NANODOLLARS_PER_HOUR)


def test_other_devices_of_the_same_kind_are_left_alone(scene: Scene) -> None:
    for lease in scene.claim():
        scene.finish(lease)

    with scene.database.write() as session:
        assert not find_affected(session, span_from(session, START, sku="c6a.large"))
        assert set_price(session, START, DEARER, sku="c6a.large") == Corrected()
        assert set_price(session, START, DEARER, kind="cuda") == Corrected()
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


def test_a_price_that_costs_the_same_makes_no_entries(scene: Scene) -> None:
    for lease in scene.claim():
        scene.finish(lease)

    with scene.database.write() as session:
        assert set_price(session, START, NANODOLLARS_PER_HOUR) == Corrected()


def test_what_took_no_time_costs_nothing_at_any_price(scene: Scene) -> None:
    for lease in scene.claim():
        scene.finish(lease, replace(TIMES, text_encode_ns=0, denoise_ns=0, decode_ns=0))

    with scene.database.write() as session:
        assert set_price(session, START, DEARER) == Corrected()


def test_an_attempt_that_ends_late_after_a_correction_is_booked_at_the_new_price(
    scene: Scene,
) -> None:
    [lost, *_] = scene.claim()
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + SECOND, timedelta(0))
    scene.expire()
    with scene.database.write() as session:
        assert set_price(session, START, DEARER).entries == 1

    assert not scene.finish(lost, replace(TIMES, denoise_ns=7_654_321_987))

    with scene.database.write() as session:
        assert scene.kinds_booked()[LedgerKind.DUPLICATE] == 1
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
        # And once more, now that the duplicate is booked.
        assert set_price(session, START - SECOND, 3 * DEARER).entries == 0
        assert set_price(session, START + SECOND, DEARER).entries == 0
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


@pytest.mark.parametrize("nanodollars_per_hour", [777_777_777, 888_888_888, 5_555_555_555])
def test_a_late_duplicate_is_corrected_to_the_nanodollar_with_its_attempt(
    scene: Scene, nanodollars_per_hour: int
) -> None:
    [lost, *_] = scene.claim()
    with scene.database.write() as session:
        renew_leases(session, {scene.worker_id: [scene.chunk_id]}, START + SECOND, timedelta(0))
    scene.expire()
    scene.finish(lost, replace(TIMES, denoise_ns=7_654_321_987))

    with scene.database.write() as session:
        set_price(session, START - SECOND / 2, nanodollars_per_hour)
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


def test_an_attempt_that_was_called_off_is_booked_at_the_new_price_when_it_ends(
    scene: Scene,
) -> None:
    [called_off, *_] = scene.claim()
    scene.cancel()
    with scene.database.write() as session:
        assert find_affected(session, span_from(session, START)) == Affected()
        assert set_price(session, START, DEARER) == Corrected()

    scene.finish(called_off)

    with scene.database.read() as session:
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
        [entry] = ledger_of(session, scene.batch_id)
        assert entry.amount_nanodollars == device_cost(TIMES.device_ns, DEARER)


def test_attempts_under_way_are_told(scene: Scene) -> None:
    [drawn, *_] = scene.claim()
    scene.finish(drawn)

    with scene.database.read() as session:
        affected = find_affected(session, span_from(session, START))

    assert affected == Affected(entries=1, running=2)


def test_a_correction_that_fails_half_way_leaves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lease in scene.claim():
        scene.finish(lease)

    with pytest.raises(ZeroDivisionError), scene.database.write() as session:  # noqa: PT012
        set_price(session, START, DEARER)
        raise ZeroDivisionError

    assert scene.kinds_booked() == {LedgerKind.RENDER: 3}
    with scene.database.read() as session:
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


def test_more_entries_than_are_read_at_once_are_all_corrected(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "ENTRIES_AT_ONCE", 3)
    with database.write() as session:
        add_price(session)
        worker_id = add_worker(session).id
        batch_id = add_batch(session, jobs=10).id
        chunk_id = dispatch(session, batch_id)
    scene = Scene(database, batch_id, chunk_id, worker_id)
    for lease in scene.claim():
        scene.finish(lease)

    with database.write() as session:
        assert set_price(session, START, DEARER).entries == 10
        assert set_price(session, START + SECOND, 0).entries == 0
        assert_books_are_as_the_prices_say(session, [worker_id], batch_id)


# Time online


@pytest.fixture
def stopped(scene: Scene) -> Scene:
    """The worker has loaded its model, drawn three images and stopped, an hour after its start."""
    with scene.database.write() as session:
        worker = session.get_one(Worker, scene.worker_id)
        worker.load_ns = LOAD_NS
        charge_model_load(session, worker, scene.batch_id, LOAD_NS, START)
    for lease in scene.claim():
        scene.finish(lease)
    with scene.database.write() as session:
        mark_stopped(session, scene.worker_id, START + timedelta(hours=1))
    return scene


def test_a_worker_whose_books_are_closed_costs_its_time_at_the_new_price(stopped: Scene) -> None:
    with stopped.database.write() as session:
        span = span_from(session, START)
        assert find_affected(session, span) == Affected(entries=4, workers=1)

        corrected = set_price(session, START, DEARER)

        assert corrected == Corrected(
            entries=4, workers=1, nanodollars=DEARER - NANODOLLARS_PER_HOUR
        )
        assert_books_are_as_the_prices_say(session, [stopped.worker_id], stopped.batch_id)
        [balance] = session.scalars(
            select(LedgerEntry).where(
                LedgerEntry.kind == LedgerKind.CORRECTION, LedgerEntry.batch_id.is_(None)
            )
        )
        assert balance.worker_id == stopped.worker_id
        assert balance.event_id.endswith(f":{stopped.worker_id}")


def test_a_price_from_the_middle_of_its_time_changes_only_the_rest(stopped: Scene) -> None:
    with stopped.database.write() as session:
        corrected = set_price(session, START + timedelta(minutes=30), DEARER)

        half = (DEARER - NANODOLLARS_PER_HOUR) // 2
        assert corrected == Corrected(entries=0, workers=1, nanodollars=half)
        assert_books_are_as_the_prices_say(session, [stopped.worker_id], stopped.batch_id)


def test_a_price_of_the_time_before_or_after_changes_nothing(stopped: Scene) -> None:
    with stopped.database.write() as session:
        after = START + timedelta(hours=1)
        assert find_affected(session, span_from(session, after)) == Affected()
        assert set_price(session, after, DEARER) == Corrected()
        add_price(session, effective_from=START)
        assert find_affected(session, span_from(session, START - SECOND)) == Affected()


def test_what_a_worker_drew_after_its_books_were_closed_is_not_balanced(scene: Scene) -> None:
    later = START + timedelta(minutes=20)
    with scene.database.write() as session:
        assert settle_worker(session, scene.worker_id, START)
        renew_leases(session, {scene.worker_id: []}, later, LEASE)
        closed = session.get_one(Worker, scene.worker_id).settled_until
    now = later + SECOND
    with scene.database.write() as session:
        leases = claim_chunk(session, scene.chunk_id, scene.worker_id, now, LEASE)
        record_done(session, leases[0], IMAGE, TIMES, {}, now + SECOND)
        return_jobs(session, leases[1:], now + SECOND)

    with scene.database.write() as session:
        corrected = set_price(session, START, DEARER)

        assert closed == later
        assert (corrected.entries, corrected.workers) == (1, 1)
        assert session.get_one(Worker, scene.worker_id).settled_until == later
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
    with scene.database.write() as session:
        mark_stopped(session, scene.worker_id, START + timedelta(hours=1))
    with scene.database.read() as session:
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
        whole = session.scalar(select(AMOUNT).where(LedgerEntry.worker_id == scene.worker_id))
        assert whole == DEARER


def test_a_worker_that_fell_silent_when_it_claimed_is_balanced_with_what_it_drew(
    scene: Scene,
) -> None:
    for lease in scene.claim():
        scene.finish(lease)
    later = START + timedelta(hours=1)
    with scene.database.write() as session:
        assert unsettled_workers(session, later, LEASE) == [scene.worker_id]
        settle_worker(session, scene.worker_id, later)

    with scene.database.write() as session:
        assert session.get_one(Worker, scene.worker_id).settled_until == START
        assert set_price(session, START, DEARER).entries == 3
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)


def test_a_worker_that_was_never_settled_is_settled_at_the_new_price(scene: Scene) -> None:
    for lease in scene.claim():
        scene.finish(lease)

    with scene.database.write() as session:
        assert set_price(session, START, DEARER).workers == 0
    with scene.database.write() as session:
        mark_stopped(session, scene.worker_id, START + timedelta(hours=1))
    with scene.database.read() as session:
        assert_books_are_as_the_prices_say(session, [scene.worker_id], scene.batch_id)
