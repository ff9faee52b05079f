"""From prompt lines to a batch of jobs, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from producer.prompt_files import PromptSource
from producer.prompt_lines import PromptLine
from producer.rejects import RejectedLine, RejectLog, Rejects, first_reason, rejected_by
from producer.settle import BatchDefaults, settle
from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import DEFAULT_TENANT, JobState
from shared.domain.prompts import ImageSettings, PromptRequest
from shared.domain.sampling import settle_sampler
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.settings import Settings

ROWS_A_STATEMENT = 1_000
MAX_JOBS_A_BATCH = 10_000_000
MAX_NAME_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch is to be, beside its prompts."""

    defaults: BatchDefaults = field(default_factory=BatchDefaults)
    name: str | None = None
    """None takes the name of the prompts' source."""
    priority: int = 0
    """Batches of a higher one go first."""
    tenant: str = DEFAULT_TENANT
    """Whose it is."""
    wanted_within: timedelta | None = None
    """Until its deadline, from now."""
    safety_checker: bool = True
    """Whether the model's safety checker, where there is one, looks at the images."""
    client: dict[str, Any] = field(default_factory=dict)
    """What the submitting program wants to remember."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A batch that is in the books."""

    batch_id: UUID
    name: str
    model: str
    total: int
    """Jobs, which is images."""
    rejects: Rejects

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "batch_id": str(self.batch_id),
            "name": self.name,
            "model": self.model,
            "total": self.total,
            "rejected": self.rejects.to_json(),
        }


class NothingAcceptedError(InputError):
    """Every line was refused; nothing was written but the list of them."""

    def __init__(self, rejects: Rejects) -> None:
        super().__init__(f"{rejects.source}: no line of it can be drawn")
        self.rejects = rejects


def submit(
    database: Database,
    settings: Settings,
    card: ModelCard,
    source: PromptSource,
    order: Order | None = None,
) -> Submission:
    """Write a batch and its jobs: all of them or none.

    Lines that cannot be drawn are left out, and listed in ``<data_dir>/rejects``.

    Raises:
        InputError: the source or a default is wrong, there are too many jobs, the safety
            checker may not be switched off, or no line is good (then it is a
            `NothingAcceptedError`).
        ServiceUnavailableError: the list of rejects cannot be written.
    """
    order = order or Order()
    if not order.safety_checker and not settings.unchecked_batches:
        raise InputError(
            "only an operator may switch the safety checker off",
            hint="TENSTEP_UNCHECKED_BATCHES=true allows it on this installation.",
        )
    _check_defaults(order.defaults, card)
    batch = _new_batch(card, source, order)
    batch_id, name = batch.id, batch.name
    log = RejectLog(source.name, settings.data_dir / "rejects" / f"{batch_id}.jsonl")
    rows = _rows(batch_id, source, order.defaults, card, log)
    try:
        first = next(rows, None)
        total = _write(database, batch, chain([first], rows)) if first else 0
    except BaseException:
        log.discard()
        raise
    rejects = log.close()
    if total == 0:
        raise NothingAcceptedError(rejects)
    return Submission(batch_id, name, card.name, total, rejects)


def _new_batch(card: ModelCard, source: PromptSource, order: Order) -> Batch:
    now = utc_now()
    return Batch(
        id=new_id(),
        name=(order.name or Path(source.name).name)[:MAX_NAME_CHARACTERS],
        model=card.name,
        priority=order.priority,
        safety_checker=order.safety_checker,
        client={"source": source.name, **order.client},
        tenant=order.tenant,
        deadline_at=None if order.wanted_within is None else now + order.wanted_within,
        created_at=now,
    )


def _check_defaults(defaults: BatchDefaults, card: ModelCard) -> None:
    try:
        settle_sampler(card.sampler, [defaults])
    except ValueError as error:
        raise InputError(first_reason(error)[1]) from None


def _write(database: Database, batch: Batch, rows: Iterator[dict[str, Any]]) -> int:
    total = 0
    with database.write() as session:
        session.add(batch)
        session.flush()
        while group := list(islice(rows, ROWS_A_STATEMENT)):
            session.execute(insert(Job), group)
            total += len(group)
        batch.total = total
        batch.submitted_at = utc_now()
        note_new(session, batch.id, JobState.PENDING, total)
    return total


def _rows(
    batch_id: UUID,
    source: PromptSource,
    defaults: BatchDefaults,
    card: ModelCard,
    log: RejectLog,
) -> Iterator[dict[str, Any]]:
    position = 0
    for line in source.lines:
        images = _images(line, defaults, card, position, log)
        for image, request in images:
            if position == MAX_JOBS_A_BATCH:
                raise InputError(
                    f"{source.name}:{line.line_number}: a batch holds at most "
                    f"{MAX_JOBS_A_BATCH:,} images",
                    hint="Submit it in parts.",
                )
            yield {
                "id": new_id(),
                "batch_id": batch_id,
                "position": position,
                "custom_id": request.custom_id,
                "source_line": line.line_number,
                "details": request.metadata,
                "state": JobState.PENDING,
                **image.model_dump(),
            }
            position += 1


def _images(
    line: PromptLine, defaults: BatchDefaults, card: ModelCard, position: int, log: RejectLog
) -> Iterable[tuple[ImageSettings, PromptRequest]]:
    if isinstance(line, RejectedLine):
        log.add(line)
        return ()
    try:
        images = settle(line.request, defaults, card, position)
    except ValueError as error:
        log.add(
            rejected_by(error, line.line_number, line.request.model_dump_json(exclude_unset=True))
        )
        return ()
    return ((image, line.request) for image in images)
