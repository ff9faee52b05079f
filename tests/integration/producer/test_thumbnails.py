"""A thumbnail can be had of every image, whether a worker made it or not."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from producer.thumbnails import read_thumbnail
from shared.settings import Settings
from shared.storage.base import (
    ObjectNotFoundError,
    ObjectStore,
    image_key,
    sha256_of,
    thumbnail_key,
)
from shared.storage.open import open_store
from shared.thumbnail import thumbnail_of
from support.drawing import picture
from support.seaweedfs import S3Bucket

PNG = "image/png"
DATA = picture(7)
SHA256 = sha256_of(DATA)
KEY = image_key(SHA256)


def test_one_that_is_not_there_is_made_and_stored(store: ObjectStore) -> None:
    store.put(KEY, DATA, PNG)

    first = read_thumbnail(store, KEY, SHA256)
    store.delete(KEY)

    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "WEBP"
    assert read_thumbnail(store, KEY, SHA256) == store.get(thumbnail_key(SHA256)) == first


def test_one_that_is_there_is_taken_as_it_is(store: ObjectStore) -> None:
    store.put(KEY, DATA, PNG)
    store.put(thumbnail_key(SHA256), b"of a worker", "image/webp")

    assert read_thumbnail(store, KEY, SHA256) == b"of a worker"


def test_one_that_cannot_be_stored_is_returned_all_the_same(s3: S3Bucket) -> None:
    values: dict[str, Any] = {
        name.removeprefix("TENSTEP_").lower(): value for name, value in s3.settings.items()
    }
    open_store(Settings(**values)).put(KEY, DATA, PNG)
    reader = s3.server.reader
    values |= {
        "s3_access_key_id": reader.access_key_id,
        "s3_secret_access_key": reader.secret_access_key,
    }
    store = open_store(Settings(**values))

    assert read_thumbnail(store, KEY, SHA256) == thumbnail_of(DATA)
    with pytest.raises(ObjectNotFoundError):
        store.get(thumbnail_key(SHA256))


def test_there_is_none_without_the_image(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFoundError, match="no object images/"):
        read_thumbnail(store, KEY, SHA256)


@pytest.mark.parametrize(
    ("data", "sha256", "problem"),
    [
        (DATA + b"!", SHA256, "is damaged: its SHA-256 differs"),
        (b"no picture", sha256_of(b"no picture"), "is no image"),
        (DATA[:50], sha256_of(DATA[:50]), "is no image"),
    ],
    ids=["damaged", "no picture", "cut off"],
)
def test_none_is_made_of_what_is_not_the_image(
    store: ObjectStore, data: bytes, sha256: str, problem: str
) -> None:
    store.put(KEY, data, PNG)

    with pytest.raises(ObjectNotFoundError, match=problem):
        read_thumbnail(store, KEY, sha256)
    assert [found.key for found in store.list("")] == [KEY]
