"""Pointers on their way, over a real Redis."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from celery import Celery
from kombu import Message
from redis import Redis

from shared.domain.identifiers import new_id
from shared.errors import ServiceUnavailableError
from shared.messaging.broker import Broker
from shared.messaging.celery_app import make_celery
from shared.messaging.contracts import RenderChunk, TaskName
from shared.settings import Settings
from support.servers import free_port

QUEUE = "cpu.tiny"


@pytest.fixture(params=["embedded", "by url"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "embedded":
        return Settings(data_dir=tmp_path)
    return Settings(data_dir=tmp_path, redis_url=request.getfixturevalue("redis_url"))


def new_message() -> RenderChunk:
    return RenderChunk(chunk_id=new_id(), batch_id=new_id())


def test_pointers_that_were_sent_wait_in_their_queue(settings: Settings) -> None:
    broker = Broker(settings)
    broker.connect()
    try:
        assert broker.queue_length(QUEUE) == 0
        broker.send_chunks(QUEUE, [new_message() for _ in range(3)])
        broker.send_chunks("cuda.tiny", [new_message()])
        broker.send_chunks("cuda.tiny", [])

        assert broker.queue_length(QUEUE) == 3
        assert broker.queue_length("cuda.tiny") == 1
    finally:
        broker.close()


def test_a_worker_gets_the_pointers_that_were_sent_in_their_order(settings: Settings) -> None:
    broker, messages = Broker(settings), [new_message() for _ in range(3)]
    broker.connect()
    celery = make_celery(settings, broker.url)
    try:
        broker.send_chunks(QUEUE, messages)
        received = received_by(celery, len(messages))
    finally:
        celery.close()
        broker.close()

    assert [one.headers["id"] for one in received] == [str(one.chunk_id) for one in messages]
    assert {one.headers["task"] for one in received} == {"tenstep.render_chunk"}
    payloads = [one.payload[1]["message"] for one in received]
    assert [RenderChunk.model_validate(one) for one in payloads] == messages


def test_a_message_is_what_celery_would_send(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url=redis_url)
    broker, message = Broker(settings), new_message()
    celery = make_celery(settings, broker.url)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    broker.send_chunks(QUEUE, [message], {message.chunk_id: traceparent})
    celery.send_task(
        TaskName.RENDER_CHUNK,
        kwargs={"message": message.model_dump(mode="json")},
        task_id=str(message.chunk_id),
        queue=QUEUE,
        headers={"traceparent": traceparent},
    )
    with Redis.from_url(redis_url) as client:
        theirs, ours = map(json.loads, client.lrange(f"tenstep:{QUEUE}", 0, -1))
    received = received_by(celery, 2)
    celery.close()
    broker.close()

    # Who sent it, and where to send a result that nobody wants.
    for message_of in (ours, theirs):
        message_of["headers"].pop("origin")
        message_of["properties"].pop("reply_to")
        assert UUID(message_of["properties"].pop("delivery_tag"))
    assert ours == theirs
    assert received[0].payload == received[1].payload


def received_by(celery: Celery, count: int) -> list[Message]:
    with celery.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        received = [queue.get(timeout=10) for _ in range(count)]
        for one in received:
            one.ack()
    return received


def test_a_message_is_small_and_holds_no_prompt(redis_url: str, tmp_path: Path) -> None:
    broker = Broker(Settings(data_dir=tmp_path, redis_url=redis_url))
    broker.send_chunks(QUEUE, [new_message()])
    broker.close()

    with Redis.from_url(redis_url) as client:
        (raw,) = client.lrange(f"tenstep:{QUEUE}", 0, -1)
    assert len(raw) < 2_000
    assert "prompt" not in json.dumps(json.loads(raw))


def test_deployments_on_one_redis_are_kept_apart_by_their_prefix(
    redis_url: str, tmp_path: Path
) -> None:
    ours, theirs = (
        Broker(Settings(data_dir=tmp_path, redis_url=redis_url, redis_key_prefix=prefix))
        for prefix in ("ours:", "theirs:")
    )
    ours.send_chunks(QUEUE, [new_message()])

    assert (ours.queue_length(QUEUE), theirs.queue_length(QUEUE)) == (1, 0)
    with Redis.from_url(redis_url) as client:
        assert all(key.startswith(b"ours:") for key in client.scan_iter())
    ours.close()
    theirs.close()


def test_a_redis_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"redis://:a-password@127.0.0.1:{free_port()}/0"
    broker = Broker(Settings(data_dir=tmp_path, redis_url=url))

    for attempt in (
        broker.connect,
        lambda: broker.queue_length(QUEUE),
        lambda: broker.send_chunks(QUEUE, [new_message()]),
    ):
        with pytest.raises(ServiceUnavailableError, match="does not answer") as caught:
            attempt()
        assert "a-password" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)
    broker.close()


def test_a_wrong_password_is_refused_and_not_shown(redis_url: str, tmp_path: Path) -> None:
    scheme, place = redis_url.split("://:", maxsplit=1)[0], redis_url.split("@")[1]
    broker = Broker(Settings(data_dir=tmp_path, redis_url=f"{scheme}://:wrong-word@{place}"))

    with pytest.raises(ServiceUnavailableError) as caught:
        broker.connect()
    assert "wrong-word" not in str(caught.value)
    broker.close()
