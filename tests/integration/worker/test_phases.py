"""How long phases took is counted over all workers there ever were, and never becomes less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.outcomes import PHASES
from shared.db.phases import Drawing, read_phases, record_phases
from shared.db.tables import Attempt
from shared.domain.identifiers import new_id
from shared.domain.jobs import AttemptOutcome
from shared.domain.phases import UNBOUNDED_NS, PhaseBucket, PhaseSum, PhaseSums
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings
from support.factories import add_batch, add_price, dispatch, jobs_of
from support.worker import render, started

Found = Mapping[Drawing, PhaseSums]


def found_in(database: Database) -> Found:
    with database.read() as session:
        return read_phases(session)


def of_attempts(database: Database) -> Counter[str]:
    """Add up the phases of the attempts that ended in an image."""
    sums: Counter[str] = Counter()
    with database.read() as session:
        for attempt in session.scalars(
            select(Attempt).where(Attempt.outcome == AttemptOutcome.DONE)
        ):
            sums.update({phase: getattr(attempt, field) for phase, field in PHASES.items()})
    return sums


def draw(database: Database, settings: Settings, worker_id: UUID, *, squeezes: list[str]) -> str:
    """Have a worker draw a chunk, and stop; of a bad squeeze comes no image."""
    with database.write() as session:
        batch_id = add_batch(session, jobs=3).id
        for job, squeeze in zip(jobs_of(session, batch_id), squeezes, strict=False):
            job.squeeze = squeeze
        chunk_id = dispatch(session, batch_id, now=utc_now())
    with started(settings, worker_id) as runtime:
        render(runtime, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))
        return runtime.drawn_by.model


def test_they_add_up_to_the_attempts_of_one_worker_after_another(
    settings: Settings, sqlite_database: Database
) -> None:
    with sqlite_database.write() as session:
        add_price(session)
    assert found_in(sqlite_database) == {}
    before: Found = {}
    images = 0
    for squeezes in ([], ["900,10"]):
        model = draw(sqlite_database, settings, new_id(), squeezes=squeezes)
        images += 3 - len(squeezes)

        found = found_in(sqlite_database)

        assert set(found) == {Drawing("cpu", model)}
        counts: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        for bucket, one in found["cpu", model].items():
            counts[bucket.phase] += one.images
            sums[bucket.phase] += one.nanoseconds
        assert counts == dict.fromkeys(PHASES, images)
        assert sums == of_attempts(sqlite_database)
        for bucket, one in before.get(Drawing("cpu", model), {}).items():
            assert found["cpu", model][bucket] >= one
        before = found


def test_workers_of_any_share_add_to_the_same_sum(database: Database) -> None:
    drawing, bucket = Drawing("cuda", "large"), PhaseBucket("decode", UNBOUNDED_NS)
    for _ in range(100):
        with database.write() as session:
            of_two_devices = [(drawing, {bucket: PhaseSum(1, 7)})] * 2
            record_phases(session, new_id(), of_two_devices)

    assert found_in(database) == {drawing: {bucket: PhaseSum(200, 1_400)}}
