"""Feeds the queues from SQL: a little ahead of the workers, never more.

Losing Redis loses nothing: a chunk that was sent, is still unclaimed, and whose queue is
empty, was lost, and is sent again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.leases import UNDISPATCHED, expire_leases, has_expired_leases
from shared.db.tables import Batch, Job
from shared.domain.identifiers import new_id
from shared.domain.jobs import BatchControl, JobState
from shared.errors import TenstepError
from shared.messaging.broker import Broker
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings

log = structlog.get_logger()

LOST_AFTER = timedelta(seconds=5)
"""How long a chunk may be neither in its queue nor claimed: a claim takes milliseconds."""

ABANDONED_AFTER = timedelta(seconds=30)
"""How long a chunk waits in a queue that no worker reads any more."""


class Dispatcher:
    """Sends chunks of pending jobs to the queues of the workers that are alive."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        settings: Settings,
        *,
        only_batch: UUID | None = None,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._only_batch = only_batch

    def tick(self, now: datetime) -> int:
        """Look once: take back expired leases, send what was lost, top up every queue.

        Returns:
            How many chunks were sent.

        Raises:
            ServiceUnavailableError: Redis does not answer. Nothing is lost by that.
        """
        # Looked at before they are written to: on SQLite a writer keeps out all others.
        with self._database.read() as session:
            has_expired = has_expired_leases(session, now)
            alive = live_workers(session, now, timedelta(seconds=self._settings.lease_seconds))
            models = {worker.queue: worker.model for worker in alive if not worker.draining}
            capacity = Counter(worker.queue for worker in alive if not worker.draining)
            abandoned = session.scalars(_in_abandoned_queues(models, now)).all() if models else []
        if has_expired:
            with self._database.write() as session:
                expired = expire_leases(session, now, self._settings.max_attempts)
            log.warning("leases_expired", jobs=expired)
        if abandoned:
            self._take_back(abandoned)
        sent = 0
        for queue, model in models.items():
            sent += self._resend_lost(queue, now)
            sent += self._top_up(queue, model, capacity[queue], now)
        return sent

    def _top_up(self, queue: str, model: str, workers: int, now: datetime) -> int:
        with self._database.read() as session:
            waiting = session.scalar(
                select(func.count(Job.chunk_id.distinct())).where(
                    Job.queue == queue, Job.state == JobState.PENDING
                )
            )
        room = self._settings.look_ahead * workers - (waiting or 0)
        for sent in range(room):
            with self._database.write() as session:
                message = self._assign_chunk(session, queue, model, now)
            if message is None:
                return sent
            self._broker.send_chunk(queue, message)
        return max(0, room)

    def _assign_chunk(
        self, session: Session, queue: str, model: str, now: datetime
    ) -> RenderChunk | None:
        batch_id = session.scalar(self._next_batch(model, now))
        if batch_id is None:
            return None
        ready = _ready_jobs(now).where(Job.batch_id == batch_id).order_by(Job.position)
        candidates = session.scalars(
            ready.limit(self._settings.chunk_size).with_for_update(skip_locked=True)
        ).all()
        jobs = _alike(candidates)
        if not jobs:
            return None
        chunk_id = new_id()
        for job in jobs:
            job.chunk_id, job.queue, job.dispatched_at = chunk_id, queue, now
        return RenderChunk(chunk_id=chunk_id, batch_id=batch_id)

    def _next_batch(self, model: str, now: datetime) -> Select[UUID]:
        query = (
            select(Batch.id)
            .where(Batch.control == BatchControl.ACTIVE, Batch.model == model)
            .where(_ready_jobs(now).where(Job.batch_id == Batch.id).exists())
            .order_by(Batch.priority.desc(), Batch.id)
            .limit(1)
        )
        return query if self._only_batch is None else query.where(Batch.id == self._only_batch)

    def _resend_lost(self, queue: str, now: datetime) -> int:
        with self._database.read() as session:
            rows = session.execute(
                select(Job.chunk_id, Job.batch_id)
                .where(Job.queue == queue, Job.state == JobState.PENDING)
                .where(Job.dispatched_at < now - LOST_AFTER)
                .distinct()
            ).all()
        lost = {chunk_id: batch_id for chunk_id, batch_id in rows if chunk_id is not None}
        if not lost or self._broker.queue_length(queue) > 0:
            return 0
        log.warning("chunks_sent_again", queue=queue, chunks=len(lost))
        for chunk_id, batch_id in lost.items():
            self._broker.send_chunk(queue, RenderChunk(chunk_id=chunk_id, batch_id=batch_id))
        with self._database.write() as session:
            session.execute(
                update(Job)
                .where(Job.chunk_id.in_(lost))
                .where(Job.state == JobState.PENDING)
                .values(dispatched_at=now)
            )
        return len(lost)

    def _take_back(self, queues: Sequence[str | None]) -> None:
        log.warning("queues_abandoned", queues=queues)
        with self._database.write() as session:
            session.execute(
                update(Job)
                .where(Job.state == JobState.PENDING, Job.queue.in_(queues))
                .values(**UNDISPATCHED)
            )


def _in_abandoned_queues(live_queues: Iterable[str], now: datetime) -> Select[str | None]:
    return (
        select(Job.queue)
        .where(Job.state == JobState.PENDING, Job.queue.is_not(None))
        .where(Job.queue.not_in(live_queues), Job.dispatched_at < now - ABANDONED_AFTER)
        .distinct()
    )


def _ready_jobs(now: datetime) -> Select[Job]:
    return select(Job).where(
        Job.state == JobState.PENDING,
        Job.chunk_id.is_(None),
        or_(Job.not_before.is_(None), Job.not_before <= now),
    )


def _alike(jobs: Sequence[Job]) -> Sequence[Job]:
    """Keep the jobs that can share the first one's chunk.

    They share its size, scheduler and steps. A job that was tried before goes alone, so that if it
    is what kills its worker, it takes no neighbour with it.
    """
    if not jobs or jobs[0].attempts > 0:
        return jobs[:1]
    return [job for job in jobs if job.attempts == 0 and _shape(job) == _shape(jobs[0])]


def _shape(job: Job) -> tuple[int, int, str, int, str | None]:
    return job.width, job.height, job.scheduler, job.steps, job.squeeze


class DispatcherThread:
    """Ticks until told to stop; outlives the failures of Redis and of the database.

    Whoever starts it calls `mend` from its own thread now and then: a server of our own
    has to be started again from there, for Linux ends it with the thread that started it.
    """

    def __init__(self, dispatcher: Dispatcher, broker: Broker, interval_seconds: float) -> None:
        self._dispatcher = dispatcher
        self._broker = broker
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._broker_is_lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the tick in progress."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def mend(self) -> None:
        """Start our own Redis again if a tick found it gone."""
        if not self._broker_is_lost.is_set():
            return
        self._broker_is_lost.clear()
        try:
            self._broker.connect()
        except TenstepError as error:
            log.warning("broker_unavailable", error=str(error))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self._dispatcher.tick(utc_now())
            except (TenstepError, SQLAlchemyError) as error:
                log.warning("dispatch_failed", error=str(error))
                self._broker_is_lost.set()
