"""``tenstep gc``, ``retry`` and ``cancel --job``: what they print and what they change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from shared.clock import utc_now
from shared.db.engine import Database
from shared.domain.jobs import JobState
from shared.settings import Settings
from shared.storage.open import open_store
from support.drawing import Drawer
from support.factories import jobs_of
from support.shell import Shell


@pytest.fixture
def batch_id(shell: Shell) -> str:
    """Four jobs: one done, two failed, one pending."""
    lines = [{"prompt": f"prompt {name}", "custom_id": name} for name in ("a", "b", "c", "3000")]
    Path("p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    submitted: str = shell.json("submit", "p.jsonl")["batch_id"]
    database = Database(Settings().resolved_database_url)
    drawer = Drawer(database, open_store(Settings()), now=utc_now(), model="emoji-64")
    first, second, third = drawer.claim(UUID(submitted), 3)
    drawer.finish(first)
    drawer.fail(second)
    drawer.fail(third)
    database.close()
    return submitted


def states(batch_id: str) -> Sequence[str]:
    database = Database(Settings().resolved_database_url)
    with database.read() as session:
        found = [job.state for job in jobs_of(session, UUID(batch_id))]
    database.close()
    return found


def test_failed_jobs_are_tried_again(shell: Shell, batch_id: str) -> None:
    assert states(batch_id) == ["done", "failed", "failed", "pending"]

    assert shell.json("retry", batch_id) == {"batch_id": batch_id, "retried": 2}

    assert states(batch_id) == ["done", "pending", "pending", "pending"]
    assert (shell("retry", batch_id), shell.out) == (0, f"batch {batch_id}: 0 images tried again\n")


@pytest.mark.parametrize("name", ["c", "2"])
def test_one_job_is_tried_again_by_its_own_id_or_its_position(
    shell: Shell, batch_id: str, name: str
) -> None:
    assert (shell("retry", batch_id, "--job", name), shell.out) == (
        0,
        f"batch {batch_id}: 1 image tried again\n",
    )

    assert states(batch_id) == ["done", "failed", "pending", "pending"]


def test_a_job_that_is_done_is_not_drawn_again(shell: Shell, batch_id: str) -> None:
    assert shell.json("retry", batch_id, "--job", "a")["retried"] == 0

    assert states(batch_id)[0] == JobState.DONE


def test_a_job_that_was_called_off_can_be_wanted_again(shell: Shell, batch_id: str) -> None:
    cancelled = shell.json("cancel", batch_id, "--job", "3000", "--job", "a")
    assert cancelled == {"batch_id": batch_id, "control": "active", "cancelled": 1}
    assert states(batch_id) == ["done", "failed", "failed", "cancelled"]

    assert shell.json("retry", batch_id, "--job", "3000")["retried"] == 1

    assert states(batch_id) == ["done", "failed", "failed", "pending"]


def test_a_job_that_is_not_there_is_told_and_nothing_changes(shell: Shell, batch_id: str) -> None:
    for command in ("retry", "cancel"):
        assert shell(command, batch_id, "--job", "b", "--job", "nobody") == 2
        assert f"batch {batch_id} has no job nobody" in shell.err

    assert states(batch_id) == ["done", "failed", "failed", "pending"]


def test_a_cancelled_batch_is_not_tried_again(shell: Shell, batch_id: str) -> None:
    shell.json("cancel", batch_id)

    assert shell("retry", batch_id) == 2
    assert shell.err == f"error: batch {batch_id} was cancelled\n"


def test_garbage_is_counted_and_removed(shell: Shell, batch_id: str) -> None:
    store = open_store(Settings())
    store.put("images/00/nobody.png", b"data", "image/png")
    for name in ("nobody", "nobody-else"):
        store.put(f"thumbnails/00/{name}.webp", b"data", "image/webp")

    none = {"orphans": 0, "orphan_bytes": 0, "deleted": 0}
    assert shell.json("gc") == {"objects": 2, **none, "thumbnails": {"objects": 2, **none}}
    assert (shell("gc", "--older-than", "0", "--dry-run"), shell.out) == (
        0,
        (
            "1 image of 2 in the store without a job, 4 bytes: not removed\n"
            "2 thumbnails of 2 in the store without a job, 8 bytes: not removed\n"
        ),
    )
    done = shell.json("gc", "--older-than", "0s")
    assert (done["deleted"], done["thumbnails"]["deleted"]) == (1, 2)
    assert shell.json("gc", "--older-than", "0s")["objects"] == 1


def test_an_age_that_is_none_is_refused(shell: Shell, batch_id: str) -> None:
    assert shell("gc", "--older-than", "yesterday") == 2
    assert "--older-than: not an age" in shell.err
