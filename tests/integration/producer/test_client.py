"""The Python client, blocking and with asyncio, against live servers."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import pytest

from producer.client import (
    AsyncClient,
    Client,
    ConflictError,
    NotFoundError,
    Patience,
    RefusedLinesError,
)
from producer.wire.batches import BatchDocument
from shared.domain.access import Scope
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from shared.errors import ConfigurationError, InputError
from support.api import ApiServer

PNG = b"\x89PNG"
LINES = b'{"prompt": "a red apple", "custom_id": "an apple/1"}\n{"prompt": 3}\n{"prompt": "pear"}\n'


@pytest.fixture
def client(api: ApiServer) -> Iterator[Client]:
    with Client(api.url) as client:
        yield client


@pytest.fixture(scope="module")
def drawn(api: ApiServer) -> UUID:
    """A batch of an uploaded file; its images are there."""
    statuses: list[BatchDocument] = []
    with Client(api.url) as client, api.drawing():
        file = client.upload(io.BytesIO(gzip.compress(LINES)), name="fruit.jsonl.gz")
        new = client.submit(file_id=file.file_id, steps=12, tags={"a": "b"})
        assert (new.state, new.total) == ("validating", None)
        last = client.wait(new.batch_id, on_progress=statuses.append)
    assert last == statuses[-1]
    assert last.finished
    assert statuses[0].counts[JobState.DONE] == 0
    return new.batch_id


def taken_in(client: Client, batch_id: UUID) -> BatchDocument:
    while not (status := client.batch(batch_id)).submitted:
        pass
    return status


def test_a_packed_file_is_drawn_and_told_whole(client: Client, drawn: UUID) -> None:
    status = client.batch(drawn)
    assert (status.name, status.state, status.total) == ("fruit.jsonl.gz", "finished", 2)
    images = list(client.images(drawn))
    assert [job.position for job, _ in images] == [0, 1]
    assert all(png.startswith(PNG) for _, png in images)
    assert [line["custom_id"] for line in client.manifest(drawn)] == ["an apple/1", None]
    [reject] = client.rejects(drawn)
    assert (reject.line_number, reject.field) == (2, "prompt")
    job = client.job(drawn, 1)
    assert (job.prompt, job.settings["steps"], job.state) == ("pear", 12, JobState.DONE)
    of_jobs = sum(line.cost_nanodollars for line in client.jobs(drawn))
    assert 0 < of_jobs <= client.bill(drawn).total_nanodollars


def test_what_is_there_is_listed(client: Client, drawn: UUID) -> None:
    assert drawn in {batch.batch_id for batch in client.batches()}
    assert len(list(client.batches(limit=1))) == 1
    assert client.costs("tag", tag="a=b").groups[0]["tag"] == "a=b"
    assert client.prices().prices
    assert client.models().models[0].is_default
    assert {worker.alive for worker in client.workers(alive=False).workers} == {False}
    assert client.quote(["a", "b"], steps=12).images == 2
    assert client.ready()["status"] == "ok"


def test_a_batch_is_decided_about(client: Client) -> None:
    batch_id = client.submit(["a", "b", "c"], hold=True).batch_id

    assert client.approve(batch_id).jobs == 3
    assert client.pause(batch_id).control is BatchControl.PAUSED
    assert client.resume(batch_id).control is BatchControl.ACTIVE
    changed = client.change(batch_id, priority=7, max_cost_usd="1.50", deadline_hours=2)
    assert (changed.priority, changed.max_cost_usd) == (7, "1.500000000")
    assert changed.deadline_at is not None
    assert client.change(batch_id, max_cost_usd=None).max_cost_usd is None
    assert client.cancel(batch_id, ["1"]).jobs == 1
    assert client.retry(batch_id, ["1"]).jobs == 1
    assert client.cancel(batch_id).jobs == 3
    held = client.submit(["a"], hold=True).batch_id
    assert client.reject(held).jobs == 1
    assert client.wait(held).counts[JobState.CANCELLED] == 1


def test_jobs_are_iterated_over_all_their_pages(client: Client) -> None:
    batch_id = client.submit([f"apple {number}" for number in range(1_200)]).batch_id

    assert [job.position for job in client.jobs(batch_id)] == list(range(1_200))
    assert [job.position for job in client.jobs(batch_id, after=1_190)] == list(range(1_191, 1_200))
    assert [job.prompt for job in client.jobs(batch_id, text="APPLE 1199")] == ["apple 1199"]


def test_a_file_is_sent_from_the_disk_and_blocks_as_they_come(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"a prompt\n" * 200_000)
    sent: list[int] = []

    file = client.upload(path, on_progress=sent.append)

    assert (file.name, file.bytes, sent[-1]) == ("prompts.txt", 1_800_000, 1_800_000)
    assert len(sent) > 5
    blocks = client.upload(iter([b"a\n", b"b\n"]), name="blocks.txt")
    assert blocks.bytes == 4
    assert taken_in(client, client.submit(file_id=blocks.file_id).batch_id).total == 2
    client.remove_file(blocks.file_id)
    with pytest.raises(NotFoundError):
        client.submit(file_id=blocks.file_id)


def test_the_same_key_is_the_same_batch_and_no_key_another(client: Client) -> None:
    first = client.submit(["a"], idempotency_key="mine")

    assert client.submit(["a"], idempotency_key="mine").batch_id == first.batch_id
    with pytest.raises(ConflictError, match="another request"):
        client.submit(["b"], idempotency_key="mine")
    assert client.submit(["a"]).batch_id != client.submit(["a"]).batch_id


def test_what_is_wrong_is_said_in_the_servers_words(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="steps"):
        client.submit(["a"], steps=0)
    with pytest.raises(InputError, match="sqeeze"):
        client.submit(["a"], sqeeze="10,6")
    with pytest.raises(RefusedLinesError) as refused:
        client.submit([{"prompt": "a", "seed": -1}])
    assert refused.value.rejects.first[0].field == "seed"
    with pytest.raises(NotFoundError, match="there is no batch"):
        client.wait(new_id())
    with pytest.raises(InputError, match="give one of"):
        client.submit()
    with pytest.raises(InputError, match="no-such-file"):
        client.submit(file=tmp_path / "no-such-file.txt")


def test_asyncio_has_the_same_methods(api: ApiServer, drawn: UUID, tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    path.write_bytes(LINES)

    async def run() -> None:
        async with AsyncClient(api.url) as client:
            new = await client.submit(file=path, name="two")
            status, drawn_status = await asyncio.gather(
                client.batch(new.batch_id), client.wait(drawn)
            )
            assert (status.name, drawn_status.state) == ("two", "finished")
            assert [png[:4] async for _, png in client.images(drawn)] == [PNG, PNG]
            async with aclosing(client.manifest(drawn)) as lines:
                assert (await anext(lines))["position"] == 0
            with pytest.raises(NotFoundError):
                await client.batch(new_id())
            with pytest.raises(InputError, match="steps"):
                await client.submit(["a"], steps=0)

    asyncio.run(run())


def test_a_key_is_needed_and_its_scopes_count(api_on_services: ApiServer) -> None:
    reads = api_on_services.new_key("studio", Scope.READ)
    with Client(api_on_services.url) as nobody, pytest.raises(ConfigurationError) as missing:
        nobody.models()
    assert missing.value.hint is not None
    assert "TENSTEP_API_KEY" in missing.value.hint
    with Client(api_on_services.url, "tsk_wrong") as wrong, pytest.raises(ConfigurationError):
        wrong.models()
    with Client(api_on_services.url, reads) as reader:
        assert reader.models().models
        with pytest.raises(ConfigurationError, match="submit"):
            reader.submit(["a"])


def test_images_come_from_where_object_storage_has_them(api_on_services: ApiServer) -> None:
    secret = api_on_services.new_key("studio")
    with (
        Client(api_on_services.url, secret, patience=Patience(tries=2)) as client,
        api_on_services.drawing(),
    ):
        batch_id = client.submit(["a red apple"]).batch_id
        client.wait(batch_id)
        # The storage refuses a presigned request that has a key of ours in it, too.
        [(job, png)] = client.images(batch_id)

    assert png.startswith(PNG)
    assert job.image_url is not None
    assert secret not in job.image_url
