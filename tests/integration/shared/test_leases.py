"""Claims, fencing, expiry and the books, on both databases."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Barrier
from uuid import UUID

import pytest

from shared.db.batches import cancel_batch, count_jobs, find_batch, is_finished, set_control
from shared.db.engine import Database
from shared.db.leases import (
    Lease,
    claim_chunk,
    expire_leases,
    release_worker,
    renew_leases,
    return_jobs,
    still_held,
)
from shared.db.outcomes import PhaseTimes, record_done, record_failure
from shared.db.tables import Batch, Worker
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState, LedgerKind
from shared.domain.money import device_cost
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
    jobs_of,
    ledger_of,
)

MAX_ATTEMPTS = 3
SECOND = timedelta(seconds=1)
AFTER_LEASE = START + LEASE + SECOND


@dataclass
class Scene:
    """A batch of three jobs in one chunk, and one worker."""

    database: Database
    batch_id: UUID
    chunk_id: UUID
    worker_id: UUID

    def claim(self, chunk_id: UUID | None = None, worker_id: UUID | None = None) -> list[Lease]:
        with self.database.write() as session:
            return claim_chunk(
                session, chunk_id or self.chunk_id, worker_id or self.worker_id, START, LEASE
            )

    def finish(self, lease: Lease, times: PhaseTimes = TIMES) -> bool:
        with self.database.write() as session:
            return record_done(session, lease, IMAGE, times, {"model": "tiny"}, START + SECOND)

    def fail(self, lease: Lease, *, again: bool, times: PhaseTimes = TIMES) -> bool:
        now = START + SECOND
        with self.database.write() as session:
            return record_failure(
                session,
                lease,
                code="broken",
                message="it broke",
                retry_at=now + SECOND if again else None,
                times=times,
                now=now,
            )

    def expire(self) -> int:
        with self.database.write() as session:
            return expire_leases(session, AFTER_LEASE, MAX_ATTEMPTS)

    def cancel(self) -> int:
        with self.database.write() as session:
            return cancel_batch(session, session.get_one(Batch, self.batch_id), START)

    def control(self, control: BatchControl) -> None:
        with self.database.write() as session:
            set_control(session, session.get_one(Batch, self.batch_id), control)

    def dispatch(self, jobs: int | None = None) -> UUID:
        with self.database.write() as session:
            return dispatch(session, self.batch_id, jobs=jobs)

    def states(self) -> list[str]:
        with self.database.read() as session:
            return [job.state for job in jobs_of(session, self.batch_id)]

    def attempts_counted(self) -> list[int]:
        with self.database.read() as session:
            return [job.attempts for job in jobs_of(session, self.batch_id)]

    def outcomes(self) -> Counter[str]:
        with self.database.read() as session:
            return Counter(attempt.outcome for attempt in attempts_of(session, self.batch_id))

    def kinds_booked(self) -> Counter[str]:
        with self.database.read() as session:
            return Counter(entry.kind for entry in ledger_of(session, self.batch_id))

    def assert_books_agree(self) -> None:
        with self.database.read() as session:
            costs = {a.id: a.cost_nanodollars for a in attempts_of(session, self.batch_id)}
            booked = {
                entry.attempt_id: entry.amount_nanodollars
                for entry in ledger_of(session, self.batch_id)
            }
        assert booked == {attempt: cost for attempt, cost in costs.items() if cost is not None}


@pytest.fixture
def scene(database: Database) -> Scene:
    with database.write() as session:
        add_price(session)
        worker_id = add_worker(session).id
        batch_id = add_batch(session, jobs=3).id
        chunk_id = dispatch(session, batch_id)
    return Scene(database, batch_id, chunk_id, worker_id)


def test_a_chunk_is_claimed_in_order_and_its_attempts_counted(scene: Scene) -> None:
    leases = scene.claim()

    assert [lease.job.position for lease in leases] == [0, 1, 2]
    assert [lease.fencing_token for lease in leases] == [1, 1, 1]
    assert scene.states() == ["leased"] * 3
    assert scene.attempts_counted() == [1, 1, 1]
    assert scene.outcomes() == {AttemptOutcome.RUNNING: 3}


def test_a_claim_is_the_workers_sign_of_taking_work(scene: Scene) -> None:
    scene.claim()

    with scene.database.read() as session:
        assert session.get_one(Worker, scene.worker_id).last_claim_at == START


def test_an_attempt_says_how_long_its_job_waited(scene: Scene) -> None:
    with scene.database.write() as session:
        claim_chunk(session, scene.chunk_id, scene.worker_id, START + 2 * SECOND, LEASE)

    with scene.database.read() as session:
        waits = {attempt.queue_wait_ns for attempt in attempts_of(session, scene.batch_id)}
    assert waits == {2_000_000_000}


def test_a_message_that_arrives_twice_finds_nothing_to_claim(scene: Scene) -> None:
    scene.claim()

    assert scene.claim() == []
    assert scene.attempts_counted() == [1, 1, 1]


def test_two_workers_at_once_never_both_get_a_job(database: Database) -> None:
    with database.write() as session:
        add_price(session)
        workers = [add_worker(session).id for _ in range(2)]
        batch_id = add_batch(session, jobs=20).id
        chunks = [dispatch(session, batch_id, jobs=4) for _ in range(5)]
    together = Barrier(2)

    def claim_all(worker_id: UUID) -> list[UUID]:
        won = []
        for chunk_id in chunks:
            together.wait(timeout=30)
            with database.write() as session:
                won += [
                    lease.job.id
                    for lease in claim_chunk(session, chunk_id, worker_id, START, LEASE)
                ]
        return won

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(claim_all, workers)

    assert len(first) + len(second) == 20
    assert not set(first) & set(second)
    with database.read() as session:
        assert len(attempts_of(session, batch_id)) == 20
        assert {job.fencing_token for job in jobs_of(session, batch_id)} == {1}


@pytest.mark.parametrize("control", [BatchControl.PAUSED, BatchControl.CANCELLED])
def test_a_batch_that_is_not_active_cannot_be_claimed(scene: Scene, control: BatchControl) -> None:
    with scene.database.write() as session:
        session.get_one(Batch, scene.batch_id).control = control

    assert scene.claim() == []
    assert scene.states() == ["pending"] * 3


def test_a_paused_batch_is_taken_out_of_its_chunks_and_resumes_in_new_ones(scene: Scene) -> None:
    scene.control(BatchControl.PAUSED)
    scene.control(BatchControl.ACTIVE)

    assert scene.claim() == []
    assert len(scene.claim(scene.dispatch())) == 3


def test_a_cancelled_batch_cannot_be_resumed(scene: Scene) -> None:
    scene.cancel()

    with pytest.raises(Exception, match="was cancelled"):
        scene.control(BatchControl.ACTIVE)


def test_a_finished_job_has_its_image_its_times_and_one_line_in_the_books(scene: Scene) -> None:
    lease, *_ = scene.claim()

    assert scene.finish(lease)

    with scene.database.read() as session:
        job = jobs_of(session, scene.batch_id)[0]
        (attempt,) = (a for a in attempts_of(session, scene.batch_id) if a.job_id == job.id)
        (entry,) = ledger_of(session, scene.batch_id)
    assert (job.state, job.image_key, job.image_bytes) == ("done", IMAGE.key, IMAGE.bytes)
    assert (job.worker_id, job.lease_expires_at) == (None, None)
    assert job.finished_at == START + SECOND
    assert (attempt.outcome, attempt.finished_at) == ("done", START + SECOND)
    assert (attempt.device_ns, attempt.upload_ns) == (1_000_000_000, 7_000_000)
    assert attempt.record == {"model": "tiny"}
    assert entry.kind == LedgerKind.RENDER
    assert entry.amount_nanodollars == device_cost(1_000_000_000, NANODOLLARS_PER_HOUR)


def test_finishing_twice_books_once(scene: Scene) -> None:
    lease, *_ = scene.claim()
    scene.finish(lease)

    assert not scene.finish(lease)
    assert scene.kinds_booked() == {LedgerKind.RENDER: 1}
    assert scene.outcomes()[AttemptOutcome.DONE] == 1
    scene.assert_books_agree()


def test_a_stale_token_cannot_finish_a_job_that_another_worker_has(scene: Scene) -> None:
    stale, *_ = scene.claim()
    scene.expire()
    with scene.database.write() as session:
        other = add_worker(session).id
    fresh, *_ = scene.claim(scene.dispatch(), other)

    assert not scene.finish(stale)
    assert scene.states()[0] == "leased"
    assert scene.finish(fresh)
    assert fresh.fencing_token == stale.fencing_token + 1
    assert scene.kinds_booked()[LedgerKind.RENDER] == 1
    scene.assert_books_agree()


def test_a_stale_token_cannot_fail_a_job_that_another_worker_has(scene: Scene) -> None:
    stale, *_ = scene.claim()
    scene.expire()
    scene.claim(scene.dispatch())

    assert not scene.fail(stale, again=False)
    assert scene.states()[0] == "leased"


def test_a_late_finish_after_a_price_change_leaves_books_and_attempt_in_agreement(
    scene: Scene,
) -> None:
    lease, *_ = scene.claim()
    with scene.database.write() as session:
        renew_leases(session, scene.worker_id, START + LEASE, timedelta(0), scene.chunk_id)
    scene.expire()
    with scene.database.write() as session:
        add_price(session, nanodollars_per_hour=90_000_000, effective_from=START)

    scene.finish(lease)

    scene.assert_books_agree()


def test_an_expired_lease_gives_its_jobs_back(scene: Scene) -> None:
    scene.claim()

    assert scene.expire() == 3
    assert scene.states() == ["pending"] * 3
    assert scene.outcomes() == {AttemptOutcome.LOST: 3}
    assert scene.expire() == 0
    assert len(scene.claim(scene.dispatch())) == 3


def test_a_lease_that_was_renewed_does_not_expire(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        renew_leases(session, scene.worker_id, START + 20 * SECOND, LEASE, scene.chunk_id)

    assert scene.expire() == 0
    assert scene.states() == ["leased"] * 3


def test_a_heartbeat_renews_the_workers_own_leases_alone(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        other = add_worker(session).id
        renew_leases(session, other, START + 20 * SECOND, LEASE, scene.chunk_id)

    assert scene.expire() == 3


def test_a_heartbeat_renews_the_chunk_that_its_worker_works_on_alone(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        elsewhere = dispatch(session, add_batch(session, jobs=1).id)
        renew_leases(session, scene.worker_id, START + 20 * SECOND, LEASE, elsewhere)
        assert session.get_one(Worker, scene.worker_id).heartbeat_at == START + 20 * SECOND

    assert scene.expire() == 3


def test_only_the_job_that_was_being_drawn_loses_an_attempt(scene: Scene) -> None:
    scene.claim()

    scene.expire()

    assert scene.attempts_counted() == [1, 0, 0]


def test_the_job_being_drawn_is_the_first_that_its_worker_left(scene: Scene) -> None:
    first, *_ = scene.claim()
    scene.finish(first)

    scene.expire()

    assert scene.states() == ["done", "pending", "pending"]
    assert scene.attempts_counted() == [1, 1, 0]


def test_a_job_that_loses_its_worker_every_time_has_failed_and_takes_nobody_along(
    scene: Scene,
) -> None:
    chunk_id = scene.chunk_id
    for _ in range(MAX_ATTEMPTS):
        scene.claim(chunk_id)
        scene.expire()
        chunk_id = scene.dispatch()

    assert scene.states() == ["failed", "pending", "pending"]
    with scene.database.read() as session:
        failed = jobs_of(session, scene.batch_id)[0]
    assert failed.error_code == "worker_lost"
    assert failed.attempts == MAX_ATTEMPTS
    assert failed.finished_at == AFTER_LEASE


def test_device_time_of_a_lost_worker_is_booked_until_its_last_sign_of_life(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        renew_leases(session, scene.worker_id, START + 5 * SECOND, timedelta(0), scene.chunk_id)

    scene.expire()

    with scene.database.read() as session:
        booked = [entry.device_ns for entry in ledger_of(session, scene.batch_id)]
    assert sorted(booked) == [0, 0, 5_000_000_000]
    assert scene.kinds_booked() == {LedgerKind.FAILED_ATTEMPT: 3}
    scene.assert_books_agree()


@pytest.mark.parametrize("ended_by", ["done", "failure"])
def test_device_time_before_the_last_attempt_ended_is_not_booked_twice(
    scene: Scene, ended_by: str
) -> None:
    first, *_ = scene.claim()
    if ended_by == "done":
        scene.finish(first)
    else:
        scene.fail(first, again=False)
    with scene.database.write() as session:
        renew_leases(session, scene.worker_id, START + 5 * SECOND, timedelta(0), scene.chunk_id)

    scene.expire()

    with scene.database.read() as session:
        entries = ledger_of(session, scene.batch_id)
    assert sum(entry.device_ns for entry in entries) == 5_000_000_000


def test_a_worker_known_to_be_dead_loses_its_jobs_at_once(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        released = release_worker(session, scene.worker_id, START + SECOND, MAX_ATTEMPTS)

    assert released == 3
    assert scene.states() == ["pending"] * 3
    assert scene.outcomes() == {AttemptOutcome.LOST: 3}
    with scene.database.read() as session:
        assert session.get_one(Worker, scene.worker_id).stopped_at == START + SECOND


def test_a_dead_workers_jobs_are_not_those_of_others(scene: Scene) -> None:
    scene.claim()
    with scene.database.write() as session:
        other = add_worker(session).id
        assert release_worker(session, other, START, MAX_ATTEMPTS) == 0

    assert scene.states() == ["leased"] * 3


def test_jobs_given_back_are_pending_at_once_and_lose_no_attempt(scene: Scene) -> None:
    leases = scene.claim()
    with scene.database.write() as session:
        return_jobs(session, leases[1:], START)

    assert scene.states() == ["leased", "pending", "pending"]
    assert scene.attempts_counted() == [1, 0, 0]
    assert scene.outcomes() == {AttemptOutcome.RUNNING: 1, AttemptOutcome.RETURNED: 2}
    assert len(scene.claim(scene.dispatch())) == 2


def test_giving_back_twice_changes_nothing(scene: Scene) -> None:
    leases = scene.claim()
    for _ in range(2):
        with scene.database.write() as session:
            return_jobs(session, leases, START)

    assert scene.attempts_counted() == [0, 0, 0]


def test_a_transient_error_has_the_job_retried_later(scene: Scene) -> None:
    lease, *_ = scene.claim()

    assert scene.fail(lease, again=True)

    with scene.database.read() as session:
        job = jobs_of(session, scene.batch_id)[0]
    assert (job.state, job.attempts, job.chunk_id) == ("pending", 1, None)
    assert job.not_before == START + 2 * SECOND
    assert scene.outcomes()[AttemptOutcome.FAILED] == 1


def test_a_permanent_error_fails_the_job_and_books_its_device_time(scene: Scene) -> None:
    lease, *_ = scene.claim()

    assert scene.fail(lease, again=False)

    with scene.database.read() as session:
        job = jobs_of(session, scene.batch_id)[0]
    assert (job.state, job.error_code, job.error_message) == ("failed", "broken", "it broke")
    assert scene.kinds_booked() == {LedgerKind.FAILED_ATTEMPT: 1}
    scene.assert_books_agree()


def test_cancelling_ends_what_is_pending_and_what_is_leased_and_keeps_what_is_done(
    scene: Scene,
) -> None:
    first, *rest = scene.claim()
    scene.finish(first)
    with scene.database.write() as session:
        return_jobs(session, rest[1:], START)

    assert scene.cancel() == 2
    assert scene.states() == ["done", "cancelled", "cancelled"]
    assert scene.outcomes() == {
        AttemptOutcome.DONE: 1,
        AttemptOutcome.CANCELLED: 1,
        AttemptOutcome.RETURNED: 1,
    }


def test_a_worker_that_finishes_a_cancelled_job_changes_nothing_but_the_bill(scene: Scene) -> None:
    lease, *_ = scene.claim()
    scene.cancel()

    assert not scene.finish(lease)

    assert scene.states() == ["cancelled"] * 3
    with scene.database.read() as session:
        assert jobs_of(session, scene.batch_id)[0].image_key is None
    assert scene.outcomes() == {AttemptOutcome.CANCELLED: 3}
    assert scene.kinds_booked() == {LedgerKind.FAILED_ATTEMPT: 1}
    scene.assert_books_agree()


def test_a_worker_can_tell_which_jobs_it_still_holds(scene: Scene) -> None:
    first, second, third = scene.claim()
    scene.finish(first)
    with scene.database.write() as session:
        return_jobs(session, [second], START)
    again = scene.claim(scene.dispatch())

    with scene.database.read() as session:
        assert still_held(session, [first, second, third]) == {third.job.id}
        assert still_held(session, again) == {second.job.id}
        assert still_held(session, []) == set()


def test_when_all_jobs_have_ended_no_attempt_is_open_and_the_counts_add_up(scene: Scene) -> None:
    first, second, third = scene.claim()
    scene.finish(first)
    scene.fail(second, again=False)
    scene.fail(third, again=True)
    for lease in scene.claim(scene.dispatch()):
        scene.finish(lease)

    with scene.database.read() as session:
        counts = count_jobs(session, scene.batch_id)
    assert is_finished(counts)
    assert (counts[JobState.DONE], counts[JobState.FAILED]) == (2, 1)
    assert sum(counts.values()) == 3
    assert AttemptOutcome.RUNNING not in scene.outcomes()
    scene.assert_books_agree()


def test_a_batch_is_found_by_the_start_of_its_id(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session).id

    with database.read() as session:
        assert find_batch(session, None).id == batch_id
        assert find_batch(session, str(batch_id)).id == batch_id
        assert find_batch(session, str(batch_id)[:14]).id == batch_id
        for unknown in ("ffff", "not-an-id", "0" * 40):
            with pytest.raises(Exception, match=f"no batch {unknown}"):
                find_batch(session, unknown)


def test_the_start_of_two_ids_is_refused(database: Database) -> None:
    with database.write() as session:
        ids = [add_batch(session).id for _ in range(2)]
    common = str(ids[0])[:6]

    with database.read() as session, pytest.raises(Exception, match="start of several"):
        find_batch(session, common)


def test_without_a_batch_there_is_no_newest(database: Database) -> None:
    with database.read() as session, pytest.raises(Exception, match="no batch yet"):
        find_batch(session, None)
