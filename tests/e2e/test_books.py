"""The books of a real fleet: two kinds of devices, retries, a crash, idle time, a new price."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from shared.clock import utc_now
from shared.db.batches import count_jobs, find_batch
from shared.db.conditions import IS_LEASED
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import LedgerEntry, Price
from shared.db.engine import Database
from shared.db.tables import Job, Worker
from shared.domain.jobs import JobState, LedgerKind
from shared.domain.money import NANOSECONDS_PER_HOUR
from support.books import opened_books
from support.commands import running, tenstep, tenstep_json, wait_until, worker_processes
from support.factories import add_price
from worker.simulated import FAIL

pytestmark = pytest.mark.timeout(300)

SKU = "g5.xlarge"
FIRST, SECOND = 1_000_000_007, 3_000_000_019
IMAGES = 80


def ended_of(database: Database, batch: str) -> int:
    """Count the jobs that have an image, or that a simulated device was told to fail."""
    with database.read() as session:
        counts = count_jobs(session, find_batch(session, batch).id)
    return counts[JobState.DONE] + counts[JobState.FAILED]


def has_work(database: Database, sku: str) -> bool:
    leased = select(Job.id).join(Worker, Worker.id == Job.worker_id)
    with database.read() as session:
        return (
            session.scalar(leased.where(IS_LEASED, Worker.device_sku == sku).limit(1)) is not None
        )


def test_the_sum_of_all_entries_is_the_time_online_at_its_price(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    fast = {
        **stack_env,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_DEVICE_SKU": SKU,
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.2",
    }
    path = tmp_path / "prompts.txt"
    lines = [f"{f'{FAIL} ' if n % 5 == 0 else ''}prompt {n}\n" for n in range(IMAGES)]
    path.write_text("".join(lines), "utf-8")
    batch = str(tenstep_json(fast, "submit", str(path), cwd=tmp_path)["batch_id"])
    with opened_books(fast) as database:
        with database.write() as session:
            add_price(
                session,
                device_kind="simulated",
                sku=SKU,
                nanodollars_per_hour=FIRST,
                effective_from=utc_now() - timedelta(days=1),
            )
        with (
            running(fast, "dispatch", cwd=tmp_path),
            running(fast, "worker", cwd=tmp_path),
            running({**stack_env, "TENSTEP_DEVICE": "cpu"}, "worker", cwd=tmp_path),
        ):
            wait_until(lambda: ended_of(database, batch) >= 20 and has_work(database, SKU))
            simulated = [
                process
                for process in worker_processes(Path(fast["TENSTEP_DATA_DIR"]))
                if process.environ().get("TENSTEP_DEVICE_SKU") == SKU and "-m" in process.cmdline()
            ]
            simulated[-1].send_signal(signal.SIGKILL)
            with database.write() as session:
                add_price(
                    session,
                    device_kind="simulated",
                    sku=SKU,
                    nanodollars_per_hour=SECOND,
                    effective_from=database.now(session),
                )
            wait_until(lambda: ended_of(database, batch) == IMAGES)
            online = tenstep_json(fast, "cost", "reconcile", cwd=tmp_path)
            assert online["holds"], "while the fleet is alive"

        proof = tenstep(fast, "cost", "reconcile", "--json", cwd=tmp_path)
        assert proof.returncode == 0, proof.stdout
        with database.read() as session:
            due, kinds = time_online(database), {row.kind for row in read_costs(session)}
            entries = session.scalars(select(LedgerEntry.amount_nanodollars)).all()
            rates = set(session.scalars(select(LedgerEntry.nanodollars_per_hour)))
    assert sum(entries) == due == json.loads(proof.stdout)["online_nanodollars"]
    assert {LedgerKind.RENDER, LedgerKind.FAILED_ATTEMPT, LedgerKind.IDLE} <= kinds
    assert {FIRST, SECOND} < rates, "and that of cpu"


def test_two_workers_that_race_stop_at_the_budget_and_go_on_when_it_is_raised(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    simulated = {
        **stack_env,
        "TENSTEP_DEVICE": "simulated:0",
        "TENSTEP_SIMULATED_IMAGE_SECONDS": "0.05",
    }
    image = 500  # nano-dollars: 50 ms of a simulated device
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"prompt {n}\n" for n in range(150)), "utf-8")

    def look() -> tuple[dict[str, int], int]:
        status = tenstep_json(simulated, "status", cwd=tmp_path)
        return status["counts"], status["cost_nanodollars"]

    def is_stopped() -> bool:
        counts, _ = look()
        return counts["held"] > 0 and not counts["leased"] + counts["pending"]

    def dollars(images: int) -> str:
        return f"{images * image // 1000}e-6"

    options = ("--max-cost", dollars(50))
    batch = tenstep_json(simulated, "submit", str(path), *options, cwd=tmp_path)["batch_id"]
    with running(simulated, "up", "--no-serve", "--workers", "2", cwd=tmp_path):
        wait_until(is_stopped)
        first, spent = look()
        tenstep_json(simulated, "budget", batch, "--max-cost", dollars(100), cwd=tmp_path)
        wait_until(lambda: look()[0]["done"] > first["done"] and is_stopped())
        second, spent_then = look()
        tenstep_json(simulated, "budget", batch, "--no-limit", cwd=tmp_path)
        wait_until(lambda: look()[0]["done"] == 150)

    assert first["done"] <= 50, "models are loaded for the money too"
    assert first["done"] + first["held"] == 150
    assert spent > 49 * image, "not one image more is paid for"
    assert second["done"] <= 100
    assert spent_then > 99 * image


def time_online(database: Database) -> int:
    """Price every worker's time anew, a microsecond at a time, with no help of the books."""
    with database.read() as session:
        workers = session.scalars(select(Worker)).all()
        prices = session.scalars(select(Price).order_by(Price.effective_from)).all()
    assert {worker.device_kind for worker in workers} == {"cpu", "simulated"}
    assert len(workers) >= 3, "one was killed, and another took its place"
    total = 0
    for worker in workers:
        end = worker.stopped_at
        assert end is not None
        own = [
            p for p in prices if (p.device_kind, p.sku) == (worker.device_kind, worker.device_sku)
        ]
        for price, following in zip(own, [*own[1:], None], strict=True):
            begin = max(worker.online_at, price.effective_from)
            until = end if following is None else min(end, following.effective_from)
            microseconds = max(0, (until - begin) // timedelta(microseconds=1))
            due = microseconds * 1000 * price.nanodollars_per_hour
            total += (2 * due + NANOSECONDS_PER_HOUR) // (2 * NANOSECONDS_PER_HOUR)
    return total
