"""Calibrate, quote, draw: what it costs is what was quoted."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Batch
from support.books import opened_books
from support.commands import processes_of, running, tenstep, tenstep_json, wait_until
from support.factories import add_price
from worker.simulated import FAIL

pytestmark = pytest.mark.timeout(300)

SKU = "a-tenth"
IMAGES = 40
DUE_PER_CENT = 15


@pytest.fixture
def simulated(stack_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a simulated device that costs 0.36 dollars an hour."""
    environment = {
        **stack_env,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_DEVICE_SKU": SKU,
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.05",
    }
    assert tenstep(environment, "migrate", cwd=tmp_path).returncode == 0
    with opened_books(environment) as database, database.write() as session:
        add_price(
            session,
            device_kind="simulated",
            sku=SKU,
            nanodollars_per_hour=360_000_000,
            effective_from=utc_now() - timedelta(days=1),
        )
    return environment


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"prompt {number}\n" for number in range(IMAGES)), "utf-8")
    return str(path)


def batch_of(database: Database, batch_id: str) -> Batch:
    with database.read() as session:
        return session.get_one(Batch, UUID(batch_id))


def assert_close(expected: int, actual: int) -> None:
    assert abs(actual - expected) * 100 <= DUE_PER_CENT * expected


def test_what_was_quoted_after_a_calibration_is_what_it_costs(
    simulated: dict[str, str], prompts: str, tmp_path: Path
) -> None:
    measured = tenstep_json(
        simulated, "calibrate", "--images", "10", "--chunk-sizes", "1", cwd=tmp_path
    )

    [rate] = measured["rates"]
    assert (rate["device_kind"], rate["sku"], rate["images"]) == ("simulated", SKU, 10)
    assert rate["device_ns"] == 50_000_000
    assert rate["image_nanodollars"] == 5_000
    assert rate["wall_ns"] >= rate["device_ns"]
    assert measured["spent"]["render"] == 10 * 5_000
    assert measured["spent_nanodollars"] == sum(measured["spent"].values())
    with opened_books(simulated) as database:
        [batch_id] = measured["batch_ids"]
        batch = batch_of(database, batch_id)
    assert (batch.name, batch.tags) == ("calibration (1 at once)", {"purpose": "calibration"})
    assert not processes_of(Path(simulated["TENSTEP_DATA_DIR"]))

    [quoted] = tenstep_json(simulated, "quote", prompts, cwd=tmp_path)["quotes"]
    drawn = tenstep_json(simulated, "render", prompts, "--out", "out", cwd=tmp_path)

    assert_close(quoted["cost_nanodollars"]["expected"], drawn["cost_nanodollars"])
    with opened_books(simulated) as database:
        kept = batch_of(database, drawn["batch_id"]).quote
    assert kept is not None
    assert (kept["device"], kept["basis"]) == (f"1 x simulated {SKU}", "measured")
    assert_close(kept["nanodollars_expected"], drawn["cost_nanodollars"])


def test_every_batch_makes_the_rates_better_and_waste_is_allowed_for(
    simulated: dict[str, str], prompts: str, tmp_path: Path
) -> None:
    bad = "".join(f"{FAIL if number % 4 == 0 else 'draw'} {number}\n" for number in range(16))
    (tmp_path / "bad.txt").write_text(bad, "utf-8")
    with running(simulated, "up", "--no-serve", cwd=tmp_path):
        tenstep_json(simulated, "submit", str(tmp_path / "bad.txt"), cwd=tmp_path)

        def quote() -> dict[str, Any]:
            done = tenstep(simulated, "quote", prompts, "--json", cwd=tmp_path)
            return dict(json.loads(done.stdout)) if done.returncode == 0 else {"quotes": []}

        wait_until(lambda: any(one["measured_images"] == 12 for one in quote()["quotes"]))
        document = quote()

    live, _ = document["quotes"]
    assert (live["origin"], live["fleet"]) == ("live", f"1 x simulated {SKU}")
    assert live["model_loads_nanodollars"]["expected"] == 0, "it has loaded it for another batch"
    assert document["waste_nanodollars_per_dollar"] >= 0
    assert live["waste_nanodollars"]["low"] == 0
    assert live["waste_nanodollars"]["high"] >= live["waste_nanodollars"]["expected"]


def test_a_calibration_that_is_interrupted_is_called_off(
    simulated: dict[str, str], tmp_path: Path
) -> None:
    slow = {
        **simulated,
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "4",
        "TENSTEP_STOP_GRACE_SECONDS": "0.5",
    }

    def is_drawing() -> bool:
        status = tenstep(slow, "status", "--json", cwd=tmp_path)
        return status.returncode == 0 and json.loads(status.stdout)["counts"]["leased"] > 0

    with running(
        slow, "calibrate", "--images", "2", "--chunk-sizes", "2", cwd=tmp_path
    ) as calibration:
        wait_until(is_drawing)

    assert calibration.returncode == 130
    counts = tenstep_json(slow, "status", cwd=tmp_path)["counts"]
    assert counts["cancelled"] == 2, "nobody goes on with it later"
