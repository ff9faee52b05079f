"""The commands, run in this process on a real database: what they print, and exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.clock import utc_now
from shared.db.batches import find_batch
from shared.db.engine import Database
from shared.db.tables import Job
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.open import open_store
from support.drawing import Drawer
from support.grids import FOUR, THREE, keep_grids
from support.shell import Shell


def write(name: str, text: str) -> str:
    Path(name).write_text(text, "utf-8")
    return name


def draw_some(batch_id: str, images: int) -> None:
    settings = Settings()
    database = Database(settings.resolved_database_url)
    drawer = Drawer(database, open_store(settings), now=utc_now(), model="emoji-64")
    drawer.draw(UUID(batch_id), images)
    database.close()


def test_a_batch_from_submission_to_bill(shell: Shell) -> None:
    batch_id = shell.json("submit", write("p.txt", "a dog\na cat\na car\n"))["batch_id"]
    draw_some(batch_id, 2)

    status = shell.json("status")
    assert status["batch_id"] == batch_id
    assert (status["counts"]["done"], status["counts"]["pending"], status["total"]) == (2, 1, 3)
    bill = shell.json("cost", "--jobs")
    assert sum(line["nanodollars"] for line in bill["lines"]) == bill["total_nanodollars"]
    assert bill["total_nanodollars"] == status["cost_nanodollars"] == 2 * 21_250
    assert [job["nanodollars"] for job in bill["jobs"]] == [21_250, 21_250, 0]
    pulled = shell.json("pull", "--out", "pictures")
    assert (pulled["images"], pulled["written"], pulled["total"]) == (2, 2, 3)
    assert sorted(path.name for path in Path("pictures").iterdir()) == [
        "00000000-a-dog.png",
        "00000001-a-cat.png",
        "contact-sheet.png",
        "manifest.jsonl",
    ]


def test_the_same_for_people(shell: Shell) -> None:
    assert shell("submit", write("p.txt", "a dog\na cat\n")) == 0
    batch_id = shell.out.split()[1].rstrip(":")
    draw_some(batch_id, 1)

    assert shell("status") == 0
    assert f"batch {batch_id}: waiting" in shell.out
    assert "1 pending, 1 done = 2 in all" in shell.out
    assert shell("cost") == 0
    assert "$0.000021250" in shell.out
    assert shell("pull") == 0
    assert shell.out == "1 of 2 images in renders/p, 1 of them new\n"
    assert shell("status", "--all") == 0
    assert batch_id in shell.out


def test_a_batch_is_paused_resumed_and_cancelled(shell: Shell) -> None:
    batch_id = shell.json("submit", write("p.txt", "a dog\na cat\n"))["batch_id"]

    assert shell.json("pause", batch_id)["control"] == "paused"
    assert "It is paused" in shell.json("status", batch_id)["why_idle"]
    assert shell.json("resume", batch_id)["control"] == "active"
    assert shell.json("cancel", batch_id)["cancelled"] == 2
    assert shell.json("status", batch_id)["state"] == "cancelled"
    assert shell("resume", batch_id) == 2
    assert shell.err == f"error: batch {batch_id} was cancelled\n"


def test_watch_ends_with_the_batch(shell: Shell) -> None:
    batch_id = shell.json("submit", write("p.txt", "a dog\n"))["batch_id"]
    draw_some(batch_id, 1)

    assert shell("watch", "--json") == 0
    [line] = shell.out.splitlines()
    assert json.loads(line)["finished"] is True
    assert shell("watch") == 0
    assert "p.txt: 1 of 1 done" in shell.err
    assert f"batch {batch_id}: finished" in shell.out


def test_the_good_lines_of_a_partly_bad_file_are_submitted_and_the_bad_listed(
    shell: Shell,
) -> None:
    good, bad = '{"prompt": "a"}\n', '{"prompt": "a", "seed": -1}\n'

    assert shell("submit", write("p.jsonl", good + bad * 25 + good)) == 2
    assert "2 images of emoji-64 in the queue" in shell.out
    complaints = shell.err.splitlines()
    assert complaints[0] == "p.jsonl:2: seed: must be greater than or equal to 0"
    assert complaints[19].startswith("p.jsonl:21: ")
    assert complaints[20] == "and 5 more"
    assert complaints[21].startswith("25 lines were left out; listed in ")
    listed = Path(complaints[21].rpartition(" ")[2]).read_text("utf-8")
    assert len(listed.splitlines()) == 25


def test_rejects_of_a_partly_bad_file_are_part_of_its_json(shell: Shell) -> None:
    assert shell("submit", write("p.jsonl", '{"prompt": "a"}\n{}\n'), "--json") == 2

    rejected = json.loads(shell.out)["rejected"]
    assert rejected["count"] == 1
    assert rejected["first"][0] == {
        "line_number": 2,
        "field": "prompt",
        "reason": "is missing",
        "raw": "{}",
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gone.txt", None, "error: gone.txt: no such file"),
        ("p.txt", "", "error: p.txt: holds no prompt"),
        ("p.csv", "text\na\n", "error: p.csv:1: no column named prompt (columns: text)"),
        ("p.jsonl", "{\n", "error: p.jsonl: no line of it can be drawn"),
        ("p.png", "", "error: p.png: cannot tell the format from .png"),
    ],
)
def test_a_file_that_gives_no_image_is_one_clear_line_and_no_batch(
    shell: Shell, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        write(name, text)

    assert shell("submit", name) == 2
    assert shell.out == ""
    assert [line for line in shell.err.splitlines() if line.startswith("error")] == [said]
    assert shell.json("status", "--all") == {"batches": []}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "-1"], "--seed: must be greater than or equal to 0"),
        (["--width", "63"], "--width: must be a multiple of 8"),
        (["--guidance-scale", "99"], "--guidance-scale: must be less than or equal to 50"),
        (["--squeeze", "6"], "squeeze is two whole numbers such as 10,6, not '6'"),
        (["--squeeze", "10,6", "--steps", "5"], "squeeze 10,6 keeps 6 of only 5 steps"),
        (["--scheduler", "heun"], "--scheduler: must be 'dpmsolver++', 'ddim', 'euler', 'unipc'"),
        (["--scheduler", "ddim", "--squeeze", "10,6"], "a squeeze is for dpmsolver++, not for"),
        (["--scheduler", "searched", "--squeeze", "9,5"], "a squeeze is for dpmsolver++, not for"),
        (["--scheduler", "searched", "--steps", "5"], "no grid of 5 steps was searched for"),
        (["--scheduler", "searched"], "no grid of 16 steps was searched for this model"),
        (["--model", "none"], "no model 'none'"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--colour"], "No such option: --colour"),
    ],
)
def test_a_bad_option_is_one_clear_line(shell: Shell, options: Sequence[str], said: str) -> None:
    assert shell("submit", write("p.txt", "a\n"), *options) == 2
    assert shell.err.startswith(f"error: {said}")


def test_a_scheduler_is_chosen_for_the_batch_and_by_a_line(shell: Shell) -> None:
    lines = '{"prompt": "a"}\n{"prompt": "b", "scheduler": "unipc"}\n'
    shell.json("submit", write("p.jsonl", lines), "--scheduler", "ddim")

    database = Database(Settings().resolved_database_url)
    with database.read() as session:
        jobs = session.scalars(select(Job).order_by(Job.position)).all()
        found = [(job.scheduler, job.steps, job.squeeze) for job in jobs]
    database.close()
    assert found == [("ddim", 16, None), ("unipc", 16, None)]


def test_searched_grids_are_asked_for_by_lines_of_a_model_that_has_them(
    shell: Shell, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(load_card("emoji-64").folder, tmp_path / "model"))
    keep_grids(folder, THREE, FOUR)
    lines = [{"prompt": "a", "scheduler": "searched", "steps": steps} for steps in (3, 4, 5)]
    file = write("p.jsonl", "\n".join([*map(json.dumps, lines), '{"prompt": "plain"}']))
    ours = ("--model", str(folder))

    assert shell("submit", file, *ours, "--on-error", "abort") == 2
    assert "p.jsonl:3: steps: no grid of 5 steps" in shell.err
    assert shell.json("status", "--all") == {"batches": []}

    assert shell("submit", file, *ours) == 2
    assert "p.jsonl:3: steps: no grid of 5 steps was searched for this model" in shell.err
    assert "there are grids of 3, 4" in shell.err
    database = Database(Settings().resolved_database_url)
    with database.read() as session:
        jobs = session.scalars(select(Job).order_by(Job.position)).all()
        found = [(job.scheduler, job.steps, job.squeeze) for job in jobs]
    database.close()
    assert found == [("searched", 3, None), ("searched", 4, None), ("dpmsolver++", 16, "10,6")]


def test_errors_are_json_when_json_is_asked_for(shell: Shell) -> None:
    assert shell("submit", "gone.txt", "--json") == 2

    assert json.loads(shell.err) == {
        "error": {
            "type": "InputError",
            "message": "gone.txt: no such file",
            "hint": None,
            "exit_code": 2,
        }
    }


def test_looking_for_a_batch_where_there_is_none_makes_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    assert shell("status") == 2
    assert shell.err.startswith("error: there is no batch yet")
    assert not (tmp_path / "data").exists()


def test_a_database_that_does_not_answer_is_told_without_its_password(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_DATABASE_URL", "postgresql+psycopg://u:hush@127.0.0.1:1/x")

    assert shell("status") == 2
    assert "127.0.0.1" in shell.err
    assert "hush" not in shell.err
    assert "Traceback" not in shell.err


def test_an_error_that_nobody_foresaw_is_one_line_and_a_traceback_in_a_file(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr("producer.cli.local.read_status", break_down)
    shell.json("submit", write("p.txt", "a\n"))

    assert shell("status") == 1
    first, second = shell.err.splitlines()
    assert first == "error: this should not have happened: ZeroDivisionError: no"
    log = tmp_path / "data" / "logs" / f"error-{os.getpid()}.log"
    assert str(log) in second
    assert "Traceback" in log.read_text("utf-8")


def test_an_image_that_is_gone_from_the_store_is_told_and_fails_the_pull(shell: Shell) -> None:
    draw_some(shell.json("submit", write("p.txt", "a dog\n"))["batch_id"], 1)
    for image in Path("data/objects/images").rglob("*.png"):
        image.unlink()

    assert shell("pull") == 1
    assert shell.err.startswith("image 0: no object images/")


def start(*arguments: str) -> subprocess.Popen[str]:
    script = "from producer.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_ends_watch_with_one_clear_line(shell: Shell, number: int) -> None:
    batch_id = shell.json("submit", write("p.txt", "a dog\n"))["batch_id"]
    with start("watch") as watch:
        assert watch.stderr is not None
        watch.stderr.readline()
        watch.send_signal(number)
        out, err = watch.communicate(timeout=30)

    assert watch.returncode == 130
    assert (out, err) == ("", f"left; tenstep watch {batch_id} looks again\n")


def test_a_reader_that_has_seen_enough_gets_no_traceback(shell: Shell) -> None:
    shell.json("submit", write("p.txt", "a dog\n" * 5_000))
    with start("cost", "--jobs") as cost:
        assert cost.stdout is not None
        assert cost.stderr is not None
        cost.stdout.readline()
        cost.stdout.close()
        assert cost.stderr.read() == ""
    assert cost.returncode == 141


def test_help_shows_an_example_for_every_command(shell: Shell) -> None:
    assert shell("--help") == 0
    commands = set(re.findall(r"^│ ([a-z]+) ", shell.out, re.MULTILINE))
    assert {"render", "submit", "status", "watch", "pull", "cost", "cancel"} <= commands
    for command in commands:
        assert shell(command, "--help") == 0
        assert "tenstep" in shell.out.partition("Example")[2], command


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from producer.cli.main import run; run(['--help']);"
        "heavy = {'torch', 'celery', 'boto3', 'sqlalchemy', 'pydantic', 'alembic', 'PIL'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def test_a_batch_has_a_tenant_and_a_deadline(shell: Shell) -> None:
    file = write("p.txt", "a dog\n")
    begin = utc_now()
    shell.json("submit", file, "--tenant", "studio", "--deadline-hours", "2")

    database = Database(Settings().resolved_database_url)
    with database.read() as session:
        batch = find_batch(session, None)
    database.close()
    assert batch.tenant == "studio"
    assert batch.deadline_at is not None
    assert timedelta(hours=2) <= batch.deadline_at - begin < timedelta(hours=2, minutes=1)


def test_a_tenant_without_a_name_is_refused(shell: Shell) -> None:
    assert shell("submit", write("p.txt", "a dog\n"), "--tenant", "") == 2
    assert "--tenant" in shell.err
