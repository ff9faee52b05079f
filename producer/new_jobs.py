"""From prompt lines to the jobs of a batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from uuid_utils import uuid7

from producer.prompt_files import PromptSource
from producer.prompt_lines import AcceptedLine, PromptLine
from producer.rejects import RejectedLine, RejectLog, Rejects, rejected_by
from producer.settle import Settled, Settler
from shared.db.bulk import NewJob, Row
from shared.domain.jobs import JobState
from shared.domain.rates import Shape
from shared.errors import InputError

MAX_JOBS_A_BATCH = 10_000_000
FIRST_PIECE = 256
"""Small, so that the first image starts at once."""
PIECE = 10_000
NO_DETAILS = "{}"


class PieceOfJobs(NamedTuple):
    """Some jobs of a batch, in order."""

    jobs: Sequence[Row]
    """The fields of `NewJob`; plain tuples go from process to process three times as fast."""
    share_read: float | None
    """How much of the source has been read, from 0 to 1, if that is known."""
    rejects: Rejects | None = None
    """What was refused; with the last piece, which has no jobs."""
    images: Mapping[Shape, int] | None = None
    """How many jobs of each shape there are in all, those that were skipped too; with the last."""
    requests: int | None = None
    """How many good lines there are in all; with the last."""


@dataclass(slots=True)
class Counted:
    """What was read of a source so far."""

    requests: int = 0
    """Good lines."""
    jobs: Counter[Settled] = field(default_factory=Counter)
    """By what was settled for them."""


def pieces_of_jobs(
    source: PromptSource,
    batch_id: UUID,
    settler: Settler,
    log: RejectLog,
    state: JobState,
    *,
    skip: int = 0,
) -> Iterator[PieceOfJobs]:
    """Yield the jobs of every good line, by the ten thousand; the other lines go to the log.

    Args:
        source: the lines.
        batch_id: whose jobs they are.
        settler: knows what a line leaves open.
        log: is closed at the end, and removed if reading fails.
        state: of new jobs.
        skip: how many jobs were written before.

    Raises:
        InputError: there are more than 10 million, or the source cannot be read.
        ServiceUnavailableError: the log cannot be written.
    """
    counted = Counted()
    jobs = islice(new_jobs(source, batch_id, settler, log, state, counted), skip, None)
    size = FIRST_PIECE
    try:
        while piece := [tuple(job) for job in islice(jobs, size)]:
            yield PieceOfJobs(piece, source.progress())
            size = PIECE
    except BaseException:
        log.discard()
        raise
    yield PieceOfJobs((), 1.0, log.close(), by_shape(counted.jobs), counted.requests)


def new_jobs(
    source: PromptSource,
    batch_id: UUID,
    settler: Settler,
    log: RejectLog,
    state: JobState,
    counted: Counted,
) -> Iterator[NewJob]:
    """Yield the jobs of every good line, in order; the others go to the log.

    Args:
        source: the lines.
        batch_id: whose jobs they are.
        settler: knows what a line leaves open.
        log: takes the bad lines.
        state: of new jobs.
        counted: lines and jobs are counted here.

    Raises:
        InputError: there are more than 10 million, or the source cannot be read.
    """
    batch, position = batch_id.hex, 0
    for line, settled in _good_lines(source, settler, log):
        request = line.request
        negative_prompt, extra = settler.negative_prompt(request), request.model_extra
        details = json.dumps(extra) if extra else NO_DETAILS
        seeds = settler.seeds(request, position)
        counted.requests += 1
        counted.jobs[settled] += len(seeds)
        for seed in seeds:
            if position == MAX_JOBS_A_BATCH:
                raise InputError(
                    f"{source.name}:{line.line_number}: a batch holds at most "
                    f"{MAX_JOBS_A_BATCH:,} images",
                    hint="Submit it in parts.",
                )
            yield NewJob(
                uuid7().hex,
                batch,
                position,
                request.custom_id,
                line.line_number,
                request.prompt,
                negative_prompt,
                seed,
                *settled[:-1],
                details,
                state.value,
                quality=settled.quality,
            )
            position += 1


def by_shape(counts: Mapping[Settled, int]) -> Mapping[Shape, int]:
    """Count images by what decides how long they take."""
    images: Counter[Shape] = Counter()
    for settled, count in counts.items():
        shape = Shape.of_image(settled)
        images[shape] += count
    return dict(images)


def refuse_bad_lines(source: PromptSource, settler: Settler, log: RejectLog) -> None:
    """Read all lines; the bad ones go to the log."""
    for _ in _good_lines(source, settler, log):
        pass


def _good_lines(
    source: PromptSource, settler: Settler, log: RejectLog
) -> Iterator[tuple[AcceptedLine, Settled]]:
    line: PromptLine
    for line in source.lines:
        if isinstance(line, RejectedLine):
            log.add(line)
            continue
        try:
            settled = settler.settle(line.request)
        except ValueError as error:
            log.add(rejected_by(error, line.line_number, line.raw_text()))
        else:
            yield line, settled
