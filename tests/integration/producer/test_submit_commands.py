"""``tenstep submit`` with templates, samples and images from before, as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Job, Worker
from shared.domain.fingerprint import image_fingerprint
from shared.models.catalog import load_card
from shared.settings import Settings
from shared.storage.open import open_store
from support.drawing import Drawer
from support.factories import jobs_of
from support.grids import FOUR, keep_grids
from support.shell import Shell

WEIGHTS = "ab" * 32
GRIDS = {4: FOUR}


@pytest.fixture
def file() -> str:
    lines = [{"prompt": f"prompt {number}", "seed": number} for number in range(20)]
    Path("p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return "p.jsonl"


def jobs(batch_id: str) -> list[Job]:
    database = Database(Settings().resolved_database_url)
    with database.read() as session:
        found = list(jobs_of(session, UUID(batch_id)))
    database.close()
    return found


def draw(batch_id: str, count: int) -> None:
    """Draw the first jobs, with weights that are known."""
    database = Database(Settings().resolved_database_url)
    drawer = Drawer(database, open_store(Settings()), now=utc_now(), model="emoji-64")
    with database.write() as session:
        session.get_one(Worker, drawer.worker_id).weights_sha256 = WEIGHTS
    drawer.draw(UUID(batch_id), count)
    with database.write() as session:
        for job in session.scalars(select(Job).where(Job.image_key.is_not(None))):
            job.fingerprint = image_fingerprint(job, WEIGHTS, GRIDS.get(job.steps))
    database.close()


def test_a_template_is_multiplied(shell: Shell) -> None:
    Path("animals.txt").write_text("cat\n\ndog\n", "utf-8")
    submitted = shell.json(
        "submit",
        *("--template", "a {colour} {animal}", "--var", "colour=red,blue"),
        *("--var", "animal=animals.txt"),
    )

    made = jobs(submitted["batch_id"])
    assert [job.prompt for job in made] == ["a red cat", "a red dog", "a blue cat", "a blue dog"]
    assert made[1].details == {"colour": "red", "animal": "dog"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give a FILE or a --template"),
        (["p.jsonl", "--template", "a {b}"], "give a FILE or a --template"),
        (["p.jsonl", "--var", "a=b,c"], "--var and --zip go with --template"),
        (["--template", "a {b}", "--var", "b"], "--var b: is not NAME=FILE, nor NAME=a,b,c"),
        (["--template", "a {b}", "--var", "b=1,2", "--var", "b=3,4"], "--var b: is given twice"),
        (["p.jsonl", "--sample", "3"], "--sample goes with --hold"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    shell: Shell, file: str, arguments: list[str], complaint: str
) -> None:
    assert shell("submit", *arguments) == 2
    assert shell.err.startswith(f"error: {complaint}")


def test_a_sample_is_looked_at_before_the_rest_is_approved(shell: Shell, file: str) -> None:
    assert shell("submit", file, "--hold", "--sample", "2") == 0
    assert "a sample of 2 is drawn first" in shell.out
    batch_id = shell.json("status")["batch_id"]
    assert shell.json("status")["counts"]["held"] == 18
    draw(batch_id, 2)
    assert shell("status") == 0
    assert "18 jobs left are held" in " ".join(shell.out.split())

    assert shell.json("approve", batch_id) == {"batch_id": batch_id, "jobs": 18}

    counts = shell.json("status")["counts"]
    assert (counts["held"], counts["pending"], counts["done"]) == (0, 18, 2)


def test_what_was_rejected_is_called_off_and_the_sample_stays(shell: Shell, file: str) -> None:
    batch_id = shell.json("submit", file, "--hold", "--sample", "2")["batch_id"]
    draw(batch_id, 2)

    assert shell("reject", batch_id) == 0
    assert shell.out == f"batch {batch_id}: 18 images no longer held\n"

    status = shell.json("status")
    assert (status["counts"]["cancelled"], status["counts"]["done"]) == (18, 2)
    assert status["finished"]


def test_images_from_before_are_used_again_if_that_is_asked_for(shell: Shell, file: str) -> None:
    first = shell.json("submit", file)["batch_id"]
    draw(first, 5)

    again = shell.json("submit", file, "--reuse")

    assert (again["reused"], again["total"]) == (5, 20)
    before, after = jobs(first), jobs(again["batch_id"])
    assert [job.reused_from for job in after[:5]] == [job.id for job in before[:5]]
    assert [job.image_key for job in after] == [job.image_key for job in before]
    status = shell.json("status")
    assert (status["counts"]["done"], status["counts"]["pending"]) == (5, 15)
    assert status["cost_nanodollars"] == 0

    once_more = shell.json("submit", file, "--reuse", "--key", "third")
    assert [job.reused_from for job in jobs(once_more["batch_id"])[:5]] == [
        job.id for job in before[:5]
    ], "the job that drew it"


def test_images_along_a_grid_that_was_searched_again_are_not_used(
    shell: Shell, file: str, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(load_card("emoji-64").folder, tmp_path / "model"))
    keep_grids(model, FOUR)
    searched = ("--model", str(model), "--scheduler", "searched", "--steps", "4")
    first = shell.json("submit", file, *searched)["batch_id"]
    draw(first, 5)
    assert shell.json("submit", file, *searched)["batch_id"] == first
    assert shell.json("submit", file, *searched, "--reuse")["reused"] == 5

    keep_grids(model, (970, 600, 310, 70))

    again = shell.json("submit", file, *searched, "--reuse")
    assert (again["reused"], again["total"]) == (0, 20)
    assert shell.json("submit", file, *searched)["batch_id"] != first


def test_images_of_others_are_not_used(shell: Shell, file: str) -> None:
    draw(shell.json("submit", file)["batch_id"], 5)

    assert shell.json("submit", file, "--reuse", "--tenant", "studio")["reused"] == 0
    assert shell.json("submit", file, "--reuse", "--guidance-scale", "2")["reused"] == 0


def test_submitting_the_same_again_says_so(shell: Shell, file: str) -> None:
    batch_id = shell.json("submit", file)["batch_id"]

    assert shell("submit", file) == 0
    assert shell.out == (
        f"batch {batch_id}: 20 images of emoji-64, submitted before; "
        "another --key submits it again\n"
    )


def test_bad_lines_cost_the_whole_file_if_that_is_asked_for(shell: Shell, file: str) -> None:
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.write("nonsense\n")

    assert shell("submit", file, "--on-error", "abort") == 2
    assert "p.jsonl:21: is not JSON" in shell.err
    assert shell("status") == 2, "there is no batch"
