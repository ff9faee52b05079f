"""Counts stay exact while many write and several fold."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import NoResultFound

from shared.db.cost_sums import Booked, CostKey, CostRow, read_costs
from shared.db.engine import Database
from shared.db.tables import BatchCount, Job, Tally
from shared.db.tallies import count_unfolded, fold_tallies, note_cost, note_move, read_tally
from shared.domain.identifiers import new_id
from shared.domain.jobs import JobState, LedgerKind
from support.factories import add_batch

WRITERS = 3
MOVES = 40
JOBS = WRITERS * MOVES


def test_counts_add_up_whoever_writes_and_whoever_folds(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=JOBS).id
    key = CostKey(batch_id, new_id(), LedgerKind.RENDER, date(2030, 1, 2))
    over = threading.Event()
    wrong: list[object] = []

    def write() -> None:
        for _ in range(MOVES):
            with database.write() as session:
                note_move(session, batch_id, JobState.PENDING, JobState.DONE)
                note_cost(session, key, device_ns=3, nanodollars=7)

    def fold() -> None:
        while not over.is_set():
            with database.write() as session:
                fold_tallies(session)

    def look() -> None:
        while not over.is_set():
            with database.read() as session:
                tally = read_tally(session, batch_id)
                booked = [row.booked for row in read_costs(session, batch_ids=[batch_id])]
            wrong.extend(sums for sums in booked if sums.nanodollars != 7 * sums.entries)
            done = tally.counts[JobState.DONE]
            if tally.total != JOBS or tally.nanodollars != 7 * done:
                wrong.append(tally)

    with ThreadPoolExecutor(WRITERS + 3) as pool:
        background = [pool.submit(work) for work in (fold, fold, look)]
        for writer in [pool.submit(write) for _ in range(WRITERS)]:
            writer.result()
        over.set()
        for work in background:
            work.result()

    assert wrong == []
    with database.write() as session:
        fold_tallies(session)
    with database.read() as session:
        assert read_tally(session, batch_id).counts[JobState.DONE] == JOBS
        assert count_unfolded(session, 10) == 0
        assert session.scalar(select(func.count()).select_from(BatchCount)) == 1
        assert read_costs(session) == [
            CostRow(*key[:2], LedgerKind.RENDER, key.day, Booked(JOBS, 3 * JOBS, 7 * JOBS, 7, 7))
        ]


def test_a_transaction_that_fails_counts_nothing(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=2).id

    def fail() -> None:
        with database.write() as session:
            note_move(session, batch_id, JobState.PENDING, JobState.DONE)
            session.get_one(Job, new_id())

    with pytest.raises(NoResultFound):
        fail()

    with database.read() as session:
        assert read_tally(session, batch_id).counts[JobState.PENDING] == 2


def test_a_transaction_appends_one_row_a_batch_and_none_for_nothing(database: Database) -> None:
    with database.write() as session:
        batch_id = add_batch(session, jobs=2).id
    with database.write() as session:
        note_move(session, batch_id, JobState.PENDING, JobState.LEASED)
        note_move(session, batch_id, JobState.LEASED, JobState.PENDING)

    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Tally)) == 1
        assert read_tally(session, new_id()).total == 0
