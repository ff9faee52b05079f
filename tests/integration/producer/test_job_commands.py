"""``tenstep jobs`` and ``tenstep show``: what they print, and what they refuse."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPICursor

from producer.jobs import POSITIONS_A_LOOK
from shared.clock import utc_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.storage.open import open_store
from support.drawing import Drawer
from support.shell import Shell

WIDTH = 80


@pytest.fixture
def database(shell: Shell) -> Iterator[Database]:
    database = Database(Settings().resolved_database_url)
    yield database
    database.close()


@pytest.fixture
def batch_id(shell: Shell, database: Database) -> str:
    """Four jobs: one done, one failed, two pending."""
    prompts = {"a": "a red fox in deep snow " * 9, "b": "an owl", "c": "50% off", "d": "a fox"}
    lines = [json.dumps({"prompt": text, "custom_id": name}) for name, text in prompts.items()]
    Path("p.jsonl").write_text("\n".join(lines), "utf-8")
    submitted: str = shell.json("submit", "p.jsonl")["batch_id"]
    drawer = Drawer(database, open_store(Settings()), now=utc_now(), model="emoji-64")
    first, second = drawer.claim(UUID(submitted), 2)
    drawer.finish(first)
    drawer.fail(second, code="out_of_memory")
    return submitted


def test_pages_for_programs(shell: Shell, batch_id: str) -> None:
    page = shell.json("jobs", "--limit", "3")
    assert page["batch_id"] == batch_id
    assert [job["position"] for job in page["jobs"]] == [0, 1, 2]
    assert (page["next"], page["is_partial"]) == (2, False)

    page = shell.json("jobs", batch_id, "--limit", "3", "--after", "2")
    assert [job["custom_id"] for job in page["jobs"]] == ["d"]
    assert page["next"] is None


def test_filters(shell: Shell, batch_id: str) -> None:
    def positions(*arguments: str) -> list[int]:
        return [job["position"] for job in shell.json("jobs", *arguments)["jobs"]]

    assert positions("--state", "failed") == [1]
    assert positions("--error", "out_of_memory") == [1]
    assert positions("--text", "FOX") == [0, 3]
    assert positions("--text", "0%") == [2]
    assert positions("--text", "fox", "--state", "pending") == [3]


def test_a_page_for_people_keeps_to_the_width(shell: Shell, batch_id: str) -> None:
    assert shell("jobs", "--limit", "2") == 0

    heading, first, second = shell.out.splitlines()
    assert max(len(line) for line in (heading, first, second)) <= WIDTH
    assert heading.split() == ["job", "custom_id", "state", "tries", "cost", "prompt", "result"]
    assert first.split()[:6] == ["0", "a", "done", "1", "$0.000021", "a"]
    assert "out_of_memory" in second
    assert shell.err == f"more: tenstep jobs {batch_id} --after 1\n"


def test_the_next_page_is_asked_for_with_the_same_filters(shell: Shell, batch_id: str) -> None:
    shell("jobs", "--text", "a fox; rm", "--limit", "1")
    assert (shell.out, shell.err) == ("", "no job is like that\n")

    shell("jobs", "--text", "fox", "--limit", "1")
    assert shell.err == f"more: tenstep jobs {batch_id} --text fox --after 0\n"


def test_a_search_goes_on_until_it_has_found_or_seen_all(shell: Shell) -> None:
    lines = ["a photo"] * (2 * POSITIONS_A_LOOK) + ["a fox"]
    Path("p.txt").write_text("\n".join(lines), "utf-8")
    shell("submit", "p.txt")

    page = shell.json("jobs", "--text", "fox")
    assert [job["position"] for job in page["jobs"]] == [2 * POSITIONS_A_LOOK]
    assert (page["next"], page["is_partial"], page["looked_through"]) == (None, False, None)


def test_ctrl_c_shows_what_was_found_and_how_to_go_on(shell: Shell) -> None:
    lines = ["a fox"] + ["a photo"] * (2 * POSITIONS_A_LOOK)
    Path("p.txt").write_text("\n".join(lines), "utf-8")
    submitted = shell.json("submit", "p.txt")["batch_id"]
    looks = count(1)

    def press_ctrl_c(_connection: Connection, _cursor: DBAPICursor, sql: str, *_: object) -> None:
        if "LIKE" in sql and next(looks) == 2:
            signal.raise_signal(signal.SIGINT)

    event.listen(Engine, "before_cursor_execute", press_ctrl_c)
    try:
        code = shell("jobs", "--text", "fox")
    finally:
        event.remove(Engine, "before_cursor_execute", press_ctrl_c)

    assert code == 130
    assert "a fox" in shell.out
    assert shell.err.splitlines() == [
        f"looked through positions 0 to {POSITIONS_A_LOOK - 1:,}",
        f"more: tenstep jobs {submitted} --text fox --after {POSITIONS_A_LOOK - 1}",
        "interrupted: the batch was not looked through to its end",
    ]


def test_a_job_for_people_keeps_to_the_width(shell: Shell, batch_id: str) -> None:
    assert shell("show", "a") == 0

    lines = shell.out.splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    assert lines[0] == "job 0: done"
    assert batch_id in lines[2]
    text = " ".join(shell.out.split())
    key = shell.json("show", "a")["image"]["key"]
    for expected in (
        "prompt a red fox in deep snow",
        "settings seed 0, 64x64, dpmsolver++",
        f"image, 69 bytes {key}",
        "cost $0.000021250 for 1 attempt",
        "1 done on host, cpu (a device)",
        "denoise 900.0 ms ███",
        "done (attempt 1)",
    ):
        assert expected in text


def test_a_failed_job_and_one_that_waits(shell: Shell, batch_id: str) -> None:
    shell("show", "1", "--batch", batch_id[:18])
    assert "error      out_of_memory: job 1 cannot be drawn" in shell.out
    assert "1  failed  on host" in shell.out

    shell("pause", batch_id)
    shell("show", "d")
    assert "waiting    Its batch is paused" in shell.out
    assert "attempts\n" not in shell.out


def test_all_of_a_job_for_programs(shell: Shell, batch_id: str) -> None:
    job = shell.json("show", "b")

    assert shell.json("show", job["job_id"]) == job
    assert (job["batch_id"], job["position"], job["state"]) == (batch_id, 1, "failed")
    assert job["attempts"][0]["reason"]["code"] == "out_of_memory"
    assert job["timeline"][0]["event"] == "submitted"


def test_a_custom_id_of_two_batches_is_that_of_the_newest(shell: Shell, batch_id: str) -> None:
    Path("q.jsonl").write_text('{"prompt": "a whale", "custom_id": "a"}\n', "utf-8")
    newest = shell.json("submit", "q.jsonl")["batch_id"]

    assert shell.json("show", "a")["batch_id"] == newest
    assert shell.json("show", "a", "--batch", batch_id)["batch_id"] == batch_id


def test_a_start_of_an_id_that_two_batches_have_is_refused(shell: Shell, batch_id: str) -> None:
    Path("q.txt").write_text("a whale\n", "utf-8")
    shell("submit", "q.txt")

    for command in (("show", "a", "--batch", "0"), ("jobs", "0")):
        assert shell(*command) == 2
        assert shell.err == "error: 0 is the start of several batch ids: give more of it\n"


def test_a_name_that_several_images_have_is_refused(shell: Shell) -> None:
    Path("p.jsonl").write_text('{"prompt": "a cat", "custom_id": "cat", "n": 3}\n', "utf-8")
    submitted = shell.json("submit", "p.jsonl")["batch_id"]

    assert shell("show", "cat") == 2
    assert shell.err.splitlines() == [
        f"error: cat is 3 images of batch {submitted}",
        "  Name one by its position: 0 to 2.",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nobody"),
        ("show", "0", "--batch", "ffff"),
        ("show", "\udcff"),
        ("jobs", "ffff"),
        ("jobs", "--after", "-1"),
        ("jobs", "--after", "page-2"),
        ("jobs", "--after", str(2**63)),
        ("jobs", "--limit", "0"),
        ("jobs", "--state", "broken"),
        ("jobs", "--state", "done", "--error", "broken"),
        ("jobs", "--text", ""),
        ("jobs", "--text", "\udcff"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    shell: Shell, batch_id: str, arguments: tuple[str, ...]
) -> None:
    assert shell(*arguments) == 2
    assert shell.out == ""
    errors = [line for line in shell.err.splitlines() if not line.startswith("  ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")


def test_without_a_database_there_is_nothing_to_list(shell: Shell) -> None:
    for command in (("jobs",), ("show", "1")):
        assert shell(*command) == 2
        assert "there is no batch yet" in shell.err
