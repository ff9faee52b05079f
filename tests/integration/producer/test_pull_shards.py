"""Shards are added to while a batch is drawn, and hold every image once."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producer.progress import unseen
from producer.pull import Pulled, PullOptions, pull_shards
from shared.db.engine import Database
from shared.errors import InputError
from shared.storage.base import ObjectStore, image_key, sha256_of
from shared.storage.folder import FolderStore
from support.drawing import Drawer, picture
from support.factories import START, add_batch

JOBS = 7


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=JOBS).id


@pytest.fixture
def images(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "images")


@pytest.fixture
def drawer(database: Database, images: FolderStore) -> Drawer:
    return Drawer(database, images, now=START)


@pytest.fixture
def out(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "out")


def pull(
    database: Database,
    images: ObjectStore,
    batch_id: UUID,
    out: ObjectStore,
    shard_images: int = 3,
    **options: Any,
) -> Pulled:
    chosen = PullOptions(shard_images=shard_images, **options)
    return pull_shards(database, images, batch_id, out, chosen, unseen)


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {
            member.name: file.read()
            for member in tar
            if (file := tar.extractfile(member)) is not None
        }


def shards_in(out: FolderStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.folder.glob("shard-*.tar"))}


def samples_in(out: FolderStore) -> Counter[str]:
    names = (name for path in out.folder.glob("shard-*.tar") for name in members_of(path))
    return Counter(name for name in names if name.endswith(".png"))


def test_a_sample_is_an_image_its_line_and_its_prompt(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    data = drawer.draw(batch_id)[1]
    pulled = pull(database, images, batch_id, out)

    assert (pulled.images, pulled.written, pulled.shards) == (JOBS, JOBS, 3)
    members = members_of(out.folder / "shard-000000.tar")
    assert list(members)[3:6] == ["00000001.png", "00000001.json", "00000001.txt"]
    assert members["00000001.png"] == data
    assert members["00000001.txt"] == b"prompt 1"
    line = json.loads(members["00000001.json"])
    assert (line["file"], line["shard"]) == ("00000001.png", "shard-000000.tar")
    assert (line["seed"], line["attempt"]["record"]["precision"]) == (1, "float32")
    assert line["key"] == image_key(sha256_of(data))


def test_pulling_again_adds_shards_and_leaves_those_that_are_there(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id, 4)
    pull(database, images, batch_id, out)
    before = shards_in(out)
    assert len(before) == 2

    drawer.draw(batch_id)
    pulled = pull(database, images, batch_id, out)
    assert (pulled.images, pulled.written, pulled.shards) == (JOBS, 3, 3)
    assert shards_in(out).items() >= before.items()
    assert samples_in(out) == dict.fromkeys((f"0000000{n}.png" for n in range(JOBS)), 1)
    assert pull(database, images, batch_id, out).written == 0
    assert len(shards_in(out)) == 3


def test_the_manifest_tells_in_which_shard_an_image_is(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id, 4)
    pull(database, images, batch_id, out)

    lines = [json.loads(line) for line in out.get("manifest.jsonl").splitlines()]
    assert [line["shard"] for line in lines] == (
        ["shard-000000.tar"] * 3 + ["shard-000001.tar"] + [None] * 3
    )
    assert lines[3]["file"] == "00000003.png"


def test_an_index_without_its_shard_counts_for_nothing(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    """So leaves it a pull that was killed between the two."""
    drawer.draw(batch_id)
    pull(database, images, batch_id, out)
    whole = shards_in(out)
    (out.folder / "shard-000002.tar").unlink()
    (out.folder / ".partial-0").write_bytes(whole["shard-000002.tar"][:700])

    assert pull(database, images, batch_id, out).written == 1
    assert shards_in(out) == whole
    assert samples_in(out).total() == JOBS
    assert not list(out.folder.glob(".partial-*"))


@pytest.mark.parametrize("harm", ["index/000001.json is gone", "the shard is another"])
def test_a_shard_that_nobody_can_tell_of_is_no_ground_to_build_on(
    database: Database,
    batch_id: UUID,
    images: FolderStore,
    drawer: Drawer,
    out: FolderStore,
    harm: str,
) -> None:
    drawer.draw(batch_id)
    pull(database, images, batch_id, out)
    if harm.endswith("gone"):
        out.delete("index/000001.json")
    else:
        out.put("shard-000001.tar", b"", "application/x-tar")

    with pytest.raises(InputError, match=r"000001\.json does not tell what is in shard-000001"):
        pull(database, images, batch_id, out)


def test_shards_of_another_batch_are_left_alone(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id)
    pull(database, images, batch_id, out)
    before = shards_in(out)
    with database.write() as session:
        other = add_batch(session, jobs=2).id

    with pytest.raises(InputError, match="holds another batch"):
        pull(database, images, other, out)
    assert shards_in(out) == before


def test_two_pulls_do_not_write_to_one_folder_at_once(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id)

    def pull_once_more(_: object) -> None:
        with pytest.raises(InputError, match="another tenstep pull is writing to it"):
            pull(database, images, batch_id, out)

    pull_shards(database, images, batch_id, out, PullOptions(), pull_once_more)
    assert samples_in(out).total() == JOBS


def test_an_image_that_cannot_be_had_is_told_and_comes_with_a_later_pull(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id)
    key = image_key(sha256_of(picture(1)))
    images.delete(key)
    pulled = pull(database, images, batch_id, out)
    assert [problem.position for problem in pulled.problems] == [1]
    assert (pulled.images, pulled.not_fetched) == (JOBS - 1, 1)

    images.put(key, picture(1), "image/png")
    assert pull(database, images, batch_id, out).written == 1
    assert samples_in(out)["00000001.png"] == 1


def test_a_pull_that_is_interrupted_leaves_whole_shards_alone(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id)
    seen = 0

    def interrupt(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull_shards(database, images, batch_id, out, PullOptions(shard_images=3), interrupt)
    assert list(shards_in(out)) == ["shard-000000.tar"]
    assert not list(out.folder.glob(".partial-*"))

    assert pull(database, images, batch_id, out).written == JOBS - 3
    assert samples_in(out).total() == JOBS


def test_shards_go_to_object_storage_and_are_added_to(
    sqlite_database: Database, store: ObjectStore, tmp_path: Path
) -> None:
    with sqlite_database.write() as session:
        batch_id = add_batch(session, jobs=JOBS).id
    images = FolderStore(tmp_path / "images")
    drawer = Drawer(sqlite_database, images, now=START)
    drawer.draw(batch_id, 4)
    pull(sqlite_database, images, batch_id, store)
    first = store.get("shard-000000.tar")
    drawer.draw(batch_id)

    pulled = pull(sqlite_database, images, batch_id, store)
    assert (pulled.images, pulled.written, pulled.shards) == (JOBS, 3, 3)
    assert store.get("shard-000000.tar") == first
    (tmp_path / "last.tar").write_bytes(store.get("shard-000002.tar"))
    assert "00000006.png" in members_of(tmp_path / "last.tar")


def test_a_manifest_alone_tells_of_the_shards_that_are_there(
    database: Database, batch_id: UUID, images: FolderStore, drawer: Drawer, out: FolderStore
) -> None:
    drawer.draw(batch_id, 3)
    pull(database, images, batch_id, out)
    drawer.draw(batch_id)

    pulled = pull(database, images, batch_id, out, manifest_only=True)
    assert (pulled.images, pulled.written) == (3, 0)
    lines = [json.loads(line) for line in out.get("manifest.jsonl").splitlines()]
    assert [line["file"] is not None for line in lines] == [True] * 3 + [False] * 4
