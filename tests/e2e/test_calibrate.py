"""How many images are best drawn at once: measured, remembered, gone by."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db.tables import Attempt
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def simulated(stack_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a simulated device whose passes take some time however small."""
    return {
        **stack_env,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.02",
        "TENSTEP_SIMULATED_PASS_SECONDS": "0.05",
    }


def drawn_at_once(environment: dict[str, str], batch_id: str) -> set[int]:
    """Return the sizes of the chunks of a batch."""
    with opened_books(environment) as database, database.read() as session:
        of_batch = select(Attempt.chunk_id).where(Attempt.batch_id == UUID(batch_id))
        rows = session.scalars(of_batch)
        return set(Counter(rows.all()).values())


def tried(measured: dict[str, Any]) -> dict[int, dict[str, Any]]:
    [rate] = measured["rates"]
    return {one["images_per_pass"]: one for one in rate["passes"]}


def test_the_largest_number_that_draws_faster_is_what_is_drawn_at_once_from_then_on(
    simulated: dict[str, str], tmp_path: Path
) -> None:
    measured = tenstep_json(
        simulated, "calibrate", "--images", "8", "--chunk-sizes", "1,3,12", cwd=tmp_path
    )

    passes = tried(measured)
    assert {size: one["device_ns"] for size, one in passes.items()} == {
        1: 70_000_000,
        3: pytest.approx(36_666_666, abs=2),
        12: pytest.approx(24_166_666, abs=2),
    }
    assert [size for size, one in passes.items() if one["is_chosen"]] == [12]
    assert passes[3]["passes"] == 3, "full passes alone"
    [rate] = measured["rates"]
    assert rate["device_ns"] == passes[12]["device_ns"], "what quotes go by"
    assert (measured["done"], measured["not_measured"]) == (8 + 9 + 12, [])
    (tmp_path / "prompts.txt").write_text("a cat\n" * 24, "utf-8")
    drawn = tenstep_json(simulated, "render", "prompts.txt", "--out", "out", cwd=tmp_path)
    assert drawn_at_once(simulated, drawn["batch_id"]) == {12}


def test_what_does_not_fit_is_told_and_not_tried_twice(
    simulated: dict[str, str], tmp_path: Path
) -> None:
    small = {**simulated, "TENSTEP_SIMULATED_IMAGES": "3"}

    measured = tenstep_json(
        small, "calibrate", "--images", "4", "--chunk-sizes", "2,4,8", cwd=tmp_path
    )

    assert {size: one["fits"] for size, one in tried(measured).items()} == {
        2: True,
        4: False,
        8: False,
    }
    assert measured["rates"][0]["images_per_pass"] == 2
    assert (measured["done"], measured["failed"], len(measured["batch_ids"])) == (8, 0, 2)
    told = tenstep(small, "calibrate", "--images", "2", "--chunk-sizes", "2,8", cwd=tmp_path)
    assert told.returncode == 0
    assert "8 at once  does not fit" in told.stdout


def test_every_device_of_a_fleet_is_measured(simulated: dict[str, str], tmp_path: Path) -> None:
    slower = {**simulated, "TENSTEP_SIMULATED_PASS_SECONDS": "0.2"}

    def workers() -> int:
        listed = tenstep(simulated, "workers", "list", "--json", cwd=tmp_path)
        return len(json.loads(listed.stdout)["workers"]) if listed.returncode == 0 else 0

    with (
        running(simulated, "worker", cwd=tmp_path),
        running({**slower, "TENSTEP_DEVICE": "simulated:cuda:0"}, "worker", cwd=tmp_path),
    ):
        wait_until(lambda: workers() == 2)
        measured = tenstep_json(
            simulated, "calibrate", "--images", "2", "--chunk-sizes", "1,2", cwd=tmp_path
        )

    assert not measured["not_measured"]
    assert {
        rate["device_name"]: [one["passes"] > 0 for one in rate["passes"]]
        for rate in measured["rates"]
    } == {"simulated device": [True, True], "simulated cuda": [True, True]}
