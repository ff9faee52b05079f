"""``tenstep pull`` and ``tenstep gallery``, as somebody types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.tables import Job
from shared.settings import Settings
from shared.storage.base import image_key, sha256_of
from shared.storage.open import open_store
from support.drawing import Drawer, picture
from support.factories import START, add_batch
from support.seaweedfs import S3Bucket
from support.shell import Shell

JOBS = 5
KILLED_IN_ITS_FOURTH_SHARD = """
import os, signal
from producer.cli.main import main
from producer.pull.shard_index import ShardIndex

announce = ShardIndex.announce

def announce_and_die(self, number, size, positions):
    announce(self, number, size, positions)
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)

ShardIndex.announce = announce_and_die
main()
"""
"""After the shard's index was written, before the shard appears."""


@pytest.fixture
def batch_id(shell: Shell) -> UUID:
    """A batch in the data folder of the shell, half of it drawn."""
    settings = Settings()
    database = Database(settings.resolved_database_url)
    migrate(database)
    with database.write() as session:
        batch_id = add_batch(session, jobs=JOBS).id
    Drawer(database, open_store(settings), now=START).draw(batch_id, 3)
    database.close()
    return batch_id


def finish_at_once(batch_id: UUID) -> None:
    """Call all jobs of a batch done, with one picture for all."""
    data = picture(0)
    sha256 = sha256_of(data)
    open_store(Settings()).put(image_key(sha256), data, "image/png")
    database = Database(Settings().resolved_database_url)
    with database.write() as session:
        session.execute(
            update(Job)
            .where(Job.batch_id == batch_id)
            .values(
                state="done",
                image_key=image_key(sha256),
                image_sha256=sha256,
                image_bytes=len(data),
                finished_at=START,
            )
        )
    database.close()


@pytest.mark.usefixtures("batch_id")
def test_a_folder_gets_images_manifest_and_contact_sheet(shell: Shell) -> None:
    assert shell("pull", "--to", "pictures") == 0
    assert shell.out == "3 of 5 images in pictures, 3 of them new\n"
    assert shell.err == ""
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        *(f"0000000{n}-prompt-{n}.png" for n in range(3)),
        *("contact-sheet.png", "manifest.jsonl"),
    ]


@pytest.mark.usefixtures("batch_id")
def test_shards_with_both_manifests(shell: Shell) -> None:
    arguments = ("pull", "--out", "shards", "--format", "webdataset", "--manifest", "both")
    pulled = shell.json(*arguments, "--shard-images", "2")

    assert (pulled["images"], pulled["shards"], pulled["contact_sheet"]) == (3, 2, None)
    assert pulled["manifests"] == ["manifest.jsonl", "manifest.parquet"]
    assert shell(*arguments) == 0
    assert shell.out == "3 of 5 images in 2 shards in shards, 0 of them new\n"


@pytest.mark.usefixtures("batch_id")
def test_object_storage_with_the_keys_of_the_settings(
    shell: Shell, s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.settings.items():
        if name != "TENSTEP_STORAGE_URL":
            monkeypatch.setenv(name, value)
    place = f"s3://{s3.name}/elsewhere"

    assert shell.json("pull", "--to", place)["written"] == 3
    assert shell("pull", "--to", place) == 0
    assert shell.out == f"3 of 5 images in {place}, 0 of them new\n"


@pytest.mark.usefixtures("batch_id")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "gs://bucket/x"], "--to: a folder or s3://bucket/prefix, not gs://bucket/x"),
        (["--to", "s3:///x"], "s3:///x names no bucket"),
        (["--manifest-only", "--manifest", "none"], "--manifest-only with --manifest none leaves"),
        (["--format", "zip"], "Invalid value for '--format'"),
        (["--parallel", "65"], "Invalid value for '--parallel'"),
    ],
)
def test_a_bad_option_is_one_clear_line(shell: Shell, arguments: list[str], said: str) -> None:
    assert shell("pull", *arguments) == 2
    assert shell.err.startswith(f"error: {said}")


def test_a_pull_that_is_killed_goes_on_and_has_every_image_once(
    shell: Shell, batch_id: UUID
) -> None:
    images = 600
    database = Database(Settings().resolved_database_url)
    with database.write() as session:
        batch_id = add_batch(session, jobs=images).id
    database.close()
    finish_at_once(batch_id)
    arguments = ("pull", str(batch_id), "--to", "shards", "--format", "webdataset")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_IN_ITS_FOURTH_SHARD, *arguments, "--shard-images", "100"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    before = {path.name: path.read_bytes() for path in Path("shards").glob("shard-*.tar")}
    assert len(before) == 3

    pulled = shell.json(*arguments)
    assert pulled["images"] == images
    assert {name: Path("shards", name).read_bytes() for name in before} == before
    found: Counter[str] = Counter()
    for path in Path("shards").glob("shard-*.tar"):
        with tarfile.open(path) as tar:
            found.update(name for name in tar.getnames() if name.endswith(".png"))
    assert found == dict.fromkeys((f"{n:08d}.png" for n in range(images)), 1)
    assert not list(Path("shards").glob(".partial-*"))


def test_a_gallery_lies_beside_the_pulled_images(shell: Shell, batch_id: UUID) -> None:
    page = shell.json("gallery", "--limit", "2")

    assert page == {
        "batch_id": str(batch_id),
        "state": "done",
        "file": "renders/a-batch/gallery.html",
        "shown": 2,
        "of": 3,
        "missing": 0,
    }
    assert shell("gallery", "--to", "pictures.html") == 0
    assert shell.out == "3 of 3 in pictures.html\n"
    assert Path("pictures.html").read_text("utf-8").count("<img ") == 3


@pytest.mark.usefixtures("batch_id")
def test_a_gallery_whose_images_are_gone_says_so_and_fails(shell: Shell) -> None:
    for image in Path("data/objects/images").rglob("*.png"):
        image.unlink()

    assert shell("gallery", "--json") == 1
    assert json.loads(shell.out)["missing"] == 3
    assert "3 images could not be fetched" in shell.err
