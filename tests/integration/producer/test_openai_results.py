"""The clerk and batches in OpenAI's form: every line of the file is in one of two others."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from producer.clerk.clerk import Clerk
from producer.control import cancel, retry
from producer.rejected_lines import rejects_key
from producer.uploads import file_key
from shared.db.api_tables import BatchRequest
from shared.db.batches import cancel_batch, set_control
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from support.factories import IMAGE
from support.openai_scene import PNG, OpenAIScene, request_line
from support.shell import Shell

DONE, FAILED = JobState.DONE, JobState.FAILED


@pytest.fixture
def scene(sqlite_database: Database, tmp_path: Path) -> OpenAIScene:
    return OpenAIScene.made(sqlite_database, tmp_path)


@pytest.fixture
def scene_on_any(database: Database, tmp_path: Path) -> OpenAIScene:
    return OpenAIScene.made(database, tmp_path)


def by_id(lines: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {line["custom_id"]: line for line in lines}


def url_of(line: Mapping[str, Any]) -> str:
    [image] = line["response"]["body"]["data"]
    return str(image["url"])


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


def test_every_bad_line_is_told_of_and_the_good_ones_are_drawn(scene: OpenAIScene) -> None:
    good = request_line("good", user="somebody", quality="hd")
    batch_id = scene.submit(
        good,
        b"",
        b"{oops",
        {**request_line("x"), "custom_id": 7},
        good,
        {**request_line("method"), "method": "GET"},
        {**request_line("url"), "url": "/v1/embeddings"},
        request_line("model", model="sd-1.5"),
        request_line("steps", steps=0),
        request_line("settles", steps=4, squeeze="10,6"),
        b" \r",
    )
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    results = scene.work_to_the_end(batch_id)

    assert [line["custom_id"] for line in results.outputs] == ["good"]
    told = [(line["custom_id"], line["error"]["message"]) for line in results.errors]
    assert told == [
        (None, "is not JSON: key must be a string at character 2"),
        (None, "custom_id: must be a valid string"),
        ("good", "custom_id: 'good' is already the id of line 1"),
        ("method", "method: must be 'POST'"),
        ("url", "url: must be '/v1/images/generations'"),
        ("model", "body.model: the model of this batch is emoji-64, not sd-1.5"),
        ("steps", "body.steps: must be greater than or equal to 1"),
        ("settles", "squeeze 10,6 keeps 6 of only 4 steps"),
    ]
    assert (results.request.requests, results.request.completed) == (9, 1)
    assert results.request.state == "completed"


def test_a_batch_of_bad_lines_alone_has_failed_and_says_why(scene: OpenAIScene) -> None:
    batch_id = scene.submit(b"nonsense", request_line("steps", steps=0))
    results = scene.work_to_the_end(batch_id)
    assert results.request.state == "failed"
    assert results.request.errors is not None
    assert [error.get("line") for error in results.request.errors["data"]] == [None, 1, 2]
    assert [line["custom_id"] for line in results.errors] == [None, "steps"]
    assert (results.request.requests, results.request.completed) == (2, 0)


def test_a_request_whose_images_came_in_part_is_an_error_that_has_them(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("part", n=3), request_line("none"))
    scene.work()
    scene.end_jobs(batch_id, {0: DONE, 1: FAILED, 2: DONE, 3: FAILED})
    results = scene.work_to_the_end(batch_id)
    part, none = results.errors
    assert results.outputs == []
    assert part["error"] == {
        "code": "broken",
        "message": "1 of 3 images are missing: it broke",
    }
    assert part["response"]["status_code"] == 500
    assert len(part["response"]["body"]["data"]) == 2
    assert none["response"] is None
    assert none["error"] == {"code": "broken", "message": "it broke"}
    assert results.request.state == "completed"


def test_images_are_in_the_file_itself_if_that_was_asked_for(scene: OpenAIScene) -> None:
    batch_id = scene.submit(
        request_line("bytes", response_format="b64_json", n=2), request_line("url")
    )
    scene.work()
    scene.end_jobs(batch_id, dict.fromkeys(range(3), DONE))
    lines = by_id(scene.work_to_the_end(batch_id).outputs)
    for image in lines["bytes"]["response"]["body"]["data"]:
        assert base64.b64decode(image["b64_json"]) == PNG
    assert url_of(lines["url"])


def test_an_image_that_is_not_in_the_store_any_more_is_an_error(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("gone", response_format="b64_json"))
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    scene.store.delete(IMAGE.key)
    [line] = scene.work_to_the_end(batch_id).errors
    assert line["error"]["code"] == "image_gone"


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


def test_the_list_of_bad_lines_is_made_again_if_it_is_lost(scene: OpenAIScene) -> None:
    batch_id = scene.submit(request_line("a"), request_line("bad", n=99), b"nonsense")
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    scene.store.delete(rejects_key(batch_id))
    results = scene.work_to_the_end(batch_id)
    assert [line["custom_id"] for line in results.errors] == ["bad", None]


def test_a_long_bad_line_still_has_its_id(scene: OpenAIScene) -> None:
    long = json.dumps(request_line("long", user="\x01" * 2**18)).encode()
    assert len(long) > 2**20
    batch_id = scene.submit(request_line("a"), long)
    scene.work()
    scene.end_jobs(batch_id, {0: DONE})
    [line] = scene.work_to_the_end(batch_id).errors
    assert line["custom_id"] == "long"
    assert "is longer than" in line["error"]["message"]


GOOD = st.integers(1, 3).map(lambda n: ("good", n))
BAD = st.sampled_from(["nonsense", "twice", "n", "settles", "no id", "blank"]).map(
    lambda kind: (kind, 0)
)
FATES = st.sampled_from([DONE, FAILED, JobState.CANCELLED, None])
ENDS = st.sampled_from(["cancel", "expire", "call off", "draw"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.one_of(GOOD, GOOD, BAD), min_size=1, max_size=12),
    fates=st.lists(FATES, min_size=36, max_size=36),
    end=ENDS,
    is_read=st.booleans(),
)
def test_outputs_and_errors_are_all_lines_whatever_happens(
    opened_sqlite: Callable[[], AbstractContextManager[Database]],
    kinds: Sequence[tuple[str, int]],
    fates: Sequence[JobState | None],
    end: str,
    *,
    is_read: bool,
) -> None:
    lines = [_line_of(number, *kind) for number, kind in enumerate(kinds)]
    ids = [_id_of(line) for line in lines if line.strip()]
    with opened_sqlite() as database, TemporaryDirectory() as folder:
        scene = OpenAIScene.made(database, Path(folder))
        batch_id = scene.submit(*lines)
        if is_read or end != "cancel":
            scene.work()
        if scene.request(batch_id).state == "in_progress":
            _let_happen(scene, batch_id, fates)
        _end(scene, batch_id, end)
        results = scene.work_to_the_end(batch_id)
        complete = _complete(scene, batch_id)

    told = Counter(line["custom_id"] for line in results.lines)
    assert told == Counter(ids)
    assert results.request.requests == len(ids)
    assert results.request.completed == len(results.outputs)
    assert {line["custom_id"] for line in results.outputs} == complete
    assert all(line["error"] is None for line in results.outputs)
    assert all(line["error"]["code"] and line["error"]["message"] for line in results.errors)


def _line_of(number: int, kind: str, n: int) -> bytes:
    line = {
        "good": request_line(f"id {number}", n=n),
        "twice": request_line("id 0"),
        "n": request_line(f"id {number}", n=0),
        "settles": request_line(f"id {number}", steps=2, squeeze="10,6"),
        "no id": {**request_line(""), "custom_id": None},
    }.get(kind)
    plain = {"nonsense": b"nonsense", "blank": b"  "}
    return plain[kind] if line is None else json.dumps(line).encode()


def _id_of(line: bytes) -> str | None:
    return None if line == b"nonsense" else json.loads(line)["custom_id"]


def _let_happen(scene: OpenAIScene, batch_id: UUID, fates: Sequence[JobState | None]) -> None:
    by_position = dict(zip((job.position for job in scene.jobs(batch_id)), fates, strict=False))
    called_off = [str(at) for at, fate in by_position.items() if fate is JobState.CANCELLED]
    ends = {at: fate for at, fate in by_position.items() if fate in {DONE, FAILED}}
    if called_off:
        with scene.database.write() as session:
            batch = session.get_one(Batch, batch_id)
            cancel(session, batch, called_off, scene.database.now(session))
    scene.end_jobs(batch_id, ends)


def _end(scene: OpenAIScene, batch_id: UUID, end: str) -> None:
    if scene.request(batch_id).state not in {"validating", "in_progress"}:
        return
    if end == "cancel":
        scene.cancel(batch_id)
    elif end == "expire":
        scene.let_expire(batch_id)
    elif end == "call off":
        with scene.database.write() as session:
            cancel_batch(session, session.get_one(Batch, batch_id), scene.database.now(session))
    else:
        left = [job.position for job in scene.jobs(batch_id) if job.state == JobState.PENDING]
        scene.end_jobs(batch_id, dict.fromkeys(left, DONE))


def _complete(scene: OpenAIScene, batch_id: UUID) -> set[str | None]:
    jobs = scene.jobs(batch_id)
    undone = {job.custom_id for job in jobs if job.state != DONE}
    return {job.custom_id for job in jobs} - undone


def test_such_a_file_can_be_submitted_on_the_command_line(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    lines = [request_line("a", n=2), request_line("b", model="sd-1.5")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    shell("submit", str(path), "--format", "openai", "--json")
    submitted = json.loads(shell.out)
    assert submitted["total"] == 2
    [refused] = submitted["rejected"]["first"]
    assert refused["reason"] == "the model of this batch is emoji-64, not sd-1.5"
