"""Batches over HTTP, from the request to the images."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from support.api import ApiServer

PROMPTS = {"prompts": ["a red apple", {"prompt": "a green pear", "custom_id": "pear", "seed": 7}]}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def client(api: ApiServer) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def wait(client: httpx.Client, batch_id: str, done: Callable[[dict[str, Any]], bool]) -> Any:
    while True:
        found = client.get(f"/api/batches/{batch_id}").raise_for_status().json()
        if done(found):
            return found
        time.sleep(0.1)


def submitted(client: httpx.Client, batch_id: str) -> Any:
    return wait(client, batch_id, lambda found: bool(found["submitted"]))


@pytest.fixture(scope="module")
def drawn(api: ApiServer) -> str:
    """A batch whose images are there."""
    with api.client() as client, api.drawing():
        made = client.post("/api/batches", json={**PROMPTS, "name": "fruit", "tags": {"a": "b"}})
        assert made.status_code == 201
        batch_id: str = made.json()["batch_id"]
        assert made.headers["location"] == f"/api/batches/{batch_id}"
        wait(client, batch_id, lambda found: bool(found["finished"]))
    return batch_id


def test_prompts_of_a_request_are_drawn_and_their_images_can_be_had(
    client: httpx.Client, drawn: str
) -> None:
    batch_id = drawn
    found = client.get(f"/api/batches/{batch_id}").json()
    assert (found["name"], found["tags"], found["counts"]["done"]) == ("fruit", {"a": "b"}, 2)
    jobs = client.get(f"/api/batches/{batch_id}/jobs").json()["jobs"]
    assert [job["custom_id"] for job in jobs] == [None, "pear"]
    image = httpx.get(jobs[1]["image_url"])
    assert image.content.startswith(b"\x89PNG")
    same = client.get(f"/api/jobs/{jobs[1]['job_id']}/image")
    assert same.content == image.content
    etag = {"If-None-Match": same.headers["etag"]}
    assert client.get(f"/api/jobs/{jobs[1]['job_id']}/image", headers=etag).status_code == 304
    lines = client.get(f"/api/batches/{batch_id}/manifest").text.splitlines()
    assert [json.loads(line)["job_id"] for line in lines] == [job["job_id"] for job in jobs]
    bill = client.get(f"/api/batches/{batch_id}/bill").json()
    assert sum(line["nanodollars"] for line in bill["lines"]) == bill["total_nanodollars"]


def test_images_in_s3_are_fetched_from_there(api_on_services: ApiServer) -> None:
    api = api_on_services
    with api.client() as client, api.drawing():
        batch_id = client.post("/api/batches", json=PROMPTS).json()["batch_id"]
        wait(client, batch_id, lambda found: bool(found["finished"]))
        job = client.get(f"/api/batches/{batch_id}/jobs").json()["jobs"][0]

        sent_on = httpx.get(job["image_url"])

        assert sent_on.status_code == 307
        assert "X-Amz-Signature" in sent_on.headers["location"]
        image = httpx.get(sent_on.headers["location"])
    assert image.content.startswith(b"\x89PNG")
    assert image.headers["content-type"] == "image/png"


def test_a_signed_url_is_good_for_its_own_image_alone(api: ApiServer, client: httpx.Client) -> None:
    batch_id = client.post("/api/batches", json=PROMPTS).json()["batch_id"]
    with api.drawing():
        wait(client, batch_id, lambda found: bool(found["finished"]))
    one, two = client.get(f"/api/batches/{batch_id}/jobs").json()["jobs"]

    swapped = one["image_url"].replace(one["job_id"], two["job_id"])
    assert httpx.get(swapped).status_code == 403
    longer = one["image_url"].replace("expires=1", "expires=2")
    assert httpx.get(longer).status_code == 403
    assert httpx.get(one["image_url"][:-1]).status_code == 403


def test_a_file_in_the_body_is_taken_in_without_its_bad_lines(client: httpx.Client) -> None:
    lines = [b'{"prompt": "a fox", "n": 2}', b"{", b"", b'{"prompt": "a cat", "steps": 0}']
    made = client.post(
        "/api/batches",
        params={"name": "animals", "tag": "season=spring", "max_cost_usd": "0.5", "seed": "40"},
        content=gzip.compress(b"\n".join(lines)),
        headers=NDJSON,
    )
    assert made.status_code == 202
    batch_id = made.json()["batch_id"]
    found = submitted(client, batch_id)

    assert (found["name"], found["total"], found["rejected"]["count"]) == ("animals", 2, 2)
    assert (found["max_cost_usd"], found["tags"]) == ("0.500000000", {"season": "spring"})
    rejects = client.get(f"/api/batches/{batch_id}/rejects").text.splitlines()
    assert [json.loads(line)["line_number"] for line in rejects] == [2, 4]
    assert client.get(f"/api/batches/{batch_id}/jobs/1").json()["settings"]["seed"] == 41


def test_a_file_that_was_uploaded_can_be_submitted_fetched_and_removed(
    client: httpx.Client,
) -> None:
    content = b"prompt,seed\na fox,3\na cat,4\n"
    file = client.post("/api/files", params={"name": "animals.csv"}, content=content).json()
    assert client.get(f"/api/files/{file['file_id']}/content").content == content
    made = client.post("/api/batches", json={"file_id": file["file_id"]}).json()
    assert submitted(client, made["batch_id"])["total"] == 2

    assert client.delete(f"/api/files/{file['file_id']}").status_code == 204
    assert client.get(f"/api/files/{file['file_id']}").status_code == 404
    assert client.get(f"/api/batches/{made['batch_id']}").json()["total"] == 2


def test_a_file_without_a_good_line_fails_and_says_why(client: httpx.Client) -> None:
    made = client.post("/api/batches", content=b'{"seed": 1}\n', headers=NDJSON).json()

    found = wait(client, made["batch_id"], lambda found: bool(found["finished"]))

    assert (found["state"], found["total"]) == ("failed", 0)
    assert found["errors"][1] == {
        "code": "invalid_line",
        "message": "is missing",
        "param": "prompt",
        "line": 1,
    }


def test_one_key_at_one_moment_is_one_batch(api_on_services: ApiServer) -> None:
    headers = {"Idempotency-Key": "once", **NDJSON}

    def ask(_: int) -> httpx.Response:
        with api_on_services.client() as client:
            return client.post("/api/batches", content=b'{"prompt": "a"}\n', headers=headers)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(24)))

    assert {answer.status_code for answer in answers} <= {201, 202, 409}
    assert len({answer.json()["batch_id"] for answer in answers if answer.is_success}) == 1


@pytest.mark.parametrize("as_file", [False, True])
def test_the_same_idempotency_key_is_the_same_batch(client: httpx.Client, *, as_file: bool) -> None:
    headers = {"Idempotency-Key": f"key-{as_file}", **(NDJSON if as_file else {})}
    body: dict[str, Any] = {"content": b'{"prompt": "a"}\n'} if as_file else {"json": PROMPTS}
    other: dict[str, Any] = (
        {"content": b'{"prompt": "b"}\n'} if as_file else {"json": {"prompts": ["b"]}}
    )

    first = client.post("/api/batches", headers=headers, **body).json()["batch_id"]
    total = submitted(client, first)["total"]
    again = client.post("/api/batches", headers=headers, **body)
    refused = client.post("/api/batches", headers=headers, **other)

    assert again.status_code == 201
    assert (again.json()["batch_id"], again.json()["was_there"]) == (first, total)
    assert refused.status_code == 409
    assert "idempotency key" in refused.json()["detail"]


def test_an_owner_changes_a_batch(client: httpx.Client) -> None:
    path = f"/api/batches/{client.post('/api/batches', json=PROMPTS).json()['batch_id']}"

    changed = client.patch(
        path,
        json={"control": "paused", "priority": 7, "max_cost_usd": "1.25", "deadline_hours": 2},
    ).json()
    assert (changed["state"], changed["priority"]) == ("paused", 7)
    assert (changed["max_cost_usd"], changed["deadline_at"] is None) == ("1.250000000", False)
    lifted = client.patch(path, json={"max_cost_usd": None, "deadline_hours": None}).json()
    assert (lifted["max_cost_usd"], lifted["deadline_at"]) == (None, None)
    assert client.get(path).json()["control"] == "paused"
    assert client.patch(path, json={"control": "active"}).json()["state"] == "waiting"
    assert client.get(path).json()["control"] == "active"  # not what was kept
    assert client.post(f"{path}/cancel", json={"jobs": ["pear"]}).json()["jobs"] == 1
    assert client.post(f"{path}/retry", json={"jobs": ["1"]}).json()["jobs"] == 1
    assert client.patch(path, json={"control": "cancelled"}).json()["counts"]["cancelled"] == 2
    assert client.patch(path, json={"control": "active"}).status_code == 422


def test_what_is_held_waits_for_approval(client: httpx.Client) -> None:
    made = client.post("/api/batches", json={**PROMPTS, "hold": True, "sample": 1}).json()
    path = f"/api/batches/{made['batch_id']}"
    counts = client.get(path).json()["counts"]
    assert (counts["held"], counts["pending"]) == (1, 1)

    assert client.post(f"{path}/approve").json()["jobs"] == 1
    assert client.post(f"{path}/reject").json()["jobs"] == 0


def test_a_batch_that_is_still_read_can_be_called_off(client: httpx.Client) -> None:
    lines = b'{"prompt": "a fox"}\n' * 300_000
    made = client.post("/api/batches", content=lines, headers=NDJSON).json()
    client.post(f"/api/batches/{made['batch_id']}/cancel", json={}).raise_for_status()

    found = wait(client, made["batch_id"], lambda found: bool(found["finished"]))

    assert found["state"] == "cancelled"
    assert found["counts"]["cancelled"] == found["total"] < 300_000


def test_who_follows_a_batch_is_told_of_every_change_and_of_the_end(
    api: ApiServer, client: httpx.Client
) -> None:
    batch_id = client.post("/api/batches", json=PROMPTS).json()["batch_id"]
    with api.drawing(), connect_sse(client, "GET", f"/api/batches/{batch_id}/events") as events:
        told = [(event.event, event.json()) for event in events.iter_sse()]

    assert [name for name, _ in told[-1:]] == ["end"]
    assert told[0][0] == "status"
    assert told[-1][1]["counts"]["done"] == 2


def test_a_status_that_has_not_changed_is_not_sent_again(client: httpx.Client) -> None:
    path = f"/api/batches/{client.post('/api/batches', json=PROMPTS).json()['batch_id']}"
    first = client.get(path)
    time.sleep(0.6)  # longer than a status is kept

    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_lists_are_paged_from_the_newest(client: httpx.Client) -> None:
    made = [client.post("/api/batches", json=PROMPTS).json()["batch_id"] for _ in range(3)]

    first = client.get("/api/batches", params={"limit": 2}).json()
    second = client.get("/api/batches", params={"limit": 2, "before": first["next"]}).json()

    listed = [batch["batch_id"] for batch in [*first["batches"], *second["batches"]]]
    assert listed[:3] == made[::-1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompts": []}, "prompts: List should have at least 1 item"),
        ({}, "give prompts or file_id"),
        ({**PROMPTS, "no": 1}, "no: Extra inputs are not permitted"),
        ({**PROMPTS, "sample": 3}, "sample goes with hold"),
        ({**PROMPTS, "max_cost_usd": "-1"}, "max_cost_usd: -1 is negative"),
        ({**PROMPTS, "model": "../../etc"}, "is no model of this server"),
        ({**PROMPTS, "safety_checker": False}, "only an operator"),
        ({"prompts": [{"prompt": "x", "seed": -1}]}, "no line of it can be drawn"),
        ({**PROMPTS, "squeeze": "many"}, "squeeze"),
        ({**PROMPTS, "scheduler": "searched", "steps": 9}, "no grid of 9 steps was searched"),
        ({"prompts": [{"prompt": "x", "scheduler": "searched"}]}, "no line of it can be drawn"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_by_field(
    client: httpx.Client, body: dict[str, Any], said: str
) -> None:
    before = client.get("/api/batches").json()

    refused = client.post("/api/batches", json=body)

    assert refused.status_code == 422
    assert said in refused.json()["detail"]
    assert client.get("/api/batches").json() == before
