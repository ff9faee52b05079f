"""OpenAI's API, asked by OpenAI's own client: files, batches, models, errors, tenants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from shared.db.api_tables import BatchRequest, StoredFile
from shared.domain.access import Scope
from support.api import ApiServer
from support.commands import wait_until
from support.openai_scene import request_line

ENDPOINT: Any = "/v1/images/generations"
DAY: Any = "24h"


@pytest.fixture(scope="module")
def client(api: ApiServer) -> Iterator[openai.OpenAI]:
    """One that asks for a tenant of its own."""
    with _client(api, "studio") as client:
        yield client


@pytest.fixture(scope="module")
def other(api: ApiServer) -> Iterator[openai.OpenAI]:
    with _client(api, "another") as client:
        yield client


def _client(api: ApiServer, tenant: str, *scopes: Scope) -> openai.OpenAI:
    key = api.new_key(tenant, *scopes)
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0)


def upload(client: openai.OpenAI, *lines: object) -> str:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=("r.jsonl", content), purpose="batch").id


def submit(client: openai.OpenAI, *lines: object, **more: Any) -> Batch:
    return client.batches.create(
        input_file_id=upload(client, *lines), endpoint=ENDPOINT, completion_window=DAY, **more
    )


def until(client: openai.OpenAI, batch: Batch, *states: str) -> Batch:
    wait_until(lambda: client.batches.retrieve(batch.id).status in states, seconds=60)
    return client.batches.retrieve(batch.id)


def test_a_file_is_kept_as_it_was_sent(client: openai.OpenAI, api: ApiServer) -> None:
    content = bytes(range(256)) * 20_000
    file = client.files.create(file=("r.jsonl.gz", content), purpose="batch")
    assert file.id.startswith("file-")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "r.jsonl.gz", "batch")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == content

    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert not [found for found in api.store.list("files/") if file.id[5:13] in found.key]


def test_the_same_idempotency_key_is_the_same_file(client: openai.OpenAI) -> None:
    def create(content: bytes) -> str:
        return client.files.create(
            file=("r.jsonl", content), purpose="batch", extra_headers={"Idempotency-Key": "f"}
        ).id

    first = create(b"{}")
    assert create(b"{}") == first
    with pytest.raises(openai.ConflictError):
        create(b"{ }")


def test_a_file_for_another_purpose_is_refused_and_not_kept(
    client: openai.OpenAI, api: ApiServer
) -> None:
    before = len(list(api.store.list("files/")))
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("r.jsonl", b"{}"), purpose="fine-tune")
    assert caught.value.param == "purpose"
    assert len(list(api.store.list("files/"))) == before


def test_lists_go_on_where_the_last_page_ended(client: openai.OpenAI, other: openai.OpenAI) -> None:
    ids = [upload(other, request_line(str(index))) for index in range(5)]
    first = other.files.list(limit=2)
    assert [file.id for file in first.data] == [ids[4], ids[3]]
    assert first.has_more
    assert [file.id for file in other.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in other.files.list(purpose="batch_output")] == []

    batches = [submit(other, request_line("a")).id for _ in range(3)]
    assert [batch.id for batch in other.batches.list(limit=2)] == batches[::-1]
    assert not set(batches) & {batch.id for batch in client.batches.list()}
    with pytest.raises(openai.BadRequestError):
        other.batches.list(after="nonsense")


def test_a_batch_is_cancelled_and_tells_of_every_request(client: openai.OpenAI) -> None:
    lines = [request_line("a"), request_line("b", n=0), request_line("c", n=2)]
    batch = submit(client, *lines, metadata={"campaign": "spring"})
    assert batch.id.startswith("batch_")
    assert (batch.status, batch.model) == ("validating", "emoji-64")
    assert batch.metadata == {"campaign": "spring"}
    assert batch.expires_at == batch.created_at + 24 * 3600
    batch = until(client, batch, "in_progress")
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 0, "failed": 1}

    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = until(client, batch, "cancelled")
    assert batch.output_file_id is None
    assert batch.error_file_id is not None
    errors = [json.loads(line) for line in client.files.content(batch.error_file_id).iter_lines()]
    assert {line["custom_id"]: line["error"]["code"] for line in errors} == {
        "a": "batch_cancelled",
        "b": "invalid_line",
        "c": "batch_cancelled",
    }
    assert client.files.retrieve(batch.error_file_id).purpose == "batch_output"
    assert batch.cancelled_at is not None
    with pytest.raises(openai.BadRequestError, match="is cancelled already"):
        client.batches.cancel(batch.id)


def test_a_batch_of_nonsense_has_failed(client: openai.OpenAI) -> None:
    batch = until(client, submit(client, "nonsense"), "failed")
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert batch.errors.data[-1].line == 1
    assert batch.failed_at is not None


def test_the_same_idempotency_key_is_the_same_batch(client: openai.OpenAI) -> None:
    file_id = upload(client, request_line("a"))

    def create(window: Any) -> str:
        return client.batches.create(
            input_file_id=file_id,
            endpoint=ENDPOINT,
            completion_window=window,
            extra_headers={"Idempotency-Key": "b"},
        ).id

    assert create("24h") == create("24h")
    with pytest.raises(openai.ConflictError):
        create("2d")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "a while"}, None),
        ({"completion_window": "31d"}, None),
        ({"input_file_id": "file-nonsense"}, "input_file_id"),
        ({"input_file_id": "file-" + "0" * 32}, "input_file_id"),
        ({"metadata": {str(index): "" for index in range(17)}}, "metadata"),
        ({"metadata": {"a": "\0"}}, "metadata.a"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_a_bad_batch_is_refused(
    client: openai.OpenAI, change: dict[str, Any], param: str | None
) -> None:
    asked = {
        "input_file_id": upload(client, request_line("a")),
        "endpoint": ENDPOINT,
        "completion_window": DAY,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**{**asked, **change})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param


def test_a_model_that_is_not_there_is_refused_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="gpt-image-1") as caught:
        submit(client, request_line("a", model="gpt-image-1"))
    assert caught.value.code == "model_not_found"
    names = [model.id for model in client.models.list()]
    assert names[0] == "emoji-64"
    assert client.models.retrieve("emoji-64").owned_by == "tenstep"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-1")


def test_what_belongs_to_others_is_not_there(client: openai.OpenAI, other: openai.OpenAI) -> None:
    file_id = upload(client, request_line("a"))
    batch = submit(client, request_line("a"))
    calls: list[Callable[[], object]] = [
        lambda: other.files.retrieve(file_id),
        lambda: other.files.content(file_id),
        lambda: other.files.delete(file_id),
        lambda: other.batches.retrieve(batch.id),
        lambda: other.batches.cancel(batch.id),
        lambda: other.files.retrieve("batch_" + file_id[5:]),
        lambda: other.batches.retrieve("batch_nonsense"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert other.files.list().data != client.files.list().data


def test_a_batch_that_was_asked_for_below_api_is_none_of_openais(
    client: openai.OpenAI, api: ApiServer
) -> None:
    with api.client(client.api_key) as native:
        made = native.post(
            "/api/batches", content=b"a red apple\n", headers={"Content-Type": "text/plain"}
        ).json()
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_" + made["batch_id"].replace("-", ""))


def test_too_many_open_batches_are_told_to_wait(api_settings: Any, api: ApiServer) -> None:
    with _client(api, "greedy") as client:
        file_id = upload(client, request_line("a"))
        with api.database.write() as session:
            file = session.query(StoredFile).filter_by(tenant="greedy").one()
            now = api.database.now(session)
            session.add_all(
                BatchRequest(
                    tenant="greedy",
                    input_file_id=file.id,
                    options={},
                    state="validating",
                    created_at=now,
                    worked_on_until=now + timedelta(days=365),
                )
                for _ in range(api_settings.max_open_batches)
            )
        with pytest.raises(openai.RateLimitError) as caught:
            client.batches.create(input_file_id=file_id, endpoint=ENDPOINT, completion_window=DAY)
        assert int(caught.value.response.headers["Retry-After"]) > 0


def test_errors_are_openais_own(api: ApiServer) -> None:
    with api.client("tsk_nonsense") as client:
        refused = client.get("/v1/models")
    assert refused.status_code == 401
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    with _client(api, "reader", Scope.READ) as reader:
        with pytest.raises(openai.PermissionDeniedError):
            upload(reader, request_line("a"))
        with api.client(reader.api_key) as client:
            assert client.post("/v1/batches", content=b"{").status_code == 403
    with api.client(api.new_key("raw")) as client:
        for body in (b"{", b"[]", b'{"endpoint": "\\ud800"}', b"\xff"):
            answer = client.post("/v1/batches", content=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"]


def test_files_and_batches_on_postgres_and_s3(api_on_services: ApiServer) -> None:
    api = api_on_services
    with _client(api, "studio") as client, api.drawing():
        batch = submit(client, request_line("a", response_format="b64_json"), request_line("b"))
        batch = until(client, batch, "completed")
        assert batch.output_file_id is not None
        lines = [
            json.loads(line) for line in client.files.content(batch.output_file_id).iter_lines()
        ]
    as_bytes, as_url = (line["response"]["body"]["data"][0] for line in lines)
    image = httpx.get(as_url["url"], follow_redirects=True)
    assert image.content.startswith(b"\x89PNG")
    assert as_bytes["b64_json"]
