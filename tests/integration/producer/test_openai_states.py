"""The clerk and batches in OpenAI's form: the states that they go through, and how they end."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from sqlalchemy import delete

from producer.clerk.clerk import Clerk
from producer.control import retry
from producer.uploads import file_key
from shared.db.api_tables import BatchRequest
from shared.db.batches import cancel_batch, set_control
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from support.openai_scene import OpenAIScene, request_line, url_of

DONE, FAILED = JobState.DONE, JobState.FAILED


@pytest.fixture
def scene_on_any(database: Database, tmp_path: Path) -> OpenAIScene:
    return OpenAIScene.made(database, tmp_path)


def test_a_batch_goes_through_its_states_and_ends_with_a_file(scene_on_any: OpenAIScene) -> None:
    scene = scene_on_any
    batch_id = scene.submit(request_line("one", seed=7), request_line("two", n=2))
    assert scene.request(batch_id).state == "validating"
    scene.work()
    assert scene.request(batch_id).state == "in_progress"
    scene.end_jobs(batch_id, {0: DONE, 2: DONE})
    scene.work()
    assert scene.request(batch_id).state == "in_progress"
    scene.end_jobs(batch_id, {1: DONE})
    scene.work()
    assert scene.request(batch_id).state == "finalizing"
    results = scene.work_to_the_end(batch_id)

    assert results.request.state == "completed"
    assert (results.request.requests, results.request.completed) == (2, 2)
    assert results.errors == []
    assert results.request.error_file_id is None
    one, two = results.outputs
    body = one["response"]["body"]
    assert (one["custom_id"], one["error"]) == ("one", None)
    assert one["response"]["status_code"] == 200
    assert body["size"] == "64x64"
    assert body["usage"]["device_seconds"] == 1.0
    job = scene.jobs(batch_id)[0]
    assert url_of(one).startswith(f"http://tenstep.test/images/{job.id}.png?expires=")
    assert len({image["url"] for image in two["response"]["body"]["data"]}) == 2


def test_cancelled_under_way_every_request_is_told_of(scene_on_any: OpenAIScene) -> None:
    scene = scene_on_any
    batch_id = scene.submit(*(request_line(name) for name in "abcd"))
    scene.work()
    scene.end_jobs(batch_id, {1: DONE, 2: FAILED})
    scene.cancel(batch_id)
    assert scene.request(batch_id).state == "cancelling"
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "cancelled"
    assert [line["custom_id"] for line in results.outputs] == ["b"]
    codes = {line["custom_id"]: line["error"]["code"] for line in results.errors}
    assert codes == {"a": "batch_cancelled", "c": "broken", "d": "batch_cancelled"}


def test_cancelled_before_its_file_was_read_every_request_is_told_of(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), b"nonsense", request_line("b"))
    scene.cancel(batch_id)
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "cancelled"
    told = [(line["custom_id"], line["error"]["code"]) for line in results.errors]
    assert told == [
        ("a", "batch_cancelled"),
        (None, "invalid_line"),
        ("b", "batch_cancelled"),
    ]


def test_cancelled_while_its_file_was_read_every_request_is_told_of(scene: OpenAIScene) -> None:
    """Two of the three images of its second request were written by then, and drawn."""
    batch_id = scene.submit(
        request_line("a"), b"nonsense", request_line("b", n=3), request_line("c")
    )
    scene.work()
    scene.end_jobs(batch_id, dict.fromkeys(range(3), DONE))
    with scene.database.write() as session:
        session.execute(delete(Job).where(Job.batch_id == batch_id, Job.position >= 3))
        note_new(session, batch_id, JobState.PENDING, -2)
        batch = session.get_one(Batch, batch_id)
        batch.total, batch.submitted_at, batch.client = 3, None, {}
        session.get_one(BatchRequest, batch_id).state = "validating"
    scene.cancel(batch_id)
    results = scene.work_to_the_end(batch_id)
    assert [line["custom_id"] for line in results.outputs] == ["a"]
    part, refused, unread = results.errors
    assert part["custom_id"] == "b"
    assert part["error"]["message"].startswith("1 of 3 images are missing")
    assert len(part["response"]["body"]["data"]) == 2
    assert (refused["custom_id"], refused["error"]["code"]) == (None, "invalid_line")
    assert (unread["custom_id"], unread["error"]["code"]) == ("c", "batch_cancelled")
    assert results.request.requests == 4


def test_a_file_that_breaks_off_keeps_what_was_drawn_of_it(scene: OpenAIScene) -> None:
    packed = gzip.compress(
        b"".join(json.dumps(request_line(f"{at}")).encode() + b"\n" for at in range(3_000))
    )
    batch_id = scene.submit_bytes(packed[:-4_000])
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "failed"
    assert results.request.errors is not None
    assert results.request.errors["data"][0]["code"] == "invalid_file"
    told = [line["custom_id"] for line in results.lines]
    assert told == [f"{at}" for at in range(len(told))]
    assert len(told) == results.request.requests >= 256


def test_called_off_on_the_command_line_it_ends_as_cancelled(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), request_line("b"))
    scene.work()
    with scene.database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch_id), scene.database.now(session))
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "cancelled"
    assert results.request.cancelling_at is not None
    assert {line["error"]["code"] for line in results.errors} == {"batch_cancelled"}


def test_what_is_not_drawn_in_time_has_expired(scene_on_any: OpenAIScene) -> None:
    scene = scene_on_any
    batch_id = scene.submit(request_line("a"), request_line("b"))
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    scene.let_expire(batch_id)
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "expired"
    assert [line["custom_id"] for line in results.outputs] == ["a"]
    assert [line["error"]["code"] for line in results.errors] == ["batch_expired"]


def test_what_was_drawn_in_time_has_not_expired(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"))
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    scene.let_expire(batch_id)
    assert scene.work_to_the_end(batch_id).request.state == "completed"


def test_a_batch_with_held_or_paused_jobs_has_not_ended(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), request_line("b"))
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    with scene.database.write() as session:
        set_control(session, session.get_one(Batch, batch_id), BatchControl.PAUSED)
    scene.work()
    assert scene.request(batch_id).state == "in_progress"


def test_a_request_that_was_tried_again_counts_as_it_ended(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), request_line("b"))
    scene.work()
    scene.end_jobs(batch_id, {0: FAILED})
    with scene.database.write() as session:
        batch = session.get_one(Batch, batch_id)
        assert retry(session, batch, [], scene.database.now(session)) == 1
    scene.end_jobs(batch_id, {0: DONE, 1: DONE})
    assert len(scene.work_to_the_end(batch_id).outputs) == 2


def test_a_clerk_that_goes_on_with_results_leaves_nothing_behind(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), b"nonsense")
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    scene.work()
    begun = new_id(), new_id()
    with scene.changed(batch_id) as request:
        request.output_file_id, request.error_file_id = begun
    scene.store.put(file_key(begun[0]), b"of a clerk that died", "text/plain")

    Clerk(scene.services).work()

    results = scene.results(batch_id)
    assert results.request.state == "completed"
    assert (results.request.output_file_id, results.request.error_file_id) == begun
    assert [line["custom_id"] for line in results.outputs] == ["a"]
    kept = {found.key for found in scene.store.list("files/")}
    assert kept == {file_key(one) for one in (results.request.input_file_id, *begun)}
