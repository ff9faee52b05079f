"""What every object store promises."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.clock import utc_now
from shared.errors import InputError, ServiceUnavailableError, TenstepError
from shared.settings import Settings
from shared.storage.base import (
    BLOCK_BYTES,
    ObjectNotFoundError,
    ObjectStore,
    image_key,
    sha256_of,
    thumbnail_key,
)
from shared.storage.folder import FolderStore
from shared.storage.open import open_store, open_store_at
from shared.storage.s3_reads import quick_read
from support.seaweedfs import S3Bucket
from support.servers import free_port

PNG = "image/png"


def s3_settings(bucket: S3Bucket, **changes: object) -> Settings:
    values: dict[str, Any] = {
        name.removeprefix("TENSTEP_").lower(): value for name, value in bucket.settings.items()
    }
    return Settings(**(values | changes))


def test_what_was_put_is_what_one_gets(store: ObjectStore) -> None:
    data = bytes(range(256)) * 100

    store.put("images/ab/one.png", data, PNG)

    assert store.get("images/ab/one.png") == data


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("nothing", b"", PNG)

    assert store.get("nothing") == b""


def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put("one", b"first, and longer", PNG)
    store.put("one", b"second", PNG)

    assert store.get("one") == b"second"


def test_an_object_that_is_not_there_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFoundError, match="no object images/none"):
        store.get("images/none.png")


def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    store.put("one", b"data", PNG)
    store.delete("one")

    with pytest.raises(ObjectNotFoundError):
        store.get("one")


def test_deleting_what_is_not_there_is_no_error(store: ObjectStore) -> None:
    store.delete("images/none.png")


def test_objects_are_listed_in_the_order_of_their_keys(store: ObjectStore) -> None:
    for key in ("images/b/two", "images/b0/one", "images/a", "images/b/one", "other/one"):
        store.put(key, key.encode(), PNG)

    listed = list(store.list("images/"))

    assert [found.key for found in listed] == [
        *("images/a", "images/b/one", "images/b/two", "images/b0/one"),
    ]
    assert all(found.bytes == len(found.key) for found in listed)
    assert [found.key for found in store.list("images/b/o")] == ["images/b/one"]
    assert len(list(store.list(""))) == 5


def test_a_store_without_such_objects_lists_none(store: ObjectStore) -> None:
    assert list(store.list("images/")) == []

    store.put("image", b"data", PNG)
    assert list(store.list("images/")) == []


def test_a_put_makes_an_object_new_again(store: ObjectStore) -> None:
    """Whoever removes what is old relies on it."""
    before = utc_now() - timedelta(seconds=2)  # a store may round to seconds
    store.put("one", b"data", PNG)
    [first] = store.list("one")
    time.sleep(1.1)

    store.put("one", b"data", PNG)

    [second] = store.list("one")
    assert before < first.modified_at < second.modified_at < utc_now() + timedelta(seconds=1)


def test_more_objects_than_an_answer_holds_are_listed(store: ObjectStore) -> None:
    keys = [f"images/{number:04}" for number in range(1_050)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, b"", PNG), keys))

    assert [found.key for found in store.list("images/")] == keys


def test_a_check_leaves_nothing_behind(store: ObjectStore) -> None:
    store.check()

    with pytest.raises(ObjectNotFoundError):
        store.get(".tenstep-check")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "..",
        "../outside",
        "images/../../outside",
        "images//twice",
        "images/",
        "./here",
        "a\\b",
        "line\nbreak",
        "nul\0",
    ],
)
def test_a_key_that_could_leave_the_store_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InputError, match="not an object key"):
        store.put(key, b"data", PNG)
    with pytest.raises(InputError), store.writer(key, PNG):
        pass
    with pytest.raises(InputError):
        store.get(key)
    with pytest.raises(InputError):
        store.delete(key)


def test_keys_may_hold_spaces_and_letters_of_any_script(store: ObjectStore) -> None:
    store.put("a folder/größe 图.png", b"data", PNG)

    assert store.get("a folder/größe 图.png") == b"data"


def test_a_reader_never_sees_half_an_object(store: ObjectStore) -> None:
    whole = {letter * 300_000 for letter in (b"a", b"b")}
    store.put("one", b"a" * 300_000, PNG)
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(store.get("one"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(10):
            for data in whole:
                store.put("one", data, PNG)
    finally:
        done.set()
        reader.join()

    assert seen
    assert seen <= whole


def test_what_is_written_bit_by_bit_is_an_object_at_the_end(store: ObjectStore) -> None:
    block = bytes(range(256)) * 4096
    with store.writer("shards/one.tar", "application/x-tar") as file:
        for _ in range(10):  # more than S3 takes in one part
            file.write(block)
        with pytest.raises(ObjectNotFoundError):
            store.get("shards/one.tar")

    assert store.get("shards/one.tar") == block * 10


def test_a_writer_that_is_interrupted_leaves_what_was_there(store: ObjectStore) -> None:
    def write_half() -> None:
        with store.writer("one", PNG) as file:
            file.write(b"half of")
            raise KeyboardInterrupt

    store.put("one", b"as it was", PNG)
    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert store.get("one") == b"as it was"
    assert [found.key for found in store.list("")] == ["one"]


def test_a_large_object_is_read_in_small_pieces(store: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    store.put("large", data, PNG)

    blocks = list(store.blocks("large"))

    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= BLOCK_BYTES


def test_that_there_is_no_object_is_said_before_its_first_piece(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFoundError, match="no object none"):
        store.blocks("none")


def test_a_folder_has_no_urls(tmp_path: Path) -> None:
    assert FolderStore(tmp_path).url("one", timedelta(minutes=1), PNG) is None


def test_a_signed_url_gives_an_object_to_whoever_has_it(s3: S3Bucket) -> None:
    settings = s3_settings(s3)
    store = open_store(settings)
    store.put("images/ab/one.png", b"bytes of it", "application/octet-stream")

    url = store.url("images/ab/one.png", timedelta(minutes=1), PNG)

    assert url is not None
    answer = httpx.get(url)
    assert (answer.content, answer.headers["content-type"]) == (b"bytes of it", PNG)
    assert httpx.get(url.replace("one.png", "two.png")).status_code == 403
    secret = settings.s3_secret_access_key
    assert secret is not None
    assert secret.get_secret_value() not in url


def test_its_name_shows_no_secret(s3: S3Bucket) -> None:
    store = open_store(s3_settings(s3))

    assert store.display_url == f"s3://{s3.name}/some/prefix/"


def test_an_image_is_named_by_its_content() -> None:
    digest = sha256_of(b"an image")

    assert image_key(digest) == f"images/{digest[:2]}/{digest}.png"
    assert thumbnail_key(digest) == f"thumbnails/{digest[:2]}/{digest}.webp"
    assert len(digest) == 64


# Folders


def test_a_folder_keeps_its_objects_in_files_and_no_partial_ones(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("images/ab/one.png", b"data", PNG)

    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Path("images/ab/one.png")]


def test_a_put_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("one/below", b"data", PNG)

    with pytest.raises(ServiceUnavailableError, match="cannot write one"):
        store.put("one", b"where a folder is", PNG)

    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_folder_that_cannot_be_written_to_does_not_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = open_store(Settings(storage_url=(tmp_path / "file" / "objects").as_uri()))

    with pytest.raises(ServiceUnavailableError, match="cannot write"):
        store.check()


def test_a_folder_url_may_hold_escaped_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a folder, 100%"
    open_store(Settings(storage_url=folder.as_uri())).put("one", b"data", PNG)

    assert (folder / "one").read_bytes() == b"data"


def test_what_a_cut_off_write_has_left_is_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("images/ab/one.png", b"data", PNG)
    (tmp_path / "images" / "ab" / ".partial-1").write_bytes(b"da")

    assert [found.key for found in store.list("images/")] == [
        *("images/ab/.partial-1", "images/ab/one.png"),
    ]


def test_objects_that_can_be_had_again_need_not_be_durable(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, durable=False)
    store.put("images/one.png", b"data", PNG)

    assert [path.read_bytes() for path in tmp_path.rglob("*.*")] == [b"data"]


# S3


def test_objects_lie_below_the_prefix_with_their_type(s3: S3Bucket) -> None:
    open_store(s3_settings(s3)).put("images/one.png", b"data", PNG)

    client = s3.server.client()
    head = client.head_object(Bucket=s3.name, Key="some/prefix/images/one.png")
    client.close()
    assert head["ContentType"] == PNG


def test_a_store_is_opened_anywhere_with_the_same_keys(s3: S3Bucket) -> None:
    store = open_store_at(f"s3://{s3.name}/elsewhere", s3_settings(s3))
    with store.writer("one.tar", "application/x-tar") as file:
        file.write(b"data")

    client = s3.server.client()
    head = client.head_object(Bucket=s3.name, Key="elsewhere/one.tar")
    client.close()
    assert head["ContentType"] == "application/x-tar"


@pytest.mark.parametrize("key", ["images/one.png", "a b/ä#%+ö?.png"])
def test_the_quick_way_reads_what_is_there_and_leaves_the_rest_to_the_sdk(
    s3: S3Bucket, key: str
) -> None:
    open_store(s3_settings(s3)).put(key, b"data", PNG)
    limits = {"connect_seconds": 5.0, "read_seconds": 5.0}
    whole = f"some/prefix/{key}"

    assert quick_read(s3.name, s3_settings(s3), **limits)(whole) == b"data"
    assert quick_read(s3.name, s3_settings(s3), **limits)("some/prefix/none") is None
    wrong = s3_settings(s3, s3_secret_access_key="wrong")
    assert quick_read(s3.name, wrong, **limits)(whole) is None


def test_without_any_credentials_there_is_no_quick_way(
    s3: S3Bucket,
) -> None:
    nobody = s3_settings(s3, s3_access_key_id=None, s3_secret_access_key=None)

    assert quick_read(s3.name, nobody, connect_seconds=5, read_seconds=5)("one") is None


def test_an_endpoint_that_does_not_answer_is_unavailable(s3: S3Bucket) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    store = open_store(s3_settings(s3, s3_endpoint_url=nobody))

    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        store.check()
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        list(store.list("images/"))


@pytest.mark.parametrize("setting", ["s3_access_key_id", "s3_secret_access_key"])
def test_wrong_credentials_are_refused_and_not_shown(s3: S3Bucket, setting: str) -> None:
    store = open_store(s3_settings(s3, **{setting: "WRONGWRONGWRONGWRONG"}))

    with pytest.raises(TenstepError, match="cannot write") as caught:
        store.check()

    assert "credentials" in (caught.value.hint or "")
    assert "WRONG" not in str(caught.value)


def test_credentials_that_may_only_read_cannot_write(s3: S3Bucket) -> None:
    open_store(s3_settings(s3)).put("one", b"data", PNG)
    reader = s3.server.reader
    store = open_store(
        s3_settings(
            s3,
            s3_access_key_id=reader.access_key_id,
            s3_secret_access_key=reader.secret_access_key,
        )
    )

    assert store.get("one") == b"data"
    with pytest.raises(ServiceUnavailableError, match="AccessDenied"):
        store.put("one", b"other", PNG)
    with (
        pytest.raises(ServiceUnavailableError, match="AccessDenied"),
        store.writer("one", PNG) as file,
    ):
        file.write(b"other")


def test_a_bucket_that_is_not_there_is_no_missing_object(s3: S3Bucket) -> None:
    store = open_store(s3_settings(s3, storage_url="s3://no-such-bucket/prefix"))

    with pytest.raises(ServiceUnavailableError, match="NoSuchBucket") as caught:
        store.get("one")
    assert not isinstance(caught.value, ObjectNotFoundError)


def test_a_url_without_a_bucket_is_refused() -> None:
    with pytest.raises(TenstepError, match="names no bucket"):
        open_store(Settings(storage_url="s3:///prefix"))
