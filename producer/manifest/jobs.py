"""Jobs with the attempts that gave their images, read in pages: there may be millions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Attempt, Batch, Job
from shared.domain.jobs import CONTENT_FLAGGED, AttemptOutcome

ROWS_A_PAGE = 2_000
RECORDS_REMEMBERED = 1_024


class JobRow(NamedTuple):
    """What the table of jobs says."""

    position: int
    custom_id: str | None
    source_line: int | None
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    scheduler: str
    steps: int
    squeeze: str | None
    guidance_scale: float
    guidance_rescale: float
    quality: str
    metadata: str
    """JSON, as it is stored."""
    state: str
    attempts: int
    image_key: str | None
    image_sha256: str | None
    image_bytes: int | None
    error_code: str | None
    error_message: str | None
    finished_at: datetime | None
    reused_from: UUID | None
    id: UUID


class AttemptRow(NamedTuple):
    """What the table of attempts says."""

    number: int
    outcome: str
    device_kind: str
    device_name: str
    finished_at: datetime | None
    queue_wait_ns: int | None
    text_encode_ns: int | None
    denoise_ns: int | None
    decode_ns: int | None
    safety_check_ns: int | None
    png_encode_ns: int | None
    upload_ns: int | None
    device_ns: int | None
    cost_nanodollars: int | None
    record: str | None
    """JSON, as it is stored."""


class JobFacts(NamedTuple):
    """A job, the attempt that gave its image, and what all attempts have cost."""

    model: str
    job: JobRow
    attempt: AttemptRow | None
    """That of another job, if the image was reused."""
    cost_nanodollars: int

    @property
    def safety_checker(self) -> str | None:
        """What the model's safety checker said, if it has one."""
        if self.job.error_code == CONTENT_FLAGGED:
            return "flagged"
        return record_of(self.attempt).get("safety_checker")


class Place(NamedTuple):
    """Where a pulled image is."""

    file: str
    shard: str | None = None
    """The tar file that holds it."""


# Plain columns, not mapped ones: rows of them come twice as fast.
_job, _attempt = Job.__table__.c, Attempt.__table__.c
JOB_COLUMNS = (
    *(_job.position, _job.custom_id, _job.source_line, _job.prompt, _job.negative_prompt),
    *(_job.seed, _job.width, _job.height, _job.scheduler, _job.steps, _job.squeeze),
    *(_job.guidance_scale, _job.guidance_rescale, _job.quality, cast(_job.details, Text)),
    *(_job.state, _job.attempts, _job.image_key, _job.image_sha256, _job.image_bytes),
    *(_job.error_code, _job.error_message, _job.finished_at, _job.reused_from, _job.id),
)
ATTEMPT_COLUMNS = (
    *(_attempt.number, _attempt.outcome, _attempt.device_kind, _attempt.device_name),
    *(_attempt.finished_at, _attempt.queue_wait_ns, _attempt.text_encode_ns),
    *(_attempt.denoise_ns, _attempt.decode_ns, _attempt.safety_check_ns),
    *(_attempt.png_encode_ns, _attempt.upload_ns, _attempt.device_ns),
    *(_attempt.cost_nanodollars, cast(_attempt.record, Text)),
)
JOB_WIDTH = len(JOB_COLUMNS)


def job_pages(database: Database, batch_id: UUID) -> Iterator[Sequence[JobFacts]]:
    """Yield a batch's jobs in order, each page from a short transaction of its own.

    So a job is told as it was when its page was read, and nobody waits for the reader.
    """
    with database.read() as session:
        total = session.get_one(Batch, batch_id).total
    for start in range(0, total, ROWS_A_PAGE):
        page = and_(_job.position >= start, _job.position < start + ROWS_A_PAGE)
        with database.read() as session:
            facts = read_jobs(session, batch_id, page)
        yield facts


def read_jobs(session: Session, batch_id: UUID, which: ColumnElement[bool]) -> Sequence[JobFacts]:
    """Read some jobs of a batch in order. The attempts add up to the batch's bill."""
    model = session.get_one(Batch, batch_id).model
    rows = session.execute(
        select(*JOB_COLUMNS, *ATTEMPT_COLUMNS)
        .select_from(Job.__table__)
        .outerjoin(Attempt.__table__, _attempt.job_id == _job.id)
        .where(_job.batch_id == batch_id, which)
        .order_by(_job.position)
    )
    facts = [_facts(model, group) for _, group in groupby(rows, key=itemgetter(0))]
    return _with_reused(session, facts)


def _facts(model: str, rows: Iterable[Sequence[Any]]) -> JobFacts:
    winner: AttemptRow | None = None
    cost = 0
    for row in rows:
        job = row[:JOB_WIDTH]
        if row[JOB_WIDTH] is not None:
            attempt = AttemptRow._make(row[JOB_WIDTH:])
            cost += attempt.cost_nanodollars or 0
            if attempt.outcome == AttemptOutcome.DONE:
                winner = attempt
    return JobFacts(model, JobRow._make(job), winner, cost)


def _with_reused(session: Session, facts: Sequence[JobFacts]) -> Sequence[JobFacts]:
    """Give jobs whose image was drawn for another the attempt that drew it."""
    drawn_for = {one.job.reused_from for one in facts if one.job.reused_from is not None}
    if not drawn_for:
        return facts
    rows = session.execute(
        select(_attempt.job_id, *ATTEMPT_COLUMNS).where(
            _attempt.job_id.in_(drawn_for), _attempt.outcome == AttemptOutcome.DONE
        )
    )
    attempts = {job_id: AttemptRow._make(row) for job_id, *row in rows}
    return [
        one
        if one.job.reused_from is None
        else one._replace(attempt=attempts.get(one.job.reused_from))
        for one in facts
    ]


def record_of(attempt: AttemptRow | None) -> dict[str, Any]:
    """Tell what drew an image; not to be changed, for many images share it."""
    return {} if attempt is None or attempt.record is None else _parsed(attempt.record)


@lru_cache(RECORDS_REMEMBERED)
def _parsed(record: str) -> dict[str, Any]:
    found = json.loads(record)
    return found if isinstance(found, dict) else {}
