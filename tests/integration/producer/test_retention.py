"""The details of old batches are dropped, and whatever is added up stays as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from producer.costs import cost_report, make_bill
from producer.costs_by import CostsBy
from producer.progress import Progress
from producer.reconcile.proof import prove
from producer.retention import Dropped, drop_details, find_old_batches
from producer.status import read_status
from shared.db import details
from shared.db.batches import retry_failed
from shared.db.corrections import correct
from shared.db.cost_tables import LedgerEntry, StoreRate
from shared.db.details import DetailsDroppedError, begin_to_drop, carry_lines_forward, drop_jobs
from shared.db.engine import Database
from shared.db.price_spans import PriceSpan, find_affected
from shared.db.storage_costs import book_storage
from shared.db.tables import Attempt, Batch, Job, Worker
from shared.db.tallies import fold_tallies
from shared.domain.jobs import LedgerKind
from shared.settings import Settings
from support.booked import CUDA, NEW_CUDA, SECOND, Run
from support.factories import START, add_batch, add_price, jobs_of, ledger_of

YEAR = timedelta(days=365)
LATER = START + YEAR


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A batch that has ended, and one that the same worker began after it, on a later day."""
    monkeypatch.setattr(details, "ROWS_AT_ONCE", 3)
    run = Run(database)
    run.draw(run.cpu, 3, fails=1)
    run.draw(run.cuda, 4)
    run.now += 90 * SECOND
    device = {"device_kind": "cuda", "sku": "g5"}
    with database.write() as session:
        add_price(session, **device, nanodollars_per_hour=NEW_CUDA, effective_from=run.now)
    run.draw(run.cpu, 3, lives=False)
    run.draw(run.cuda, 99)
    old = run.batch_id
    run.now += timedelta(days=3)
    with database.write() as session:
        run.batch_id = add_batch(session, jobs=5, created_at=run.now).id
    run.draw(run.cuda, 2)
    run.stop(run.cuda)
    run.batch_id = old
    return run


def drop(database: Database) -> Dropped:
    return drop_details(database, find_old_batches(database, LATER), LATER)


def sums(run: Run) -> dict[str, Any]:
    """All that is told of counts and costs."""
    with run.database.snapshot() as session:
        proof = prove(session)
        bill = make_bill(session, session.get_one(Batch, run.batch_id)).to_json()
        reports = {
            by: cost_report(session, by=by).to_json() for by in CostsBy if by is not CostsBy.JOB
        }
    assert proof.holds, proof.to_json()
    status = read_status(run.database, Settings(), run.batch_id)
    told = {name: getattr(proof, f"{name}_nanodollars") for name in ("entries", "online", "store")}
    return {
        "bill": bill,
        "counts": status.summary.counts,
        "state": status.summary.state,
        "cost": status.cost_nanodollars,
        "reports": reports,
        "proof": told,
    }


def left_of(session: Session, batch_id: UUID) -> list[int]:
    tables = (Job, Attempt, LedgerEntry)
    counts = (select(func.count()).where(table.batch_id == batch_id) for table in tables)
    return [session.scalar(count) or 0 for count in counts]


def test_sums_are_the_same_before_meanwhile_and_afterwards(run: Run) -> None:
    before = sums(run)
    database, batch_id = run.database, run.batch_id
    with database.write() as session:
        assert begin_to_drop(session, batch_id, database.now(session))
    for piece in (carry_lines_forward, drop_jobs):
        rows = 1
        while rows:
            assert sums(run) == before
            with database.write() as session:
                rows = piece(session, batch_id)
            assert rows <= 3

    assert sums(run) == before
    assert len(before["bill"]["prices"]) == 3
    with database.write() as session:
        assert left_of(session, batch_id)[:2] == [0, 0]
        lines = ledger_of(session, batch_id)
        kinds = {(line.worker_id, line.kind, line.nanodollars_per_hour) for line in lines}
        assert len(kinds) == len(lines)
        assert {kind for _, kind, _ in kinds} >= {"render", "failed_attempt", "model_load"}
        while fold_tallies(session):
            pass
    assert sums(run) == before


def test_what_ended_is_dropped_and_what_goes_on_stays(run: Run) -> None:
    [found] = find_old_batches(run.database, LATER)
    assert (found.id, found.jobs, found.is_begun) == (run.batch_id, 12, False)
    assert found.image_bytes > 0
    assert find_old_batches(run.database, LATER, "another tenant") == []
    seen: list[Progress] = []

    dropped = drop_details(run.database, [found], LATER, seen.append)

    assert (dropped.batches, dropped.jobs, dropped.spared) == (1, 12, [])
    assert [one.done for one in seen if one.doing == "jobs"] == [3, 6, 9, 12, 12]
    assert seen[0].doing == "entries"
    assert drop(run.database).batches == 0
    with run.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 5
        assert session.get_one(Batch, run.batch_id).details_dropped_at is not None


def test_what_ended_lately_stays(run: Run) -> None:
    with run.database.read() as session:
        last = max(job.finished_at for job in jobs_of(session, run.batch_id) if job.finished_at)
    assert find_old_batches(run.database, last) == []
    old = find_old_batches(run.database, LATER)

    [spared] = drop_details(run.database, old, last).spared

    assert spared.batch_id == run.batch_id
    assert find_old_batches(run.database, last + SECOND)


def lose_a_nanodollar(session: Session) -> None:
    one = session.scalar(
        select(LedgerEntry.id).where(LedgerEntry.kind == LedgerKind.RENDER).limit(1)
    )
    amount = LedgerEntry.amount_nanodollars - 1
    session.execute(
        update(LedgerEntry).where(LedgerEntry.id == one).values(amount_nanodollars=amount)
    )


def unsettle(session: Session) -> None:
    session.execute(update(Worker).values(settled_at=START))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(lose_a_nanodollar, "do not add up"), (unsettle, "are not complete")],
)
def test_books_that_cannot_be_carried_forward_are_left(
    run: Run, spoil: Callable[[Session], None], reason: str
) -> None:
    with run.database.write() as session:
        spoil(session)
        before = left_of(session, run.batch_id)

    [spared] = drop(run.database).spared

    assert reason in spared.reason
    with run.database.read() as session:
        assert left_of(session, run.batch_id) == before


def test_jobs_that_are_tried_again_are_not_dropped(run: Run) -> None:
    old = find_old_batches(run.database, LATER)
    with run.database.write() as session:
        failed = session.scalars(select(Job.id).where(Job.batch_id == run.batch_id).limit(1)).one()
        session.execute(
            update(Job).where(Job.id == failed).values(state="failed", error_code="broken")
        )
        batch = session.get_one(Batch, run.batch_id)
        assert retry_failed(session, batch, run.now) == 1

    assert len(drop_details(run.database, old, LATER).spared) == 1
    assert find_old_batches(run.database, LATER) == []


def test_jobs_that_are_gone_are_not_tried_again(run: Run) -> None:
    drop(run.database)
    with run.database.write() as session, pytest.raises(DetailsDroppedError) as refused:
        retry_failed(session, session.get_one(Batch, run.batch_id), run.now)
    assert "its details were removed on " in refused.value.message


def test_a_later_price_of_the_past_is_still_corrected_and_an_earlier_one_refused(run: Run) -> None:
    drop(run.database)
    database, begin = run.database, START + timedelta(days=1)
    with database.write() as session:
        early = PriceSpan("cuda", "g5", START + SECOND, None)
        assert find_affected(session, early).carried > 0
        before_all = PriceSpan("cuda", "g5", START - YEAR, START)
        assert find_affected(session, before_all).carried == 0
        late = PriceSpan("cuda", "g5", begin, None)
        affected = find_affected(session, late)
        assert (affected.carried, affected.entries) == (0, 2)
        price = add_price(
            session,
            device_kind="cuda",
            sku="g5",
            nanodollars_per_hour=5 * CUDA,
            effective_from=begin,
        )
        assert correct(session, price, late).entries == 2

    with database.snapshot() as session:
        assert prove(session).holds


def test_its_images_cost_nothing_any_more(run: Run) -> None:
    with run.database.write() as session:
        session.add(
            StoreRate(
                nanodollars_per_gib_month=10**9,
                nanodollars_per_thousand_requests=10**6,
                effective_from=START - YEAR,
                source="a test",
            )
        )
        session.flush()
        book_storage(session, (START + timedelta(days=5)).date())
    before = sums(run)
    drop(run.database)
    with run.database.write() as session:
        # Once more, and for a day more.
        session.get_one(Batch, run.batch_id).details_dropped_at = START + timedelta(days=6)
        book_storage(session, (START + timedelta(days=5)).date())
        assert sums(run) == before
        book_storage(session, (START + timedelta(days=6)).date())
        of_batch = [entry.kind for entry in ledger_of(session, run.batch_id)]
    assert of_batch.count(LedgerKind.STORAGE) == 6
    with run.database.snapshot() as session:
        assert prove(session).holds


DROPPER = """
import sys
from shared.db import details
details.ROWS_AT_ONCE = 1
from producer.retention import drop_details, find_old_batches
from shared.db.engine import Database
from datetime import datetime
database = Database(sys.argv[1])
for name in ("carry_lines_forward", "drop_jobs"):
    import producer.retention as retention
    def told(session, batch_id, piece=getattr(retention, name), name=name):
        print(name, flush=True)
        return piece(session, batch_id)
    setattr(retention, name, told)
moment = datetime.fromisoformat(sys.argv[2])
drop_details(database, find_old_batches(database, moment), moment)
"""


def _kill_at(run: Run, piece: str, times: int) -> None:
    """Drop a row at a time in a process of its own, and kill it in the midst of that."""
    url = run.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", DROPPER, url, LATER.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += line.strip() == piece
            if seen == times:
                break
        process.kill()
    assert (seen, process.returncode) == (times, -signal.SIGKILL)


@pytest.mark.parametrize(("piece", "times"), [("carry_lines_forward", 4), ("drop_jobs", 5)])
def test_a_drop_that_is_killed_is_finished_by_the_next(run: Run, piece: str, times: int) -> None:
    before = sums(run)
    _kill_at(run, piece, times)
    assert sums(run) == before

    [found] = find_old_batches(run.database, START - YEAR)
    assert found.is_begun
    done = drop_details(run.database, [found], START - YEAR)

    assert (done.batches, done.spared) == (1, [])
    assert sums(run) == before
    with run.database.read() as session:
        assert left_of(session, run.batch_id)[:2] == [0, 0]
    assert find_old_batches(run.database, LATER) == []
