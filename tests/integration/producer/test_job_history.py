"""What a job went through, attempt by attempt, and what it waits for."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from producer.job_history import JobHistory, read_job
from shared.db.batches import cancel_batch, cancel_job, set_control
from shared.db.claims import claim_chunk
from shared.db.engine import Database
from shared.db.leases import renew_leases, return_jobs
from shared.db.lost_leases import expire_leases
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.domain.jobs import AttemptOutcome, BatchControl, JobState
from shared.errors import InputError
from shared.settings import Settings
from shared.storage.folder import FolderStore
from support.drawing import RECORD, Drawer
from support.factories import LEASE, add_batch, dispatch, jobs_of

SETTINGS = Settings(lease_seconds=30)
MAX_ATTEMPTS = 5
SECOND = timedelta(seconds=1)
COST_OF_A_SECOND = 21_250


class Story:
    """A batch of three jobs, and a worker that is alive by the database's own clock."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        with database.write() as session:
            self.begin = database.now(session) - timedelta(minutes=10)
            self.batch_id = add_batch(session, created_at=self.begin).id
        self.drawer = Drawer(database, FolderStore(folder), now=self.begin + SECOND)

    def read(self, name: str = "0") -> JobHistory:
        return read_job(self.database, SETTINGS, name, str(self.batch_id))

    def lose(self) -> None:
        """Have the worker take a job, work two seconds on it, and fall silent."""
        [held] = self.drawer.claim(self.batch_id, 1)
        worker, alive = self.drawer.worker_id, self.drawer.now + 2 * SECOND
        self.drawer.now += LEASE + 3 * SECOND
        with self.database.write() as session:
            renew_leases(session, {worker: [held.job.chunk_id]}, alive, LEASE)
        with self.database.write() as session:
            assert expire_leases(session, self.drawer.now, MAX_ATTEMPTS) == 1

    def revive(self) -> None:
        """Have the worker give a sign of life now."""
        with self.database.write() as session:
            now = self.database.now(session)
            values = {"heartbeat_at": now, "polled_at": now}
            session.execute(
                update(Worker).where(Worker.id == self.drawer.worker_id).values(**values)
            )
            self.drawer.now = now


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return Story(database, tmp_path / "objects")


def test_a_job_that_was_lost_failed_and_drawn_is_told_in_order(story: Story) -> None:
    story.lose()
    [held] = story.drawer.claim(story.batch_id, 1)
    story.drawer.fail(held, code="out_of_memory", retry_after=0 * SECOND)
    [held] = story.drawer.claim(story.batch_id, 1)
    story.drawer.finish(held)
    job = story.read()

    assert (job.state, job.error, job.why_waiting) == (JobState.DONE, None, None)
    assert [(each.number, each.outcome.value) for each in job.attempts] == [
        (1, "lost"),
        (2, "failed"),
        (3, "done"),
    ]
    lost, failed, done = job.attempts
    assert lost.reason is not None
    assert lost.reason.to_json() == {
        "code": "worker_lost",
        "message": "its worker stopped renewing the lease",
    }
    assert failed.reason is not None
    assert (failed.reason.code, failed.reason.message) == (
        "out_of_memory",
        "job 0 cannot be drawn",
    )
    assert done.reason is None
    assert (done.host, done.device, done.device_name) == ("host", "cpu", "a device")
    assert done.phases == {
        "text_encode": 10_000_000,
        "denoise": 900_000_000,
        "decode": 90_000_000,
        "safety_check": 0,
        "png_encode": 5_000_000,
        "upload": 7_000_000,
    }
    assert lost.phases == {}
    assert job.cost_nanodollars == sum(each.cost_nanodollars or 0 for each in job.attempts)
    assert (lost.cost_nanodollars, done.cost_nanodollars) == (2 * COST_OF_A_SECOND, 21_250)


def test_the_timeline_goes_from_submission_to_the_image(story: Story) -> None:
    story.lose()
    story.drawer.draw(story.batch_id, 1)
    job = story.read()

    assert [(each.event, each.attempt) for each in job.timeline] == [
        ("submitted", None),
        ("sent", 1),
        ("claimed", 1),
        ("lost", 1),
        ("sent", 2),
        ("claimed", 2),
        ("done", 2),
    ]
    moments = [each.at for each in job.timeline]
    assert moments == sorted(moments)
    assert moments[0] == story.begin


def test_the_time_in_the_queue_is_told(story: Story) -> None:
    with story.database.write() as session:
        chunk_id = dispatch(session, story.batch_id, jobs=1, now=story.drawer.now)
        session.execute(
            update(Job)
            .where(Job.chunk_id == chunk_id)
            .values(dispatched_at=story.drawer.now - 7 * SECOND, chunk_id=None)
        )
        first = jobs_of(session, story.batch_id)[0]
        first.chunk_id = chunk_id
    with story.database.write() as session:
        claim_chunk(session, chunk_id, story.drawer.worker_id, story.drawer.now, LEASE)
    job = story.read()

    assert job.attempts[0].to_json()["queue_wait_ms"] == 7_000
    sent, claimed = job.timeline[1:3]
    assert (sent.event, claimed.event, claimed.at - sent.at) == ("sent", "claimed", 7 * SECOND)


def test_a_job_that_failed_for_good_says_with_what(story: Story) -> None:
    [held] = story.drawer.claim(story.batch_id, 1)
    story.drawer.fail(held)
    job = story.read()

    assert job.state == JobState.FAILED
    assert job.error is not None
    assert job.error.to_json() == {"code": "bad_prompt", "message": "job 0 cannot be drawn"}
    assert job.why_waiting is None
    assert [each.event for each in job.timeline][-1] == "failed"


def test_a_job_that_was_given_back_and_then_called_off_says_so(story: Story) -> None:
    leases = story.drawer.claim(story.batch_id, 1)
    with story.database.write() as session:
        return_jobs(session, leases, story.drawer.now + SECOND)
    story.drawer.now += 2 * SECOND
    story.drawer.claim(story.batch_id, 1)
    with story.database.write() as session:
        cancel_job(session, jobs_of(session, story.batch_id)[0], story.drawer.now + SECOND)
    job = story.read()

    returned, cancelled = job.attempts
    assert returned.reason is not None
    assert returned.reason.message == "its worker gave it back before it was drawn"
    assert cancelled.reason is not None
    assert cancelled.reason.message == "it was called off under way"
    assert (job.state, job.attempts_counted) == (JobState.CANCELLED, 1)


def test_a_job_that_was_called_off_before_anybody_took_it(story: Story) -> None:
    with story.database.write() as session:
        cancel_batch(session, session.get_one(Batch, story.batch_id), story.begin + SECOND)
    job = story.read()

    assert (job.attempts, job.why_waiting) == ([], None)
    assert [(each.event, each.at - story.begin) for each in job.timeline] == [
        ("submitted", 0 * SECOND),
        ("cancelled", SECOND),
    ]


def test_json_has_all_of_it_as_plain_values(story: Story) -> None:
    png = story.drawer.draw(story.batch_id, 1)[0]
    with story.database.write() as session:
        first = jobs_of(session, story.batch_id)[0]
        first.details = {"client": "zoo"}
        first.custom_id = "cat"
    job = story.read().to_json()

    assert job["settings"] == {
        "seed": 0,
        "width": 64,
        "height": 64,
        "scheduler": "dpmsolver++",
        "steps": 10,
        "squeeze": None,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.8,
        "quality": "exact",
    }
    assert job["image"]["bytes"] == len(png)
    assert (
        job["image"]["key"] == f"images/{job['image']['sha256'][:2]}/{job['image']['sha256']}.png"
    )
    assert (job["custom_id"], job["details"]) == ("cat", {"client": "zoo"})
    [attempt] = job["attempts"]
    assert attempt["record"] == RECORD
    assert attempt["phases_ms"]["denoise"] == 900
    assert (attempt["device_ms"], attempt["cost_usd"]) == (1_000, "0.000021250")
    assert attempt["worker"]["device_kind"] == "cpu"


# Why it waits


def test_a_job_that_is_held_waits_for_approval(story: Story) -> None:
    with story.database.write() as session:
        session.execute(update(Job).values(state=JobState.HELD))

    assert f"waiting for approval: tenstep approve {story.batch_id}" in str(
        story.read().why_waiting
    )


def test_a_job_of_a_paused_batch_waits_for_it(story: Story) -> None:
    with story.database.write() as session:
        set_control(session, session.get_one(Batch, story.batch_id), BatchControl.PAUSED)

    assert story.read().why_waiting == (
        f"Its batch is paused: tenstep resume {story.batch_id} goes on."
    )


def test_a_job_that_failed_waits_for_its_next_turn(story: Story) -> None:
    story.revive()
    [held] = story.drawer.claim(story.batch_id, 1)
    story.drawer.fail(held, retry_after=timedelta(hours=1))
    again = story.drawer.now + timedelta(hours=1)

    told = rf"It failed and is tried again at {again:%H:%M:%S} UTC, in 3,[56]\d\d s"
    assert re.search(told, str(story.read().why_waiting))


def test_a_job_waits_for_a_worker_with_its_model(story: Story) -> None:
    assert "No worker with the model tiny is alive" in str(story.read().why_waiting)


def test_a_job_in_a_queue_says_in_which_and_since_when(story: Story) -> None:
    story.revive()
    with story.database.write() as session:
        dispatch(session, story.batch_id, jobs=1, now=story.drawer.now - 7 * SECOND)
    job = story.read()

    assert "It is in the queue cpu.tiny since" in str(job.why_waiting)
    assert (job.timeline[-1].event, job.timeline[-1].attempt) == ("sent", None)


def test_a_job_waits_for_others_of_its_batch_and_then_for_a_dispatcher(story: Story) -> None:
    story.revive()
    assert "No dispatcher sends its jobs" in str(story.read("2").why_waiting)

    [held] = story.drawer.claim(story.batch_id, 1)
    assert story.read("2").why_waiting == "Other jobs of its batch go first."
    assert story.read("0").why_waiting is None
    story.drawer.finish(held)


def test_a_job_whose_worker_fell_silent_waits_for_another(story: Story) -> None:
    story.drawer.claim(story.batch_id, 1)
    job = story.read()

    assert job.attempts[0].outcome is AttemptOutcome.RUNNING
    assert "Its worker has not renewed its lease" in str(job.why_waiting)


# Which job is meant


def test_a_job_is_found_by_its_id_whatever_the_batch(story: Story) -> None:
    with story.database.write() as session:
        job_id = jobs_of(session, story.batch_id)[1].id
        add_batch(session)

    assert read_job(story.database, SETTINGS, str(job_id), None).position == 1


def test_a_name_is_looked_for_in_the_newest_batch_unless_another_is_given(story: Story) -> None:
    with story.database.write() as session:
        newest = add_batch(session).id
        for batch_id, position in ((story.batch_id, 1), (newest, 2)):
            jobs_of(session, batch_id)[position].custom_id = "cat"

    def found(name: str, batch: UUID | None) -> tuple[UUID, int]:
        job = read_job(story.database, SETTINGS, name, str(batch) if batch else None)
        return job.batch_id, job.position

    assert found("cat", None) == (newest, 2)
    assert found("cat", story.batch_id) == (story.batch_id, 1)
    assert found("0", None) == (newest, 0)


def test_a_custom_id_goes_before_a_position(story: Story) -> None:
    with story.database.write() as session:
        jobs_of(session, story.batch_id)[2].custom_id = "0"

    assert story.read("0").position == 2


def test_a_name_that_several_images_have_is_refused(story: Story) -> None:
    with story.database.write() as session:
        for job in jobs_of(session, story.batch_id)[1:]:
            job.custom_id = "cat"

    with pytest.raises(InputError, match=f"cat is 2 images of batch {story.batch_id}") as refused:
        story.read("cat")
    assert refused.value.hint == "Name one by its position: 1 to 2."


@pytest.mark.parametrize("name", ["nobody", "3", "", "a\0b", "\udc80", "9" * 30])
def test_a_job_that_is_not_there_is_refused(story: Story, name: str) -> None:
    with pytest.raises(InputError, match="has no job"):
        story.read(name)


def test_an_attempt_whose_worker_is_forgotten_is_still_told(story: Story) -> None:
    story.drawer.draw(story.batch_id, 1)
    with story.database.write() as session:
        session.execute(update(Attempt).values(worker_id=story.batch_id))

    [attempt] = story.read().attempts
    assert (attempt.host, attempt.device_kind, attempt.device_name) == (None, "cpu", "a device")
