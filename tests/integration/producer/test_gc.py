"""Garbage: what no job refers to, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from producer.gc import collect_garbage
from shared.clock import utc_now
from shared.db.engine import Database
from shared.errors import ServiceUnavailableError
from shared.storage.base import ObjectStore, StoredObject, image_key, sha256_of, thumbnail_key
from shared.storage.folder import FolderStore
from support.drawing import Drawer, picture
from support.factories import add_batch

HOUR = timedelta(hours=1)
NONE = timedelta(0)
JOBS = 20


@pytest.fixture
def drawn(database: Database, store: ObjectStore) -> None:
    """A batch of images that jobs refer to."""
    with database.write() as session:
        batch_id = add_batch(session, jobs=JOBS).id
    Drawer(database, store, now=utc_now()).draw(batch_id)


def put_orphan(store: ObjectStore, seed: int) -> str:
    data = picture(seed)
    key = image_key(sha256_of(data))
    store.put(key, data, "image/png")
    return key


def put_thumbnail(store: ObjectStore, key: str) -> str:
    """Store as many bytes as its key has letters."""
    thumbnail = thumbnail_key(Path(key).stem)
    store.put(thumbnail, thumbnail.encode(), "image/webp")
    return thumbnail


def keys(store: ObjectStore) -> set[str]:
    return {found.key for found in store.list("")}


@pytest.mark.usefixtures("drawn")
def test_what_no_job_refers_to_goes_and_the_rest_stays(
    database: Database, store: ObjectStore
) -> None:
    wanted = keys(store)
    orphans = {put_orphan(store, seed) for seed in range(1_000, 1_020)}
    later = utc_now() + HOUR + timedelta(seconds=2)

    dry = collect_garbage(database, store, later, HOUR, delete=False).images
    assert keys(store) == wanted | orphans
    done = collect_garbage(database, store, later, HOUR, delete=True).images

    assert keys(store) == wanted
    assert (dry.objects, dry.orphans, dry.deleted) == (40, 20, 0)
    assert (done.orphans, done.deleted) == (20, 20)
    assert done.orphan_bytes == sum(len(picture(seed)) for seed in range(1_000, 1_020))


@pytest.mark.usefixtures("drawn")
def test_a_thumbnail_goes_with_its_image_and_stays_with_it(
    database: Database, store: ObjectStore
) -> None:
    wanted = {put_thumbnail(store, key) for key in keys(store)} | keys(store)
    orphans = {put_orphan(store, seed) for seed in range(1_000, 1_020)}
    of_orphans = {put_thumbnail(store, key) for key in orphans}
    without_image = put_thumbnail(store, image_key("0" * 64))
    young = collect_garbage(database, store, utc_now(), HOUR, delete=True)
    assert (young.thumbnails.objects, young.thumbnails.orphans) == (JOBS + 21, 0)

    found = collect_garbage(database, store, utc_now() + 2 * HOUR, HOUR, delete=True)

    assert keys(store) == wanted
    assert found.to_json() == {
        "objects": JOBS + 20,
        "orphans": 20,
        "orphan_bytes": found.images.orphan_bytes,
        "deleted": 20,
        "thumbnails": {
            "objects": JOBS + 21,
            "orphans": 21,
            "orphan_bytes": sum(map(len, [*of_orphans, without_image])),
            "deleted": 21,
        },
    }


@pytest.mark.usefixtures("drawn")
def test_what_is_young_may_still_get_its_job(database: Database, store: ObjectStore) -> None:
    key = put_orphan(store, 1_000)

    found = collect_garbage(database, store, utc_now(), HOUR, delete=True).images

    assert (found.objects, found.orphans) == (JOBS + 1, 0)
    assert key in keys(store)


def test_what_lies_beside_the_images_is_nobodys_garbage(
    database: Database, store: ObjectStore
) -> None:
    store.put("other/one", b"data", "image/png")

    collect_garbage(database, store, utc_now() + HOUR, NONE, delete=True)

    assert keys(store) == {"other/one"}


def test_what_a_cut_off_write_has_left_goes_too(sqlite_database: Database, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    folder = Path(tmp_path / "objects" / "images" / "ab")
    folder.mkdir(parents=True)
    (folder / ".partial-1").write_bytes(b"da")

    collect_garbage(sqlite_database, store, utc_now() + HOUR, NONE, delete=True)

    assert keys(store) == set()


class DrawnAnew(FolderStore):
    """A store that somebody puts an object to while it is listed."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for found in super().list(prefix):
            self.put(found.key, self.get(found.key), "image/png")
            yield found


def test_what_is_drawn_anew_meanwhile_stays(sqlite_database: Database, tmp_path: Path) -> None:
    store = DrawnAnew(tmp_path / "objects")
    key = put_orphan(store, 1_000)
    os.utime(tmp_path / "objects" / key, (0, 0))

    found = collect_garbage(sqlite_database, store, utc_now(), HOUR, delete=True).images

    assert (found.orphans, found.deleted) == (1, 0)
    assert keys(store) == {key}


class Unsorted(FolderStore):
    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = next(super().list(prefix))
        yield replace(found, key="images/z")
        yield found


def test_a_store_that_lists_in_no_order_loses_nothing(
    sqlite_database: Database, tmp_path: Path
) -> None:
    store = Unsorted(tmp_path / "objects")
    put_orphan(store, 1_000)

    with pytest.raises(ServiceUnavailableError, match="after images/z"):
        collect_garbage(sqlite_database, store, utc_now(), HOUR, delete=True)
