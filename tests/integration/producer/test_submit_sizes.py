"""Sizes that no live worker can draw are refused before anybody waits for them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from producer.order import Order, RefusedError
from producer.settle import BatchDefaults
from shared.clock import utc_now
from shared.db.engine import Database
from shared.errors import InputError
from support.api import ApiServer
from support.factories import add_worker
from support.prompts import submit_text

LINES = '{"prompt": "a"}\n{"prompt": "b", "width": 128, "height": 128}\n{"prompt": "c"}\n'
CARD_SIZE = [64, 48]


def live(database: Database, *sizes: list[list[int]] | None) -> None:
    """Add workers that are alive, each with the sizes it can draw."""
    with database.write() as session:
        for known in sizes:
            add_worker(session, started_at=utc_now(), sizes=known)


def test_lines_of_a_size_that_no_live_worker_draws_are_rejected(
    database: Database, tmp_path: Path
) -> None:
    live(database, [CARD_SIZE], [[96, 96], CARD_SIZE])

    submission = submit_text(database, tmp_path, LINES, name="p.jsonl")

    assert submission.total == 2
    [line] = submission.rejects.first
    assert (line.line_number, line.field) == (2, "width")
    assert "images of 128 x 128: they draw 64 x 48, 96 x 96" in line.reason
    assert "tenstep model compile tiny --target qaic --size 128x128" in line.reason


@pytest.mark.parametrize("sizes", [[], [[CARD_SIZE], None], [[CARD_SIZE], [[128, 128]]]])
def test_what_one_live_worker_may_draw_is_taken_and_without_workers_everything(
    sizes: list[list[list[int]] | None], sqlite_database: Database, tmp_path: Path
) -> None:
    live(sqlite_database, *sizes)

    assert submit_text(sqlite_database, tmp_path, LINES, name="p.jsonl").total == 3


def test_workers_that_are_gone_or_have_another_model_refuse_nothing(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with sqlite_database.write() as session:
        gone = add_worker(session, started_at=utc_now() - timedelta(hours=1), sizes=[CARD_SIZE])
        gone.stopped_at = utc_now()
        add_worker(session, started_at=utc_now(), sizes=[CARD_SIZE]).model = "another"

    assert submit_text(sqlite_database, tmp_path, LINES, name="p.jsonl").total == 3


def test_a_size_for_a_whole_batch_is_refused_with_those_that_there_are(
    sqlite_database: Database, tmp_path: Path
) -> None:
    live(sqlite_database, [CARD_SIZE])

    with pytest.raises(InputError, match="they draw 64 x 48") as refused:
        submit_text(sqlite_database, tmp_path, "a\n", width=128)

    assert not isinstance(refused.value, RefusedError)
    assert refused.value.hint is not None
    assert "--size 128x48" in refused.value.hint


def test_what_was_begun_goes_on_as_it_was_read_before(
    sqlite_database: Database, tmp_path: Path
) -> None:
    order = Order(BatchDefaults(), key="monday")
    first = submit_text(sqlite_database, tmp_path, LINES, name="p.jsonl", order=order)
    live(sqlite_database, [CARD_SIZE])

    again = submit_text(sqlite_database, tmp_path, LINES, name="p.jsonl", order=order)

    assert again.batch_id == first.batch_id
    assert (again.total, again.rejects.count) == (3, 0)


def test_a_server_says_the_same(api: ApiServer) -> None:
    with api.database.write() as session:
        worker = add_worker(session, started_at=utc_now(), sizes=[[64, 64]])
        worker.model = api.settings.model
    with api.client() as client:
        made = client.post("/api/batches", json={"prompts": [{"prompt": "a", "width": 128}]})
        whole = client.post("/api/batches", json={"prompts": ["a"], "width": 128})
    with api.database.write() as session:
        session.merge(worker).stopped_at = utc_now()

    for response in (made, whole):
        assert response.status_code == 422
        assert "they draw 64 x 64" in response.text
