"""``tenstep cost`` as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from pyarrow import parquet

from producer.costs_by import CostsBy
from shared.db.engine import Database
from shared.db.settlement import settle_worker
from shared.db.tables import Batch, Worker
from shared.settings import Settings
from shared.storage.open import open_store
from support.drawing import Drawer
from support.factories import START, add_batch, add_worker
from support.shell import Shell

JOBS = 25
REPORTS = [by.value for by in CostsBy if by is not CostsBy.JOB]


@pytest.fixture
def batch_id(shell: Shell) -> str:
    """A batch that one worker draws on two days, and waits for most of the time."""
    assert shell("migrate") == 0
    settings = Settings()
    database = Database(settings.resolved_database_url)
    with database.write() as session:
        batch = add_batch(session, jobs=JOBS)
        batch.name, batch.tenant = "[bold]a name that is longer than its column", "ada"
        batch.tags = {"campaign": "spring"}
        batch_id = batch.id
    drawer = Drawer(database, open_store(settings), now=START)
    drawer.load_model(batch_id, 5_000_000_000)
    drawer.draw(batch_id, 20)
    drawer.now += timedelta(days=1)
    drawer.fail(drawer.claim(batch_id, 1)[0])
    with database.write() as session:
        worker = session.get_one(Worker, drawer.worker_id)
        worker.stopped_at = drawer.now
        session.flush()
        settle_worker(session, worker.id, drawer.now)
    database.close()
    return str(batch_id)


def with_batch(batch_id: str, change: dict[str, object]) -> None:
    database = Database(Settings().resolved_database_url)
    with database.write() as session:
        batch = session.get_one(Batch, UUID(batch_id))
        for name, value in change.items():
            setattr(batch, name, value)
    database.close()


@pytest.mark.parametrize("by", REPORTS)
def test_a_report_is_a_table_of_80_columns_with_waste_and_total(
    shell: Shell, batch_id: str, by: str
) -> None:
    for arguments in (["--by", by], [batch_id, "--by", by]):
        assert shell("cost", *arguments) == 0, shell.err
        lines = shell.out.splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].split()[-2:] == ["an", "image"]
        assert "…" not in lines[-1]
        for waste in ("failed attempts", "duplicated work", "idle"):
            assert f"waste: {waste}" in shell.out
        assert sum(line.startswith("total") for line in lines) == 2


@pytest.mark.parametrize("by", REPORTS)
def test_for_programs_amounts_are_exact_and_add_up(shell: Shell, batch_id: str, by: str) -> None:
    report = shell.json("cost", "--by", by)

    lines = [*report["groups"], *filter(None, [report["others"], report["idle_for_nobody"]])]
    assert sum(line["fully_loaded_nanodollars"] for line in lines) == report["total_nanodollars"]
    assert report["total_usd"] == f"{report['total_nanodollars'] / 1e9:.9f}"
    assert report["total"]["images"] == 20
    # A worker held its device for a day and 21 seconds, at $0.0765 an hour.
    assert report["total_nanodollars"] == 76_500_000 * (24 * 3600 + 21) // 3600


def test_the_bill_has_the_share_of_idle_time_the_quote_and_the_budget(
    shell: Shell, batch_id: str
) -> None:
    quote = {"nanodollars_expected": 1_062_500, "images": JOBS, "nanodollars_low": 1_000_000}
    with_batch(batch_id, {"quote": quote, "max_nanodollars": 5_525_000})
    bill = shell.json("cost")

    assert bill["total_nanodollars"] == (20 + 1 + 5) * 21_250
    assert bill["fully_loaded_nanodollars"] == bill["total_nanodollars"] + bill["idle_nanodollars"]
    assert bill["per_image"]["mean_nanodollars"] == bill["total_nanodollars"] // 20
    assert bill["prices"][0]["sku"] == ""
    assert bill["quote"]["expected_for_done_nanodollars"] == 20 * 42_500
    assert bill["quote"]["difference_per_cent"] == -35.0
    assert shell("cost", batch_id[:8]) == 0
    assert "fully loaded" in shell.out
    assert "quoted: $0.001062500 for 25 images" in shell.out
    assert "actual: $0.000552500 for the 20 done, quoted $0.000850000: -35.0%" in shell.out
    assert "budget: $0.005525000, 10.0% of it spent" in shell.out


def test_show_is_the_command_that_need_not_be_named(shell: Shell, batch_id: str) -> None:
    assert shell("cost", "show", batch_id, "--by", "day") == 0
    named = shell.out
    assert shell("cost", batch_id, "--by", "day") == 0
    assert shell.out == named
    assert shell("cost", "--help") == 0
    assert "Examples" in shell.out
    for word in ("show", "--by", "--parquet", "--since"):
        assert word in shell.out


def test_all_and_filters_ask_for_every_batch(shell: Shell, batch_id: str) -> None:
    assert shell.json("cost", "--all")["groups"][0]["batch_id"] == batch_id
    assert shell.json("cost", "--tag", "campaign=spring")["total"]["images"] == 20
    assert shell.json("cost", "--tag", "campaign=autumn")["groups"] == []
    assert shell.json("cost", "--tenant", "ada", "--by", "tenant")["total"]["images"] == 20
    second = shell.json("cost", "--since", "2030-01-03", "--by", "day")
    assert [day["day"] for day in second["groups"]] == ["2030-01-03"]
    assert second["since"] == "2030-01-03"
    assert shell("cost", "--until", "2029-12-31") == 0
    assert shell.out == "nothing is booked\n"


def test_jobs_come_in_pages_and_whole_for_programs(shell: Shell, batch_id: str) -> None:
    assert shell("cost", batch_id, "--by", "job") == 0
    assert len(shell.out.splitlines()) == 20
    assert shell.err == f"more: tenstep cost {batch_id} --by job --after 19\n"
    assert shell(*shell.err.split()[2:]) == 0
    assert [line.split()[0] for line in shell.out.splitlines()] == ["20", "21", "22", "23", "24"]
    assert "failed" in shell.out.splitlines()[0]
    assert shell.err == ""

    whole = shell.json("cost", batch_id, "--by", "job")
    assert [job["position"] for job in whole["jobs"]] == list(range(JOBS))
    assert (whole["batch_id"], whole["next"]) == (batch_id, None)
    page = shell.json("cost", batch_id, "--by", "job", "--after", "3", "--limit", "2")
    assert ([job["position"] for job in page["jobs"]], page["next"]) == ([4, 5], 5)
    bill = shell.json("cost", batch_id)
    loads = next(line for line in bill["lines"] if line["kind"] == "model_load")
    jobs = sum(job["nanodollars"] for job in whole["jobs"])
    assert jobs + loads["nanodollars"] == bill["total_nanodollars"]


def test_csv_has_whole_and_decimal_amounts(shell: Shell, batch_id: str) -> None:
    assert shell("cost", "--by", "batch", "--csv", "-") == 0
    [row] = csv.DictReader(io.StringIO(shell.out))
    report = shell.json("cost", "--by", "batch")

    assert (row["line"], row["batch_id"], row["tenant"]) == ("group", batch_id, "ada")
    for name in ("busy", "idle", "fully_loaded", "render", "fully_loaded_per_image"):
        assert row[f"{name}_nanodollars"] == str(report["groups"][0][f"{name}_nanodollars"])
        assert row[f"{name}_usd"] == report["groups"][0][f"{name}_usd"]
    assert shell("cost", batch_id, "--by", "job", "--csv", "jobs.csv") == 0
    assert shell.out == "25 rows in jobs.csv\n"
    with Path("jobs.csv").open(encoding="utf-8", newline="") as file:
        jobs = list(csv.DictReader(file))
    assert [int(job["position"]) for job in jobs] == list(range(JOBS))
    assert (jobs[0]["cost_nanodollars"], jobs[0]["cost_usd"]) == ("21250", "0.000021250")


def test_parquet_has_integers_dates_and_strings(shell: Shell, batch_id: str) -> None:
    assert shell("cost", "--by", "day", "--parquet", "days.parquet") == 0
    table = parquet.read_table("days.parquet")

    assert table.schema.field("day").type == pa.date32()
    assert table.schema.field("line").type == pa.string()
    assert table.schema.field("fully_loaded_nanodollars").type == pa.int64()
    total = shell.json("cost", "--by", "day")["total_nanodollars"]
    assert sum(table["fully_loaded_nanodollars"].to_pylist()) == total
    assert shell("cost", batch_id, "--by", "job", "--limit", "3", "--parquet", "j.parquet") == 0
    assert parquet.read_table("j.parquet")["position"].to_pylist() == [0, 1, 2]


def test_groups_beyond_the_limit_are_one_line(shell: Shell, batch_id: str) -> None:
    assert shell("cost", "--by", "day", "--limit", "1") == 0
    assert "1 other " in shell.out
    report = shell.json("cost", "--by", "day", "--limit", "1")
    assert len(report["groups"]) == report["others"]["groups"] == 1


def test_a_worker_at_work_is_told_of(shell: Shell, batch_id: str) -> None:
    database = Database(Settings().resolved_database_url)
    with database.write() as session:
        worker = add_worker(session)
        worker.settled_until = START + timedelta(minutes=10)
        worker.heartbeat_at = START + timedelta(minutes=15)
    database.close()

    assert shell("cost", "--by", "model") == 0
    told = "idle time is booked up to 2030-01-02 03:14 UTC; 1 worker is at work\n"
    assert shell.out.endswith(told)
    assert shell.json("cost", "--by", "model")["workers_at_work"] == 1


def test_a_device_without_a_price_is_told_of_and_nothing_else(shell: Shell, batch_id: str) -> None:
    database = Database(Settings().resolved_database_url)
    with database.write() as session:
        add_worker(session, device_kind="cuda", sku="unheard-of")
    database.close()

    assert shell("cost", "--by", "worker", "--json") == 2
    assert shell.out == ""
    error = json.loads(shell.err)["error"]
    assert error["type"] == "MissingPriceError"
    assert "unheard-of" in error["message"]
    assert "tenstep prices set" in error["hint"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "job"], "--by job needs a batch"),
        (["BATCH", "--by", "job", "--since", "2030-01-01"], "--by job is of one whole batch"),
        (["BATCH", "--all"], "--all is everything"),
        (["--by", "day", "--after", "3"], "--after is a job's position"),
        (["--by", "day", "--jobs"], "--jobs goes with a bill"),
        (["--csv", "-"], "--csv, --parquet and --limit are for a report"),
        (["--limit", "3"], "--csv, --parquet and --limit are for a report"),
        (["--by", "day", "--json", "--csv", "-"], "give one of --json, --csv and --parquet"),
        (["--by", "day", "--since", "yesterday"], "--since: 'yesterday' is not a date"),
        (["--since", "2030-02-01", "--until", "2030-01-01"], "is after --until"),
        (["--tag", "spring"], "--tag: 'spring' is not KEY=VALUE"),
        (["--tag", "=spring"], "--tag: '=spring' is not KEY=VALUE"),
        (["--by", "colour"], "'colour' is not one of"),
        (["--by", "day", "--csv", "no/such/folder.csv"], "cannot be written to"),
        (["--by", "day", "--parquet", "."], ".: is a folder, not a file"),
        (["ffffffff"], "no batch ffffffff"),
        (["nonsense", "--by", "day"], "no batch nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    shell: Shell, batch_id: str, arguments: list[str], message: str
) -> None:
    given = [batch_id if argument == "BATCH" else argument for argument in arguments]

    assert shell("cost", *given) == 2
    assert message in shell.err
    assert shell.out == ""
