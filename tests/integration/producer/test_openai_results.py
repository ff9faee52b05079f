"""The clerk and batches in OpenAI's form: every line of the file is in one of two others."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.control import cancel
from producer.rejected_lines import rejects_key
from shared.db.batches import cancel_batch
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.jobs import JobState
from support.factories import IMAGE
from support.openai_scene import PNG, OpenAIScene, request_line, url_of
from support.shell import Shell

DONE, FAILED = JobState.DONE, JobState.FAILED


def by_id(lines: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {line["custom_id"]: line for line in lines}


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
