"""Attempts end, tokens fence, and the books agree, on both databases."""

from __future__ import annotations

from shared.db.batches import count_jobs, is_finished
from shared.db.leases import (
    return_jobs,
    still_held,
)
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.domain.money import device_cost
from support.factories import (
    IMAGE,
    NANODOLLARS_PER_HOUR,
    START,
    add_worker,
    attempts_of,
    jobs_of,
    ledger_of,
)
from support.scene import SECOND, Scene


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
