"""What a worker leaves in the store: each image and its thumbnail, and what that costs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import select

from shared.clock import utc_now
from shared.db.cost_tables import LedgerEntry, StoreRate
from shared.db.engine import Database
from shared.db.storage_costs import book_storage
from shared.domain.jobs import JobState, LedgerKind
from shared.messaging.contracts import RenderChunk
from shared.storage.base import IMAGES, THUMBNAILS, ObjectStore, thumbnail_key
from support.factories import add_batch, dispatch, jobs_of
from support.worker import render
from worker.runtime import Runtime

JOBS = 2


@pytest.fixture
def message(sqlite_database: Database) -> RenderChunk:
    """A chunk that is to be drawn."""
    with sqlite_database.write() as session:
        batch_id = add_batch(session, jobs=JOBS, created_at=utc_now()).id
        chunk_id = dispatch(session, batch_id, now=utc_now())
    return RenderChunk(chunk_id=chunk_id, batch_id=batch_id)


def stored(store: ObjectStore, prefix: str) -> dict[str, int]:
    return {found.key: found.bytes for found in store.list(prefix)}


def image_hashes(database: Database, batch_id: UUID) -> list[str]:
    with database.read() as session:
        jobs = jobs_of(session, batch_id)
        assert {job.state for job in jobs} == {JobState.DONE}
        return [job.image_sha256 or "" for job in jobs]


def used(database: Database, batch_id: UUID) -> dict[LedgerKind, int]:
    """Book the store's use up to now at some rate, and return the quantities."""
    now = utc_now()
    rate = StoreRate(
        nanodollars_per_gib_month=23_000_000,
        nanodollars_per_thousand_requests=5_000_000,
        effective_from=now,
        source="a test",
    )
    with database.write() as session:
        session.add(rate)
        session.flush()
        book_storage(session, now.date())
    with database.read() as session:
        entries = session.scalars(select(LedgerEntry).where(LedgerEntry.batch_id == batch_id))
        return {LedgerKind(entry.kind): entry.quantity or 0 for entry in entries}


def test_an_image_has_its_thumbnail_beside_it_and_both_are_in_the_books(
    runtime: Runtime, sqlite_database: Database, store: ObjectStore, message: RenderChunk
) -> None:
    render(replace(runtime, store=store), message)

    hashes = image_hashes(sqlite_database, message.batch_id)
    images, thumbnails = stored(store, IMAGES), stored(store, THUMBNAILS)
    assert set(thumbnails) == {thumbnail_key(sha256) for sha256 in hashes}
    with Image.open(io.BytesIO(store.get(thumbnail_key(hashes[0])))) as image:
        assert (image.format, image.size) == ("WEBP", (64, 64))
    booked = used(sqlite_database, message.batch_id)
    assert booked[LedgerKind.REQUESTS] == 2 * JOBS
    assert booked[LedgerKind.STORAGE] == sum(images.values()) + sum(thumbnails.values())
    with sqlite_database.read() as session:
        told = sum(job.image_bytes or 0 for job in jobs_of(session, message.batch_id))
    assert told == sum(images.values()), "the images' own sizes are told without thumbnails"


def test_without_thumbnails_nothing_more_is_stored_and_booked(
    runtime: Runtime, sqlite_database: Database, message: RenderChunk
) -> None:
    settings = runtime.settings.model_copy(update={"thumbnails": False})

    render(replace(runtime, settings=settings), message)

    images = stored(runtime.store, "")
    assert len(images) == len(image_hashes(sqlite_database, message.batch_id))
    booked = used(sqlite_database, message.batch_id)
    assert booked[LedgerKind.REQUESTS] == JOBS
    assert booked[LedgerKind.STORAGE] == sum(images.values())


def test_an_image_is_done_where_the_store_refuses_its_thumbnail(
    runtime: Runtime, sqlite_database: Database, message: RenderChunk, tmp_path: Path
) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "thumbnails").write_text("a file where the folder should be", "utf-8")

    render(runtime, message)

    assert len(image_hashes(sqlite_database, message.batch_id)) == JOBS
    images = stored(runtime.store, IMAGES)
    assert used(sqlite_database, message.batch_id)[LedgerKind.STORAGE] == sum(images.values())
