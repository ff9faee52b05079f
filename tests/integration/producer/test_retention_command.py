"""``tenstep gc --batches-older-than``, and what everybody says of a batch afterwards."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from producer.retention import drop_details, find_old_batches
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.tables import Batch, Job
from shared.settings import Settings
from shared.storage.base import IMAGES
from shared.storage.open import open_store
from support.api import ApiServer
from support.drawing import Drawer, picture
from support.factories import add_batch, add_price
from support.shell import Shell
from support.visits import visiting

LONG_AGO = timedelta(days=100)
GC = ("gc", "--older-than", "0s", "--batches-older-than", "90d")


@contextmanager
def opened() -> Iterator[Database]:
    database = Database(Settings().resolved_database_url)
    yield database
    database.close()


@pytest.fixture
def old(shell: Shell) -> str:
    """Two images that were drawn long ago; one of them is another batch's, too."""
    lines = [json.dumps({"prompt": f"prompt {name}", "custom_id": name}) for name in ("a", "b")]
    Path("p.jsonl").write_text("\n".join(lines), "utf-8")
    submitted = shell.json("submit", "p.jsonl", "--key", "mine")
    batch_id = UUID(submitted["batch_id"])
    with opened() as database:
        at = utc_now() - LONG_AGO
        with database.write() as session:
            add_price(session, effective_from=at - LONG_AGO)
            batch = session.get_one(Batch, batch_id)
            batch.created_at = batch.submitted_at = at
            session.flush()
        drawer = Drawer(database, open_store(Settings()), now=at, model="emoji-64")
        drawer.draw(batch_id)
        with database.write() as session:
            mark_stopped(session, drawer.worker_id, drawer.now)
            shared = session.scalars(select(Job.image_key).where(Job.batch_id == batch_id)).first()
            young = add_batch(session, jobs=1, created_at=utc_now(), model="emoji-64").id
        drawer = Drawer(database, open_store(Settings()), now=utc_now(), model="emoji-64")
        drawer.draw(young)
        with database.write() as session:
            session.scalars(select(Job).where(Job.batch_id == young)).one().image_key = shared
    return str(batch_id)


def images() -> Sequence[str]:
    return [found.key for found in open_store(Settings()).list(IMAGES)]


def test_old_batches_are_counted_asked_about_and_removed(shell: Shell, old: str) -> None:
    before = images()
    bill, status = shell.json("cost", old), shell.json("status", old)
    size = status["counts"]["done"] and sum(len(picture(seed)) for seed in _seeds(old))
    assert shell(*GC, "--dry-run") == 0
    assert shell.out.startswith(f"the 2 jobs of 1 old batch, {size:,} bytes of images: not removed")
    assert shell.json(*GC, "--dry-run")["old_batches"]["jobs"] == 2
    assert shell(*GC, "--tenant", "somebody", "--yes") == 0
    assert shell(*GC) == 2
    assert "nobody can be asked" in shell.err
    assert images() == before

    done = shell.json(*GC, "--yes")

    assert done["old_batches"] | {"entries": 0} == {
        "batches": 1,
        "jobs": 2,
        "entries": 0,
        "spared": [],
    }
    assert done["deleted"] == 1
    assert set(images()) < set(before)
    assert shell.json("cost", old) == bill
    after = shell.json("status", old)
    assert after["details_dropped_at"]
    same = ("counts", "cost_nanodollars", "state", "total", "finished")
    assert [after[name] for name in same] == [status[name] for name in same]
    assert shell.json(*GC, "--yes")["old_batches"]["batches"] == 0


def _seeds(batch_id: str) -> Sequence[int]:
    with opened() as database, database.read() as session:
        return session.scalars(select(Job.seed).where(Job.batch_id == UUID(batch_id))).all()


def test_what_needs_the_details_says_that_they_were_removed(shell: Shell, old: str) -> None:
    assert shell(*GC, "--yes") == 0
    assert "2 jobs of 1 old batch: removed; counts and costs remain" in shell.out
    for command in (
        ("jobs", old),
        ("show", "a", "--batch", old),
        *((name, old) for name in ("pull", "gallery", "retry", "pause", "resume", "cancel")),
        ("retry", old, "--job", "a"),
        ("cost", old, "--by", "job"),
        ("cost", old, "--jobs"),
    ):
        assert shell(*command) == 2, command
        assert f"batch {old}: its details were removed on 20" in shell.err, command
        assert f"tenstep cost {old}" in shell.err
    assert shell("status", old) == 0
    assert "removed   its jobs and images, on 20" in shell.out

    again = shell.json("submit", "p.jsonl", "--key", "mine")

    assert (again["batch_id"], again["was_there"]) == (old, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batches-older-than", "1h"), "at least 1d"),
        (("--batches-older-than", "soon"), "--batches-older-than: not an age: 'soon'"),
        (("--yes",), "are about --batches-older-than"),
    ],
)
def test_a_wrong_age_is_told(shell: Shell, arguments: Sequence[str], said: str) -> None:
    assert shell("gc", *arguments) == 2
    assert said in shell.err


@pytest.fixture
def dropped(api: ApiServer) -> str:
    at = utc_now() - LONG_AGO
    with api.database.write() as session:
        add_price(session, effective_from=at - LONG_AGO)
        batch_id = add_batch(session, created_at=at).id
    drawer = Drawer(api.database, api.store, now=at)
    drawer.draw(batch_id)
    with api.database.write() as session:
        mark_stopped(session, drawer.worker_id, drawer.now)
    moment = utc_now() - LONG_AGO / 2
    drop_details(api.database, find_old_batches(api.database, moment), moment)
    return str(batch_id)


def test_a_server_answers_that_the_details_are_gone(api: ApiServer, dropped: str) -> None:
    here = f"/api/batches/{dropped}"
    with api.client() as client:
        for path in ("/jobs", "/jobs/0", "/manifest"):
            _check_gone(client.get(here + path))
        for decision in ("retry", "cancel"):
            _check_gone(client.post(f"{here}/{decision}", json={}))
        _check_gone(client.patch(here, json={"control": "paused"}))
        status = client.get(here).raise_for_status().json()
        bill = client.get(f"{here}/bill").raise_for_status().json()
        listed = client.get("/api/batches").json()["batches"]
    assert (status["counts"]["done"], status["finished"]) == (3, True)
    assert status["cost_nanodollars"] == bill["total_nanodollars"] > 0
    [line] = [one for one in listed if one["batch_id"] == dropped]
    dropped_at = [datetime.fromisoformat(one["details_dropped_at"]) for one in (line, status)]
    assert dropped_at[0] == dropped_at[1]


def _check_gone(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (410, "details_dropped")


def test_its_page_shows_counts_and_costs_and_a_note(api: ApiServer, dropped: str) -> None:
    with visiting(api) as visit:
        shown = visit.page(f"/batches/{dropped}")
        assert "Its counts and costs remain." in shown.text
        assert "3 of 3 images" in shown.text
        assert "were removed" in visit.page(f"/batches/{dropped}/jobs", 410).text
        assert not [one for one in shown.all("a") if "manifest" in one.attributes["href"]]
        assert not shown.all("div", data_grid=f"/batches/{dropped}/images")


class Terminal(io.StringIO):
    """Somebody at a terminal, who types this."""

    def isatty(self) -> bool:
        return True


def test_somebody_at_a_terminal_is_asked(
    shell: Shell, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert shell(*GC) == 1
    assert "Remove the 2 jobs of 1 old batch, " in shell.err
    assert "nothing was removed" in shell.err
    assert images() == before
    assert shell.json("status", old)["details_dropped_at"] is None

    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert shell(*GC) == 0
    assert shell.json("status", old)["details_dropped_at"]


def test_commands_through_a_server_say_the_same(remote: Shell, dropped: str) -> None:
    for command in ("jobs", "pull", "retry", "resume"):
        assert remote(command, dropped) == 2, command
        assert f"batch {dropped}: its details were removed on 20" in remote.err, command
    assert remote("status", dropped) == 0
    assert "counts and costs remain" in remote.out
    assert remote("gc", "--batches-older-than", "90d") == 2
