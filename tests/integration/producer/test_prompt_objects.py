"""Prompts are read from object storage as from a file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from producer.prompt_files import open_prompts
from producer.prompt_format import is_prompt_file
from producer.prompt_lines import AcceptedLine
from producer.templates import template_prompts
from shared.errors import InputError, ServiceUnavailableError
from shared.settings import Settings
from support.seaweedfs import S3Bucket
from support.servers import free_port

KEY = "some/folder/prompts.jsonl.gz"


@pytest.fixture
def settings(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in s3.settings.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.fixture
def url(s3: S3Bucket) -> Iterator[str]:
    client = s3.server.client()
    client.put_object(Bucket=s3.name, Key=KEY, Body=gzip.compress(b'{"prompt": "a"}\n[]\n'))
    yield f"s3://{s3.name}/{KEY}"
    client.delete_object(Bucket=s3.name, Key=KEY)
    client.close()


def test_an_object_is_a_prompt_file_named_by_its_url(url: str, settings: Settings) -> None:
    assert is_prompt_file(url)
    with open_prompts(url, settings=settings) as source:
        accepted, reject = source.lines
        assert list(source.again().lines) == [accepted, reject]
        assert source.progress() == 1

    assert source.name == url
    assert isinstance(accepted, AcceptedLine)
    assert accepted.request.prompt == "a"
    assert reject.line_number == 2


def test_a_templates_values_may_be_an_object(s3: S3Bucket, settings: Settings) -> None:
    client = s3.server.client()
    client.put_object(Bucket=s3.name, Key="colours.txt", Body=b"red\ngreen\n")
    source = template_prompts(
        "a {colour} dog", {"colour": f"s3://{s3.name}/colours.txt"}, settings=settings
    )
    client.delete_object(Bucket=s3.name, Key="colours.txt")
    client.close()

    assert source.expected == 2


def refusal(url: str, settings: Settings | None) -> str:
    with pytest.raises(InputError) as refused, open_prompts(url, settings=settings):
        pass
    return refused.value.message


def test_an_object_that_cannot_be_read_is_refused(s3: S3Bucket, settings: Settings) -> None:
    bucket = f"s3://{s3.name}"

    assert refusal(f"{bucket}/none.txt", settings) == f"{bucket}/none.txt: no such object"
    assert refusal(f"{bucket}/folder/", settings) == f"{bucket}/folder/: is no object"
    assert refusal(bucket, settings) == f"{bucket}: is no object"
    assert "object storage cannot be read" in refusal(f"{bucket}/a.txt", None)
    wrong = settings.model_copy(update={"s3_access_key_id": None, "s3_secret_access_key": None})
    with pytest.raises(ServiceUnavailableError), open_prompts(f"{bucket}/a", settings=wrong):
        pass


def test_a_store_that_does_not_answer_is_no_fault_of_the_user(settings: Settings) -> None:
    away = settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})

    with (
        pytest.raises(ServiceUnavailableError, match="cannot be fetched"),
        open_prompts("s3://bucket/p.txt", settings=away),
    ):
        pass
