"""From prompt lines to a batch of jobs: once, however often it is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from producer.new_jobs import PieceOfJobs, pieces_of_jobs, refuse_bad_lines
from producer.order import Order, RefusedError, Submission, check_order
from producer.prompt_files import PromptSource
from producer.quote_batch import quote_batch, without_reused
from producer.read_ahead import read_ahead
from producer.rejects import RejectLog, Rejects, rejects_path
from producer.reuse import images_from_before
from producer.settle import Settler, check_default_size
from producer.submit_traces import current_traceparent, tracing
from shared.clock import utc_now
from shared.db.batches import cancel_batch, release_positions
from shared.db.bulk import NewJob, ReusedJob, Row, insert_jobs, insert_reused_jobs
from shared.db.drawable_sizes import live_sizes
from shared.db.engine import Database
from shared.db.tables import Batch
from shared.db.tallies import note_new
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from shared.domain.rates import Shape
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.settings import Settings

MAX_NAME_CHARACTERS = 256
FEW_LINES = 10_000
"""So many take less time to read than a process of their own takes to be worth it."""

OnProgress = Callable[[int, float | None], None]
"""Is told how many jobs are written, and the share of the source that was read, if known."""
Transaction = Callable[[], AbstractContextManager[Session]]


Reused = Sequence[tuple[NewJob, ReusedJob]]


class ConflictError(InputError):
    """Somebody else has changed the batch meanwhile."""


def submit(
    database: Database,
    settings: Settings,
    card: ModelCard,
    source: PromptSource,
    order: Order | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> Submission:
    """Write a batch and its jobs.

    With a key, jobs are written, and may be drawn, while the rest is still being read; what
    was cut off goes on with the next submission of the same key. Lines that cannot be drawn are
    listed in ``<data_dir>/rejects``.

    Raises:
        InputError: the source or a default is wrong, there are too many jobs, the safety
            checker may not be switched off, a tag is not one, no live worker can draw the size,
            the batch was cancelled or is being submitted by somebody else; or lines were refused
            (then it is a `RefusedError`).
        ServiceUnavailableError: the list of rejects cannot be written.
    """
    order = order or Order()
    with tracing(order) as note:
        submission = _submit(database, settings, card, source, order, on_progress)
        note(submission)
    return submission


def _submit(
    database: Database,
    settings: Settings,
    card: ModelCard,
    source: PromptSource,
    order: Order,
    on_progress: OnProgress | None,
) -> Submission:
    check_order(order, card, settings)
    batch = _begun_before(database, order)
    # What goes on has to be read as it was begun, for its jobs to be the same.
    silence = timedelta(seconds=settings.lease_seconds)
    sizes = None if batch else live_sizes(database, card.name, silence)
    check_default_size(order.defaults, card, sizes)
    settler = Settler(order.defaults, card, sizes)
    if not order.takes_good_lines:
        _refuse_bad_lines(source, settler, settings)
        source = source.again()
    batch = batch or _new_batch(card, source, order)
    if batch.submitted_at is not None:
        return _submitted_before(batch, source)
    return _Submitter(database, settings, settler, batch, order).submit(source, on_progress)


def _refuse_bad_lines(source: PromptSource, settler: Settler, settings: Settings) -> None:
    log = RejectLog(source.name, rejects_path(settings, new_id()))
    try:
        refuse_bad_lines(source, settler, log)
    except BaseException:
        log.discard()
        raise
    rejects = log.close()
    if rejects.count:
        raise RefusedError(rejects, f"{rejects.count:,} lines are bad, and so none is taken")


def _begun_before(database: Database, order: Order) -> Batch | None:
    if order.key is None:
        return None
    same = select(Batch).where(Batch.tenant == order.tenant, Batch.key == order.key)
    with database.read() as session:
        return session.scalar(same)


def _submitted_before(batch: Batch, source: PromptSource) -> Submission:
    refused = batch.client.get("rejected", {"count": 0, "file": None})
    path = Path(refused["file"]) if refused["file"] else None
    rejects = Rejects(source.name, refused["count"], (), path)
    return Submission(
        batch.id,
        batch.name,
        batch.model,
        batch.total,
        rejects,
        was_there=batch.total,
        requests=batch.client.get("requests"),
        quote=batch.quote,
    )


def _new_batch(card: ModelCard, source: PromptSource, order: Order) -> Batch:
    now = utc_now()
    return Batch(
        id=order.batch_id or new_id(),
        name=(order.name or Path(source.name).name)[:MAX_NAME_CHARACTERS],
        model=card.name,
        priority=order.priority,
        safety_checker=order.safety_checker,
        client={"source": source.name, **order.client},
        tenant=order.tenant,
        key=order.key,
        tags=dict(order.tags) or None,
        max_nanodollars=order.max_nanodollars,
        images_per_pass=order.images_per_pass,
        total=0,
        deadline_at=None if order.wanted_within is None else now + order.wanted_within,
        created_at=now,
        traceparent=current_traceparent(),
    )


class _Submitter:
    """Writes one batch."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        settler: Settler,
        batch: Batch,
        order: Order,
    ) -> None:
        self._database = database
        self._settings = settings
        self._order = order
        self._settler = settler
        self._batch = batch
        self._id, self._name, self._model = batch.id, batch.name, batch.model
        self._was_there = self._total = batch.total
        self._reused = 0
        self._requests: int | None = None
        self._quote: dict[str, Any] | None = None
        self._state = JobState.HELD if order.is_held else JobState.PENDING
        self._rejects_path = rejects_path(settings, batch.id)

    def submit(self, source: PromptSource, on_progress: OnProgress | None) -> Submission:
        """Write what is not written yet."""
        try:
            rejects = self._write_all(source, on_progress)
        except ConflictError:
            raise
        except InputError as error:
            if self._order.key is None or not self._total:
                raise
            raise self._called_off(error) from error
        return Submission(
            self._id,
            self._name,
            self._model,
            self._total,
            rejects,
            was_there=self._was_there,
            requests=self._requests,
            reused=self._reused,
            quote=self._quote,
        )

    def _write_all(self, source: PromptSource, on_progress: OnProgress | None) -> Rejects:
        with ExitStack() as stack:
            pieces = self._read(stack, source)
            transaction = self._transaction(stack)
            for piece in pieces:
                self._write(transaction, piece)
                if on_progress is not None:
                    on_progress(self._total, piece.share_read)
            if piece.rejects is None or piece.images is None:
                raise RuntimeError("the last piece tells what was refused, and what was not")
            if not self._total:
                raise RefusedError(piece.rejects, "no line of it can be drawn")
            self._requests = piece.requests
            self._finish(transaction, piece.rejects, piece.images)
        return piece.rejects

    def _read(self, stack: ExitStack, source: PromptSource) -> Iterator[PieceOfJobs]:
        if source.expected is not None and source.expected <= FEW_LINES:
            return self._pieces(source)
        return stack.enter_context(read_ahead(lambda: self._pieces(source)))

    def _pieces(self, source: PromptSource) -> Iterator[PieceOfJobs]:
        log = RejectLog(source.name, self._rejects_path)
        return pieces_of_jobs(
            source, self._id, self._settler, log, self._state, skip=self._was_there
        )

    def _transaction(self, stack: ExitStack) -> Transaction:
        """Return what opens a transaction a piece; without a key it is one for all."""
        if self._order.key is not None:
            return self._database.write
        session = stack.enter_context(self._database.write())
        return lambda: nullcontext(session)

    def _write(self, transaction: Transaction, piece: PieceOfJobs) -> None:
        if not piece.jobs:
            return
        try:
            with transaction() as session:
                reused = self._write_jobs(session, piece.jobs)
        except IntegrityError:
            raise self._conflict() from None
        self._total += len(piece.jobs)
        self._reused += reused

    def _write_jobs(self, session: Session, jobs: Sequence[Row]) -> int:
        """Write some jobs; returns how many of them have an image from before."""
        if not self._total:
            session.add(self._batch)
            session.flush()
        new, done = (self._sorted if self._order.reuses else _all_new)(session, jobs)
        insert_jobs(session, new)
        insert_reused_jobs(session, done)
        # Last, for whoever has the batch's row keeps the dispatcher waiting.
        self._count(session, len(jobs))
        note_new(session, self._id, self._state, len(new))
        note_new(session, self._id, JobState.DONE, len(done))
        return len(done)

    def _sorted(self, session: Session, jobs: Sequence[Row]) -> tuple[Sequence[Row], Reused]:
        """Tell jobs that are to be drawn from those whose image the tenant has already."""
        named = [NewJob._make(job) for job in jobs]
        now = self._database.now(session)
        grids = self._settler.searched_grids
        there = images_from_before(session, named, self._model, grids, self._order, now)
        return [job for job in named if job.position not in there], [
            (job._replace(state=JobState.DONE.value), there[job.position])
            for job in named
            if job.position in there
        ]

    def _count(self, session: Session, jobs: int) -> None:
        """Compare and set, so that of two submissions of one key one ends here."""
        counted = session.execute(
            update(Batch)
            .where(Batch.id == self._id, Batch.total == self._total)
            .where(Batch.control != BatchControl.CANCELLED)
            .values(total=self._total + jobs),
            execution_options={"synchronize_session": False},
        )
        if cast("CursorResult[Any]", counted).rowcount != 1:
            raise self._conflict()

    def _conflict(self) -> ConflictError:
        return ConflictError(
            f"batch {self._name} was cancelled, or is being submitted by somebody else",
            hint="tenstep status --all shows it.",
        )

    def _finish(
        self, transaction: Transaction, rejects: Rejects, images: Mapping[Shape, int]
    ) -> None:
        refused = {"count": rejects.count, "file": str(rejects.path) if rejects.path else None}
        with transaction() as session:
            batch = session.get_one(Batch, self._id)
            if self._order.sample:
                chosen = spread(self._order.sample, self._total)
                release_positions(session, batch, chosen)
            batch.client = {**batch.client, "rejected": refused, "requests": self._requests}
            if self._order.reuses:
                images = without_reused(session, self._id, images)
            batch.quote = self._quote = quote_batch(
                session,
                self._settings,
                self._model,
                images,
                self._order.local_workers,
                self._database.now(session),
            )
            batch.submitted_at = utc_now()

    def _called_off(self, error: InputError) -> InputError:
        """End a batch whose source turned out to be bad after some of it was written."""
        with self._database.write() as session:
            batch = session.get_one(Batch, self._id)
            cancel_batch(session, batch, self._database.now(session))
            batch.submitted_at = utc_now()
            batch.key = None
        return InputError(
            f"{error.message}; batch {self._id} is cancelled, with the {self._total:,} jobs that "
            "were written before",
            hint=error.hint,
        )


def _all_new(_session: Session, jobs: Sequence[Row]) -> tuple[Sequence[Row], Reused]:
    return jobs, ()


def spread(count: int, total: int) -> list[int]:
    """Choose positions at equal distances, so that they stand for the whole."""
    count = min(count, total)
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]
