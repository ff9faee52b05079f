"""Pulling fills a folder with what is drawn, as often as it is asked to."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from producer.pull import Puller
from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import InputError
from shared.storage.base import image_key, sha256_of
from shared.storage.folder import FolderStore
from support.drawing import RECORD, Drawer, picture
from support.factories import START, add_batch, jobs_of

JOBS = 6


@pytest.fixture
def batch_id(database: Database) -> UUID:
    with database.write() as session:
        return add_batch(session, jobs=JOBS).id


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def drawer(database: Database, folder_store: FolderStore) -> Drawer:
    return Drawer(database, folder_store, now=START)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def puller(database: Database, folder_store: FolderStore, batch_id: UUID, out: Path) -> Puller:
    return Puller(database, folder_store, batch_id, out)


def images_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def manifest_in(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "manifest.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_images_come_as_they_are_drawn(
    batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    drawn = [*drawer.draw(batch_id, 2)]
    assert puller.pull_new() == 2
    assert puller.pull_new() == 0

    drawn += drawer.draw(batch_id)
    assert puller.pull_new() == JOBS - 2
    assert images_in(out) == {
        f"0000000{index}-prompt-{index}.png": data for index, data in enumerate(drawn)
    }


def test_an_image_whose_commit_came_late_is_not_missed(
    database: Database, batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    """Its time is before that of images which were seen already."""
    held = drawer.claim(batch_id, 2)
    drawer.now += timedelta(seconds=30)
    drawer.finish(held[1])
    assert puller.pull_new() == 1

    drawer.now -= timedelta(seconds=29)
    drawer.finish(held[0])
    assert puller.pull_new() == 1


def test_the_manifest_has_a_line_for_every_job_in_order(
    batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    first, second, third = drawer.claim(batch_id, 3)
    drawer.finish(third)
    drawer.fail(second)
    data = drawer.finish(first)
    pulled = puller.finish()
    manifest = manifest_in(out)

    assert [line["position"] for line in manifest] == list(range(JOBS))
    assert [line["state"] for line in manifest] == ["done", "failed", "done"] + ["pending"] * 3
    done, failed, pending = manifest[0], manifest[1], manifest[3]
    assert done["file"] == "00000000-prompt-0.png"
    assert done["sha256"] == sha256_of(data) == sha256_of((out / done["file"]).read_bytes())
    assert done["attempt"]["record"] == RECORD
    assert done["attempt"]["device_seconds"] == 1.0
    assert done["attempt"]["seconds"]["denoise"] == 0.9
    assert (done["cost_nanodollars"], done["cost_usd"]) == (21_250, "0.000021250")
    assert failed["file"] is None
    assert failed["error"] == {"code": "bad_prompt", "message": "job 1 cannot be drawn"}
    assert (pending["file"], pending["error"], pending["attempt"]) == (None, None, None)
    assert (pulled.images, pulled.written) == (2, 2)
    assert [image.path.name for image in pulled.first] == [done["file"], manifest[2]["file"]]


def test_a_second_pull_fetches_nothing_again(
    database: Database, batch_id: UUID, drawer: Drawer, puller: Puller, out: Path, tmp_path: Path
) -> None:
    drawer.draw(batch_id)
    puller.finish()
    before = images_in(out)
    store_that_is_gone = FolderStore(tmp_path / "gone")
    again = Puller(database, store_that_is_gone, batch_id, out).finish()

    assert (again.images, again.written, again.problems) == (JOBS, 0, [])
    assert images_in(out) == before


def test_an_image_that_was_cut_short_is_fetched_again(
    database: Database,
    batch_id: UUID,
    drawer: Drawer,
    puller: Puller,
    out: Path,
    folder_store: FolderStore,
) -> None:
    data = drawer.draw(batch_id, 1)[0]
    puller.pull_new()
    (out / "00000000-prompt-0.png").write_bytes(data[:20])
    again = Puller(database, folder_store, batch_id, out).finish()

    assert again.written == 1
    assert images_in(out) == {"00000000-prompt-0.png": data}


def test_a_damaged_or_missing_object_is_told_and_the_others_are_pulled(
    batch_id: UUID, drawer: Drawer, puller: Puller, out: Path, folder_store: FolderStore
) -> None:
    drawer.draw(batch_id)
    damaged, missing = (image_key(sha256_of(picture(seed))) for seed in (1, 4))
    folder_store.put(damaged, b"not what it was", "image/png")
    folder_store.delete(missing)
    pulled = puller.finish()

    assert [problem.position for problem in pulled.problems] == [1, 4]
    assert "is damaged: its SHA-256 differs" in pulled.problems[0].reason
    assert "no object" in pulled.problems[1].reason
    assert len(images_in(out)) == pulled.images == JOBS - 2
    assert [line["file"] is None for line in manifest_in(out)] == [
        position in {1, 4} for position in range(JOBS)
    ]


def test_an_object_that_comes_back_is_no_problem_any_more(
    batch_id: UUID, drawer: Drawer, puller: Puller, folder_store: FolderStore
) -> None:
    drawer.draw(batch_id)
    key = image_key(sha256_of(picture(1)))
    folder_store.delete(key)
    assert puller.pull_new() == JOBS - 1

    folder_store.put(key, picture(1), "image/png")
    assert puller.finish().problems == []


def test_more_images_at_the_same_moment_than_fit_a_page_are_all_pulled(
    database: Database, folder_store: FolderStore, out: Path
) -> None:
    data = picture(0)
    folder_store.put(image_key(sha256_of(data)), data, "image/png")
    with database.write() as session:
        batch_id = add_batch(session, jobs=600).id
        for job in jobs_of(session, batch_id):
            _finish_at_once(job, data)
    puller = Puller(database, folder_store, batch_id, out)

    assert puller.pull_new() == 600
    assert puller.finish().images == 600


def _finish_at_once(job: Job, data: bytes) -> None:
    job.state = "done"
    job.image_sha256 = sha256_of(data)
    job.image_key = image_key(job.image_sha256)
    job.finished_at = START


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(
    database: Database, folder_store: FolderStore, batch_id: UUID, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, not a folder"):
        Puller(database, folder_store, batch_id, tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written to: Not a directory"):
        Puller(database, folder_store, batch_id, tmp_path / "file" / "out")


def test_nothing_half_written_is_left_in_the_folder(
    batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    drawer.draw(batch_id)
    puller.finish()

    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
