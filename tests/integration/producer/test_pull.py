"""Pulling fills a folder with what is drawn, as often as it is asked to."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pyarrow import parquet

from producer.progress import unseen
from producer.pull import Puller, PullOptions, pull_objects
from producer.pull_format import ManifestKind
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import note_new
from shared.domain.jobs import JobState
from shared.errors import InputError
from shared.storage.base import ObjectStore, image_key, sha256_of
from shared.storage.folder import FolderStore
from support.drawing import RECORD, Drawer, picture
from support.factories import START, add_batch, jobs_of, new_job

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


def test_a_batch_may_grow_while_it_is_pulled(
    database: Database, batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    drawer.draw(batch_id)
    puller.pull_new()
    with database.write() as session:
        session.add_all(new_job(batch_id, JOBS + index) for index in range(100))
        note_new(session, batch_id, JobState.PENDING, 100)
        session.get_one(Batch, batch_id).total += 100
    drawer.draw(batch_id, 2)

    pulled = puller.finish()
    assert (pulled.images, pulled.written) == (JOBS + 2, JOBS + 2)
    assert len(manifest_in(out)) == JOBS + 100


def test_an_image_that_was_drawn_for_another_job_tells_what_drew_it(
    database: Database, batch_id: UUID, drawer: Drawer, folder_store: FolderStore, out: Path
) -> None:
    drawer.draw(batch_id, 1)
    with database.write() as session:
        drawn = jobs_of(session, batch_id)[0]
        again = add_batch(session, jobs=1).id
        [job] = jobs_of(session, again)
        job.state, job.finished_at, job.reused_from = "done", START, drawn.id
        job.image_key, job.image_sha256 = drawn.image_key, drawn.image_sha256
        drawn_id = str(drawn.id)
    Puller(database, folder_store, again, out).finish()

    [line] = manifest_in(out)
    assert line["reused_from"] == drawn_id
    assert line["attempt"]["record"] == RECORD
    assert (line["cost_nanodollars"], line["attempts"]) == (0, 0)


def test_failed_attempts_at_an_image_are_part_of_its_cost(
    batch_id: UUID, drawer: Drawer, puller: Puller, out: Path
) -> None:
    [held] = drawer.claim(batch_id, 1)
    drawer.fail(held, retry_after=timedelta(0))
    drawer.draw(batch_id, 1)
    puller.finish()

    line = manifest_in(out)[0]
    assert (line["attempts"], line["attempt"]["number"]) == (2, 2)
    assert line["cost_nanodollars"] == 2 * line["attempt"]["cost_nanodollars"] == 2 * 21_250


def test_metadata_is_in_the_manifest_as_it_was_given(
    database: Database, batch_id: UUID, puller: Puller, out: Path
) -> None:
    given = {"größe": 'a "line"\nbreak', "list": [1, 2.5, None]}
    with database.write() as session:
        jobs_of(session, batch_id)[0].details = given
    puller.finish()

    assert [line["metadata"] for line in manifest_in(out)] == [given] + [{}] * (JOBS - 1)


def test_parquet_holds_the_same_with_types(
    batch_id: UUID, drawer: Drawer, database: Database, folder_store: FolderStore, out: Path
) -> None:
    first, second, _ = drawer.claim(batch_id, 3)
    drawer.fail(second)
    drawer.finish(first)
    options = PullOptions(manifest=ManifestKind.BOTH)
    pulled = Puller(database, folder_store, batch_id, out, options).finish()

    assert pulled.manifests == ["manifest.jsonl", "manifest.parquet"]
    table = parquet.read_table(out / "manifest.parquet")
    assert table.schema.metadata[b"tenstep_batch_id"] == str(batch_id).encode()
    rows, lines = table.to_pylist(), manifest_in(out)
    same = ("position", "prompt", "seed", "state", "file", "key", "sha256", "bytes", "attempts")
    assert [[row[name] for name in same] for row in rows] == [
        [line[name] for name in same] for line in lines
    ]
    assert rows[0]["cost_nanodollars"] == 21_250
    assert rows[0]["denoise_ns"] == 900_000_000
    assert rows[0]["finished_at"] == START + timedelta(seconds=2)
    assert (rows[0]["precision"], json.loads(rows[0]["record"])) == ("float32", RECORD)
    assert rows[1]["error_code"] == "bad_prompt"
    assert rows[2]["device_kind"] is None


def test_only_the_manifests_that_are_asked_for_are_written(
    batch_id: UUID, drawer: Drawer, database: Database, folder_store: FolderStore, out: Path
) -> None:
    drawer.draw(batch_id, 1)
    options = PullOptions(manifest=ManifestKind.NONE)
    pulled = Puller(database, folder_store, batch_id, out, options).finish()

    assert (pulled.images, pulled.manifests) == (1, ())
    assert [path.name for path in out.iterdir()] == ["00000000-prompt-0.png"]


def test_a_manifest_alone_fetches_nothing_and_tells_what_is_there(
    batch_id: UUID, drawer: Drawer, database: Database, folder_store: FolderStore, out: Path
) -> None:
    drawer.draw(batch_id, 2)
    Puller(database, folder_store, batch_id, out).finish()
    drawer.draw(batch_id)
    options = PullOptions(manifest_only=True)
    pulled = Puller(database, folder_store, batch_id, out, options).finish()

    assert (pulled.images, pulled.written, len(images_in(out))) == (2, 0, 2)
    assert [line["file"] is not None for line in manifest_in(out)] == [True] * 2 + [False] * 4
    assert {line["state"] for line in manifest_in(out)} == {"done"}


def test_images_go_to_object_storage_and_are_not_sent_twice(
    sqlite_database: Database, store: ObjectStore, folder_store: FolderStore
) -> None:
    with sqlite_database.write() as session:
        batch_id = add_batch(session, jobs=JOBS).id
    drawer = Drawer(sqlite_database, folder_store, now=START)
    data = drawer.draw(batch_id, 3)
    options = PullOptions()

    pulled = pull_objects(sqlite_database, folder_store, batch_id, store, options, unseen)
    assert (pulled.images, pulled.written) == (3, 3)
    assert store.get("00000002-prompt-2.png") == data[2]
    store.put("00000001-prompt-1.png", data[1][:20], "image/png")
    drawer.draw(batch_id)
    pulled = pull_objects(sqlite_database, folder_store, batch_id, store, options, unseen)
    assert (pulled.images, pulled.written) == (JOBS, JOBS - 3 + 1)
    assert store.get("00000001-prompt-1.png") == data[1]
    lines = [json.loads(line) for line in store.get("manifest.jsonl").splitlines()]
    assert all(store.get(line["file"]) for line in lines)


def test_object_storage_that_holds_another_batch_is_refused(
    sqlite_database: Database, store: ObjectStore, folder_store: FolderStore
) -> None:
    with sqlite_database.write() as session:
        first, second = (add_batch(session, jobs=1).id for _ in range(2))
    pull_objects(sqlite_database, folder_store, first, store, PullOptions(), unseen)

    with pytest.raises(InputError, match="holds another batch"):
        pull_objects(sqlite_database, folder_store, second, store, PullOptions(), unseen)


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
