"""Prompts submitted through a server, and what is decided about their batches."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from support.prompts import FRUIT
from support.shell import Shell, write


def test_a_file_is_submitted_once_and_bad_lines_are_listed(remote: Shell) -> None:
    file = write("once.jsonl", *FRUIT, '{"prompt": "once"}')

    assert remote("submit", file) == 2
    first, rejects = remote.out, remote.err.splitlines()
    assert first.splitlines()[0].endswith(": 3 images of emoji-64 in the queue")
    assert rejects[0] == "once.jsonl:2: prompt: must be a valid string"
    assert rejects[1].startswith("1 line was left out; listed in ")
    [listed] = Path(rejects[1].rpartition(" ")[2]).read_text().splitlines()
    assert json.loads(listed)["line_number"] == 2

    assert remote("submit", file, "--json") == 2
    again = json.loads(remote.out)
    assert again["batch_id"] == first.split()[1].rstrip(":")
    assert again["rejected"]["count"] == 1

    assert remote("submit", file, "--priority", "5") == 2
    assert "--key" in remote.err


def test_bad_lines_can_refuse_the_whole_file(remote: Shell) -> None:
    file = write("all-or-none.jsonl", *FRUIT, '{"prompt": "abort"}')

    assert remote("submit", file, "--on-error", "abort") == 2
    assert "all-or-none.jsonl:2: prompt" in remote.err
    assert "error: all-or-none.jsonl: 1 lines are bad" in remote.err

    assert remote("submit", file) == 2
    assert "3 images" in remote.out


def test_what_is_no_prompt_file_is_told_like_anywhere(remote: Shell) -> None:
    assert remote("submit", "missing.txt") == 2
    assert "missing.txt: no such file" in remote.err
    assert remote("submit", write("empty.txt", "")) == 2
    assert "holds no prompt" in remote.err
    assert remote("submit", write("p.txt", "a"), "--model", "nobody") == 2
    assert "nobody" in remote.err
    assert remote("submit", write("p.txt", "a"), "--tenant", "other") == 2
    assert "--tenant" in remote.err


def test_prompts_come_from_standard_input(remote: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO(b"from a pipe\n"))
    monkeypatch.setattr("sys.stdin", piped)

    submitted = remote.json("submit", "-", "--format", "text", "--name", "piped")

    assert (submitted["name"], submitted["total"]) == ("piped", 1)


def test_a_template_is_held_looked_at_and_decided_about(remote: Shell) -> None:
    held = remote.json(
        "submit", "--template", "a {c} cat", "--var", "c=red,blue,green", "--hold", "--sample", "1"
    )
    batch_id = held["batch_id"]
    counts = remote.json("status", batch_id)["counts"]
    assert (held["total"], counts["held"], counts["pending"]) == (3, 2, 1)

    assert remote("approve", batch_id[:20]) == 0
    assert remote.out == f"batch {batch_id}: 2 images no longer held\n"
    assert remote.json("pause", batch_id) == {"batch_id": batch_id, "control": "paused"}
    assert remote("resume", batch_id) == 0
    assert remote.out == f"batch {batch_id}: goes on\n"
    assert remote("budget", batch_id, "--max-cost", "0.5") == 0
    assert "$0.50" in remote.out
    assert remote.json("cancel", batch_id, "--job", "0") == {
        "batch_id": batch_id,
        "control": "active",
        "cancelled": 1,
    }
    assert remote.json("retry", batch_id, "--job", "0")["retried"] == 1
    assert remote("cancel", batch_id) == 0
    assert remote.out == f"batch {batch_id}: cancelled, 3 images of it not drawn\n"
    assert remote("watch", batch_id) == 0
    assert "3 cancelled" in remote.out


def test_the_newest_batch_is_meant_where_none_is_named(remote: Shell) -> None:
    newest = remote.json("submit", write("newest.txt", "the newest"))["batch_id"]

    assert remote.json("status")["batch_id"] == newest
    assert remote.json("jobs")["batch_id"] == newest


def test_the_start_of_several_ids_is_told(remote: Shell) -> None:
    for name in ("one", "another"):
        remote.json("submit", write(f"{name}.txt", name))

    assert remote("status", "0") == 2
    assert "several" in remote.err
