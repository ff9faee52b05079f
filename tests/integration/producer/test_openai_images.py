"""Images that OpenAI's own client waits for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import openai
import pytest
from PIL import Image
from sqlalchemy import select

from shared.db.batches import cancel_batch
from shared.db.tables import Batch, Job
from shared.domain.jobs import BatchControl
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.commands import wait_until
from support.factories import add_worker
from worker.simulated import FAIL

SECONDS = 1.0


@pytest.fixture(scope="module")
def api(api_settings: Settings) -> Iterator[ApiServer]:
    """A server that does not wait long."""
    with run_api(api_settings.model_copy(update={"interactive_seconds": SECONDS})) as server:
        yield server


@pytest.fixture(scope="module")
def patient(api_settings: Settings) -> Iterator[ApiServer]:
    """Another one of the same installation, with a worker, that does."""
    with run_api(api_settings) as server, server.drawing():
        yield server


@pytest.fixture(scope="module")
def key(api_settings: Settings, api: ApiServer) -> str:
    return api.new_key("studio")


@pytest.fixture
def client(patient: ApiServer, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{patient.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def hurried(api: ApiServer, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def newest(api: ApiServer) -> Batch:
    with api.database.read() as session:
        batch = session.scalar(select(Batch).order_by(Batch.id.desc()).limit(1))
    assert batch is not None
    return batch


def jobs(api: ApiServer, batch_id: UUID) -> list[Job]:
    with api.database.read() as session:
        return list(session.scalars(select(Job).where(Job.batch_id == batch_id)))


def opened(image: bytes) -> Image.Image:
    return Image.open(BytesIO(image))


# Without a worker; these come first, before `patient` starts one.


def test_without_a_worker_it_is_told_to_come_again_and_nothing_is_left(
    api: ApiServer, hurried: openai.OpenAI
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        hurried.images.generate(prompt="a pear")
    assert caught.value.status_code == 503
    assert caught.value.code == "no_worker"
    assert int(caught.value.response.headers["Retry-After"]) > 0
    assert newest(api).control == BatchControl.CANCELLED


def test_a_client_that_goes_away_calls_its_images_off(
    api: ApiServer, hurried: openai.OpenAI
) -> None:
    with pytest.raises(openai.APITimeoutError):
        hurried.images.generate(prompt="a plum", timeout=0.3)
    wait_until(lambda: newest(api).control == BatchControl.CANCELLED, seconds=5)


def test_a_client_that_comes_again_may_go_away(api: ApiServer, hurried: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        hurried.images.generate(
            prompt="a plum", timeout=0.3, extra_headers={"Idempotency-Key": "again"}
        )
    with pytest.raises(openai.InternalServerError):  # having waited on
        hurried.images.generate(prompt="a plum", extra_headers={"Idempotency-Key": "again"})
    assert newest(api).control == BatchControl.ACTIVE
    with api.database.write() as session:
        cancel_batch(session, session.get_one(Batch, newest(api).id), api.database.now(session))


def test_what_takes_too_long_goes_on_and_the_client_is_told_where(
    api: ApiServer, hurried: openai.OpenAI
) -> None:
    with api.database.write() as session:
        worker = add_worker(session, started_at=api.database.now(session))
        worker.model = "emoji-64"
        worker_id = worker.id
    with pytest.raises(openai.InternalServerError) as caught:
        hurried.images.generate(prompt="a fig", extra_body={"seed": 3})
    batch = newest(api)
    assert caught.value.status_code == 504
    assert str(batch.id) in str(caught.value)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (batch.control, batch.priority) == (BatchControl.ACTIVE, 1_000)
    with api.database.write() as session:
        cancel_batch(session, session.get_one(Batch, batch.id), api.database.now(session))
        session.get_one(type(worker), worker_id).stopped_at = api.database.now(session)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 11}, "n"),
        ({"size": "1x1"}, "size"),
        ({"stream": True}, "stream"),
        ({"extra_body": {"steps": 0}}, "steps"),
        ({"extra_body": {"partial_images": 1}}, "partial_images"),
        ({"extra_body": {"steps": 4, "squeeze": "10,6"}}, None),
        ({"model": "gpt-image-1"}, None),
        ({"prompt": "a\nb"}, "prompt"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    api: ApiServer, hurried: openai.OpenAI, change: dict[str, Any], param: str | None
) -> None:
    before = newest(api).id
    with pytest.raises(openai.BadRequestError) as caught:
        hurried.images.generate(**{"prompt": "a pear", **change})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert newest(api).id == before


# With one


def test_images_come_as_urls_that_need_no_key(client: openai.OpenAI, patient: ApiServer) -> None:
    answer = client.images.generate(
        prompt="a pear",
        n=2,
        size="64x64",
        quality="high",
        user="somebody",
        extra_body={"seed": 7, "steps": 12, "squeeze": "none", "negative_prompt": "blue"},
    )
    assert answer.data is not None
    assert (len(answer.data), answer.size, answer.output_format) == (2, "64x64", "png")
    for image in answer.data:
        assert image.url is not None
        assert opened(httpx.get(image.url).content).size == (64, 64)
    drawn = jobs(patient, newest(patient).id)
    assert {job.seed for job in drawn} == {7, 8}
    assert {(job.steps, job.squeeze, job.negative_prompt) for job in drawn} == {(12, None, "blue")}
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    extra = answer.usage.model_extra or {}
    assert extra["device_seconds"] == pytest.approx(0.002)
    assert isinstance(extra["cost_usd"], str)
    assert isinstance(extra["cost_nanodollars"], int)


def test_images_come_themselves_if_that_is_asked_for(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a pear", response_format="b64_json")
    assert answer.data is not None
    assert answer.data[0].url is None
    assert opened(base64.b64decode(answer.data[0].b64_json or "")).size == (64, 64)


def test_without_a_seed_images_are_others_each_time(
    client: openai.OpenAI, patient: ApiServer
) -> None:
    client.images.generate(prompt="a pear")
    first = jobs(patient, newest(patient).id)[0].seed
    client.images.generate(prompt="a pear")
    assert jobs(patient, newest(patient).id)[0].seed != first


def test_the_same_idempotency_key_is_the_same_batch_and_answer(
    client: openai.OpenAI, patient: ApiServer
) -> None:
    key: dict[str, Any] = {"extra_headers": {"Idempotency-Key": "images"}}
    first = client.images.generate(prompt="a pear", **key)
    batch = newest(patient)
    assert client.images.generate(prompt="a pear", **key) == first
    assert newest(patient).id == batch.id
    with pytest.raises(openai.ConflictError):
        client.images.generate(prompt="an apple", **key)


def test_an_image_that_fails_is_an_error_that_is_not_tried_again(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(prompt=FAIL)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.code


def test_many_wait_at_once_without_a_thread_each(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(
            pool.map(lambda index: client.images.generate(prompt=f"pear {index}"), range(40))
        )
    assert len({answer.data[0].url for answer in answers if answer.data}) == 40
