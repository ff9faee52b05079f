"""What has to hold after a fault: in the books, in the store, among the processes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chaos.stacks import Stack
from shared.db.batches import count_jobs
from shared.db.cost_tables import LedgerEntry
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import AttemptOutcome, JobState, LedgerKind
from shared.storage.base import IMAGES, ObjectNotFoundError, sha256_of


@dataclass
class Figures:
    """What is reported of a scenario."""

    jobs: int = 0
    done: int = 0
    failed: int = 0
    lost: int = 0
    """Attempts whose worker fell silent."""
    late: int = 0
    """Attempts that came with an image after their lease had ended."""
    twice: int = 0
    """Jobs that the books have more than one image of."""
    orphans: int = 0
    """Images without a job, which `tenstep gc` then removed."""


def inspect(stack: Stack, batch_id: UUID, failing: int) -> tuple[Figures, list[str]]:
    """Collect garbage, then look everything over; returns what is wrong, in sentences."""
    figures = Figures()
    problems: list[str] = []
    done = stack.tenstep("gc", "--older-than", "0", "--json")
    if done.returncode:
        problems.append(f"tenstep gc: {done.stderr.strip()}")
    else:
        figures.orphans = json.loads(done.stdout)["deleted"]
    with stack.database.read() as session:
        problems += _counts(session, batch_id, failing, figures)
        problems += _attempts(session, batch_id, figures)
        problems += _books(session, stack, batch_id, figures)
        problems += _objects(session, stack, batch_id)
    return figures, problems


def _counts(session: Session, batch_id: UUID, failing: int, figures: Figures) -> Iterator[str]:
    total = session.get_one(Batch, batch_id).total
    counts = count_jobs(session, batch_id)
    by_state = select(Job.state, func.count()).group_by(Job.state)
    counted = session.execute(by_state.where(Job.batch_id == batch_id))
    if dict(counted.all()) != {s: c for s, c in counts.items() if c}:
        yield "the counts in the books are not those of the jobs"
    figures.jobs = total
    figures.done, figures.failed = counts[JobState.DONE], counts[JobState.FAILED]
    if sum(counts.values()) != total:
        yield f"{sum(counts.values())} jobs are counted, {total} were submitted"
    if figures.failed != failing:
        yield f"{figures.failed} jobs failed, {failing} should have"
    if figures.done != total - failing:
        shown = {state.value: count for state, count in counts.items() if count}
        yield f"not everything is done: {shown}"


def _attempts(session: Session, batch_id: UUID, figures: Figures) -> Iterator[str]:
    rows = session.execute(
        select(Attempt.outcome, func.count(), func.count(Attempt.finished_at))
        .where(Attempt.batch_id == batch_id)
        .group_by(Attempt.outcome)
    ).all()
    outcomes = {outcome: count for outcome, count, _ in rows}
    figures.lost = outcomes.get(AttemptOutcome.LOST, 0)
    figures.late = (
        session.scalar(
            select(func.count()).where(
                Attempt.batch_id == batch_id,
                Attempt.outcome == AttemptOutcome.LOST,
                Attempt.record.is_not(None),
            )
        )
        or 0
    )
    if running := outcomes.get(AttemptOutcome.RUNNING):
        yield f"{running} attempts have no outcome"
    for outcome, count, ended in rows:
        if outcome != AttemptOutcome.RUNNING and count != ended:
            yield f"{count - ended} attempts with outcome {outcome} have no end"
    wins = Counter(
        session.scalars(
            select(Attempt.job_id).where(
                Attempt.batch_id == batch_id, Attempt.outcome == AttemptOutcome.DONE
            )
        )
    )
    winners = set(_done_jobs(session, batch_id))
    if any(count > 1 for count in wins.values()) or wins.keys() != winners:
        yield "jobs that are done and attempts that made them so are not the same"


def _books(session: Session, stack: Stack, batch_id: UUID, figures: Figures) -> Iterator[str]:
    entries = session.scalars(select(LedgerEntry).where(LedgerEntry.batch_id == batch_id)).all()
    drawn = Counter(entry.job_id for entry in entries if entry.kind == LedgerKind.RENDER)
    figures.twice = sum(count > 1 for count in drawn.values())
    if figures.twice:
        yield f"{figures.twice} jobs are in the books more than once"
    if drawn.keys() != set(_done_jobs(session, batch_id)):
        yield "the books have other jobs than those that are done"
    bill = stack.tenstep("cost", str(batch_id), "--json")
    if bill.returncode:
        yield f"tenstep cost: {bill.stderr.strip()}"
        return
    billed = json.loads(bill.stdout)["total_nanodollars"]
    attempts = session.scalar(
        select(func.sum(Attempt.cost_nanodollars)).where(Attempt.batch_id == batch_id)
    )
    loads = sum(
        entry.amount_nanodollars for entry in entries if entry.kind == LedgerKind.MODEL_LOAD
    )
    booked = sum(entry.amount_nanodollars for entry in entries)
    if not billed == booked == int(attempts or 0) + loads:
        yield f"the bill is {billed}, its entries {booked}, its attempts {attempts} + {loads}"
    yield from _proof(stack)


def _proof(stack: Stack) -> Iterator[str]:
    """Have every worker's entries compared with the time that it held its device."""
    proof = stack.tenstep("cost", "reconcile", "--json")
    if proof.stderr:
        yield f"tenstep cost reconcile: {proof.stderr.strip()}"
    elif proof.returncode:
        checks = json.loads(proof.stdout)["checks"]
        wrong = [check["examples"][0] for check in checks if check["differences"]]
        yield f"tenstep cost reconcile: the books do not add up, such as {wrong}"


def _objects(session: Session, stack: Stack, batch_id: UUID) -> Iterator[str]:
    rows = session.execute(
        select(Job.position, Job.image_key, Job.image_sha256).where(
            Job.batch_id == batch_id, Job.state == JobState.DONE
        )
    ).all()
    wrong = [position for position, key, digest in rows if not _is_stored(stack, key, digest)]
    if wrong:
        yield f"{len(wrong)} images are missing or not what was drawn, such as {wrong[:3]}"
    orphans = {found.key for found in stack.store.list(IMAGES)} - {row.image_key for row in rows}
    if orphans:
        yield f"after gc {len(orphans)} objects have no job"


def _is_stored(stack: Stack, key: str | None, digest: str | None) -> bool:
    if key is None:
        return False
    try:
        return sha256_of(stack.store.get(key)) == digest
    except ObjectNotFoundError:
        return False


def _done_jobs(session: Session, batch_id: UUID) -> Iterator[UUID]:
    yield from session.scalars(
        select(Job.id).where(Job.batch_id == batch_id, Job.state == JobState.DONE)
    )


def longest_silence(
    stack: Stack, batch_id: UUID, quiet_times: Sequence[tuple[datetime, datetime]]
) -> float | None:
    """Return the longest that no image was finished while nobody broke anything, in seconds.

    Args:
        stack: where to look.
        batch_id: the batch.
        quiet_times: from the end of each fault to the begin of the next.

    Returns:
        None when no image was finished in any of them.
    """
    with stack.database.read() as session:
        finished = session.scalars(
            select(Job.finished_at)
            .where(Job.batch_id == batch_id, Job.state == JobState.DONE)
            .order_by(Job.finished_at)
        ).all()
    silences = []
    for begin, end in quiet_times:
        moments = [begin, *(moment for moment in finished if moment and begin < moment < end)]
        silences += [(after - before).total_seconds() for before, after in pairwise(moments)]
    return max(silences, default=None)
