"""What the API gives one tenant is limited, so that there is something left for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from producer.batch_options import BatchOptions
from producer.batch_requests import Asked, ask
from producer.keys import create_key
from shared.db.api_tables import BatchRequest, StoredFile
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.domain.access import OF_A_TENANT
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.valkey import RedisServer, run_valkey

A_MINUTE = 6
OWN = 9
MANY = 10_000
MOST_BATCHES = 2
MOST_JOBS = 10
MOST_BYTES = 200_000
MULTIPART_EXTRA_BYTES = 65_536
PROMPTS = b"a red apple\na green pear\n"


@pytest.fixture(scope="module")
def strict(api_settings: Settings) -> Settings:
    return api_settings.model_copy(
        update={
            "max_requests_per_minute": A_MINUTE,
            "max_open_batches": MOST_BATCHES,
            "max_open_jobs": MOST_JOBS,
            "max_upload_bytes": MOST_BYTES,
        }
    )


@pytest.fixture(scope="module")
def limited(strict: Settings) -> Iterator[ApiServer]:
    with run_api(strict) as server:
        yield server


@pytest.fixture(scope="module")
def other(strict: Settings, limited: ApiServer) -> Iterator[ApiServer]:
    """Another server of the same installation."""
    with run_api(strict) as server:
        yield server


def key_of(api: ApiServer, tenant: str, per_minute: int | None = MANY) -> str:
    with api.database.write() as session:
        now = api.database.now(session)
        return create_key(
            session, tenant, "test", OF_A_TENANT, now, requests_per_minute=per_minute
        )[1]


def open_request(api: ApiServer, tenant: str) -> None:
    """Ask for a batch that another clerk seems to be taking in for a long time."""
    with api.database.write() as session:
        now = api.database.now(session)
        asked = Asked(
            tenant=tenant, input_file_id=uuid4(), prompt_format=None, options=BatchOptions()
        )
        ask(session, api.settings, asked, now).worked_on_until = now + timedelta(days=1)


def count(api: ApiServer, table: type[Batch | BatchRequest | StoredFile], tenant: str) -> int:
    with api.database.read() as session:
        return session.scalar(select(func.count()).where(table.tenant == tenant)) or 0


def pieces_of(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@contextmanager
def without(redis: RedisServer, state: str) -> Iterator[None]:
    if state == "gone":
        redis.server.kill()
        yield
        return
    redis.server.freeze()
    try:
        yield
    finally:
        redis.server.thaw()


def assert_too_many(answer: httpx.Response, code: str | None = None) -> None:
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    if code is not None:
        assert answer.json()["code"] == code


@pytest.mark.parametrize(("own", "most"), [(None, A_MINUTE), (OWN, OWN)])
def test_requests_of_a_key_are_counted_by_all_servers_together(
    limited: ApiServer, other: ApiServer, own: int | None, most: int
) -> None:
    secret = key_of(limited, "rates", own)
    with limited.client(secret) as here, other.client(secret) as there:
        answers = [(here, there)[number % 2].get("/api/batches") for number in range(most)]
        assert {answer.status_code for answer in answers} == {200}

        for client in (here, there):
            assert_too_many(client.get("/api/batches"), "rate_limit_exceeded")
        refused = here.get("/v1/models")
        assert_too_many(refused)
        assert refused.json()["error"]["type"] == "rate_limit_error"

    with other.client(key_of(limited, "rates", own)) as another:
        assert another.get("/api/batches").status_code == 200


@pytest.mark.parametrize("state", ["gone", "frozen"])
def test_without_redis_nobody_is_refused(
    sqlite_database: Database, tmp_path: Path, state: str
) -> None:
    with run_valkey() as redis:
        settings = Settings(
            data_dir=tmp_path,
            database_url=SecretStr(str(sqlite_database.engine.url)),
            redis_url=SecretStr(redis.url),
            max_requests_per_minute=2,
        )
        with run_api(settings) as server, server.client(server.new_key("anna")) as client:
            assert [client.get("/api/batches").status_code for _ in range(3)] == [200, 200, 429]
            with without(redis, state):
                assert client.get("/api/batches").status_code == 200


def test_a_tenant_has_only_so_many_batches_open(limited: ApiServer) -> None:
    with limited.client(key_of(limited, "batches")) as client:
        for _ in range(MOST_BATCHES):
            open_request(limited, "batches")

        for answer in (
            client.post("/api/batches", json={"prompts": ["a red apple"]}),
            client.post("/api/batches", content=PROMPTS, headers={"Content-Type": "text/plain"}),
        ):
            assert_too_many(answer)
            assert answer.headers["content-type"] == "application/problem+json"

        with limited.client(key_of(limited, "others")) as neighbour:
            made = neighbour.post("/api/batches", json={"prompts": ["a red apple"]})
            assert made.status_code == 201

        assert count(limited, Batch, "batches") == 0
        with limited.database.write() as session:
            for request in session.scalars(select(BatchRequest)):
                request.ended_at = limited.database.now(session)
        made = client.post("/api/batches", json={"prompts": ["a red apple"]})
        assert made.status_code == 201


def test_a_tenant_has_only_so_many_images_still_to_be_drawn(limited: ApiServer) -> None:
    prompts = {"prompts": ["a red apple"] * MOST_JOBS}
    with limited.client(key_of(limited, "jobs")) as client:
        batch_id = client.post("/api/batches", json=prompts).raise_for_status().json()["batch_id"]

        assert_too_many(client.post("/api/batches", json={"prompts": ["one more"]}))
        assert_too_many(
            client.post("/api/batches", content=PROMPTS, headers={"Content-Type": "text/plain"})
        )

        client.post(f"/api/batches/{batch_id}/cancel", json={}).raise_for_status()
        assert client.post("/api/batches", json=prompts).status_code == 201


@pytest.mark.parametrize("path", ["/api/files?name=prompts.txt", "/api/batches?name=big"])
@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_not_kept(
    limited: ApiServer, path: str, *, tells_length: bool
) -> None:
    body = b"x" * (MOST_BYTES + MULTIPART_EXTRA_BYTES + 1)
    before = list(limited.store.list("files/"))
    with limited.client(key_of(limited, "files")) as client:
        answer = client.post(
            path,
            content=body if tells_length else pieces_of(body),
            headers={"Content-Type": "text/plain"},
        )

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert count(limited, StoredFile, "files") == 0
    assert count(limited, BatchRequest, "files") == 0
    assert list(limited.store.list("files/")) == before


def test_a_file_that_is_too_large_for_openai_is_refused_and_not_kept(limited: ApiServer) -> None:
    large = b"x" * (MOST_BYTES + MULTIPART_EXTRA_BYTES + 1)
    with limited.client(key_of(limited, "openai")) as client:
        answer = client.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("requests.jsonl", large)}
        )

    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert count(limited, StoredFile, "openai") == 0


def test_a_file_of_just_the_size_is_taken(limited: ApiServer) -> None:
    with limited.client(key_of(limited, "exact")) as client:
        answer = client.post("/api/files?name=prompts.txt", content=b"x" * MOST_BYTES)

        assert answer.status_code == 201
        assert answer.json()["bytes"] == MOST_BYTES
        client.delete(f"/api/files/{answer.json()['file_id']}").raise_for_status()


def test_a_document_is_no_upload(limited: ApiServer) -> None:
    with limited.client(key_of(limited, "documents")) as client:
        large = {"prompts": ["x" * 17 * 2**20]}
        answer = client.post("/api/batches", json=large)

    assert answer.status_code == 413
