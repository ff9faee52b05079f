"""One look after another: what has expired, what was lost, what has room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from producer.dispatch import queries
from producer.dispatch.budgets import look_at_budgets
from producer.dispatch.fairness import OpenBatch, Shares
from producer.dispatch.lead import Lead
from producer.dispatch.look import Look, abandoned
from producer.dispatch.picking import Picker, Picks
from producer.dispatch.queries import Waiting
from producer.dispatch.queues import Queue, Readers, read_readers
from producer.dispatch.traces import ChunkTraces
from producer.dispatch.upkeep import Upkeep
from shared.db.engine import Database
from shared.db.lost_leases import expire_leases, has_expired_leases
from shared.db.unsent import keep_to_index_order
from shared.messaging.broker import Broker
from shared.messaging.contracts import RenderChunk
from shared.settings import Settings

log = structlog.get_logger()

LOST_AFTER = timedelta(seconds=5)
"""How long a chunk may be neither in its queue nor claimed: a claim takes milliseconds."""

LOOK_INTO_QUEUE_EVERY = timedelta(seconds=2)
"""A queue's messages are read to see what is missing, so not at every look."""
READ_QUICKLY = 2_000
"""Messages; a longer queue is read less often, unless it is plain that many are missing."""
MOST_ARE_THERE = 0.9
"""The part of a queue that is there though workers have some messages that they claim."""

ABANDONED_AFTER = timedelta(seconds=30)
"""How long a chunk waits in a queue that no worker reads any more."""

CHUNKS_A_TRANSACTION = 64


class Dispatcher:
    """Sends chunks of pending jobs to the queues of the workers that are alive.

    Of several dispatchers one works: the one that has the lead. With ``only_batch`` it is
    a render's own. That one leads for the length of one look, and only if nobody leads who
    serves all batches.
    """

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
        self._lead = Lead(database, timedelta(seconds=settings.dispatcher_lease_seconds))
        self._shares: dict[str, Shares] = {}
        self._looked_into_at: dict[str, datetime] = {}
        self._picker = Picker(settings.chunk_size)
        silence = timedelta(seconds=settings.lease_seconds)
        self._upkeep = Upkeep(database, silence, only_batch)
        self._traces = ChunkTraces(database)

    def tick_now(self) -> int:
        """Look once, at the time that the database tells; see `tick`."""
        with self._database.read() as session:
            now = self._database.now(session)
        return self.tick(now)

    def tick(self, now: datetime) -> int:
        """Look once: take back expired leases, send what was lost, top up every queue.

        Returns:
            How many chunks were sent; none while another dispatcher leads.

        Raises:
            ServiceUnavailableError: Redis does not answer. Nothing is lost by that.
        """
        led = self._lead.is_ours and self._lead.take(now)
        # Looked at before they are written to: on SQLite a writer keeps out all others.
        with self._database.read() as session:
            may_lead = led or self._lead.is_free(session, now)
            look = self._look(session, now, led=led) if may_lead else None
        if look is None:
            self._shares.clear()
            return 0
        if self._only_batch is not None and not look.finds_work:
            return 0
        if not led:
            # Whoever led before has sent what we have not counted.
            self._shares.clear()
            if not self._lead.take(now):
                return 0
        try:
            return self._do(look, now)
        finally:
            if self._only_batch is not None:
                self._lead.give_up()

    def stop(self) -> None:
        """Give up the lead."""
        self._lead.give_up()

    def _look(self, session: Session, now: datetime, *, led: bool = False) -> Look:
        keep_to_index_order(session)
        silence = timedelta(seconds=self._settings.lease_seconds)
        readers = read_readers(session, now, silence)
        waiting = queries.chunks_waiting(session, self._only_batch) if readers else {}
        spending, open_batches = look_at_budgets(
            session, queries.open_batches(session, self._only_batch), self._only_batch, now
        )
        return Look(
            led=led,
            queues=[self._queue(session, one, waiting.get(one.queue), now) for one in readers],
            open_batches=open_batches if readers else (),
            has_expired_leases=has_expired_leases(session, now),
            abandoned=abandoned(waiting, {one.queue for one in readers}, now - ABANDONED_AFTER),
            chores=self._upkeep.look(session, spending, now),
        )

    def _queue(
        self, session: Session, readers: Readers, waiting: Waiting | None, now: datetime
    ) -> Queue:
        chunks = waiting.chunks if waiting else 0
        unclaimed: Mapping[UUID, UUID] = {}
        if chunks and self._is_to_be_looked_into(readers.queue, chunks, now):
            sent_before = now - LOST_AFTER
            unclaimed = queries.chunks_sent_before(
                session, readers.queue, sent_before, self._only_batch
            )
            if not unclaimed:
                self._looked_into_at[readers.queue] = now
        return Queue(readers, self._room(readers, chunks), unclaimed)

    def _is_to_be_looked_into(self, queue: str, chunks: int, now: datetime) -> bool:
        """Tell whether it is time to see if messages of a queue are missing."""
        looked_at = self._looked_into_at.get(queue)
        if looked_at is None:
            return True
        since = now - looked_at
        if since < LOOK_INTO_QUEUE_EVERY:
            return False
        if since >= LOOK_INTO_QUEUE_EVERY * (chunks / READ_QUICKLY):
            return True
        return self._broker.queue_length(queue) < chunks * MOST_ARE_THERE

    def _room(self, readers: Readers, chunks: int) -> int:
        return self._settings.look_ahead * readers.count - chunks

    def _do(self, look: Look, now: datetime) -> int:
        self._upkeep.do(look.chores, now)
        if look.has_expired_leases or look.abandoned:
            self._take_back(look, now)
            with self._database.read() as session:
                look = self._look(session, now, led=look.led)
        sent = 0
        for queue in look.queues:
            if queue.unclaimed:
                sent += self._resend_lost(queue, now)
            if batches := look.batches_for(queue):
                sent += self._top_up(queue, batches, now, is_counted=look.led)
            elif queue.room > 0:
                # Nobody waits, so nobody is owed a turn.
                self._shares.pop(queue.name, None)
        return sent

    def _take_back(self, look: Look, now: datetime) -> None:
        if look.has_expired_leases:
            with self._database.write() as session:
                expired = expire_leases(session, now, self._settings.max_attempts)
            log.warning("leases_expired", jobs=expired)
        if look.abandoned:
            log.warning("queues_abandoned", queues=look.abandoned)
            with self._database.write() as session:
                queries.take_back(session, look.abandoned, self._only_batch)

    def _resend_lost(self, queue: Queue, now: datetime) -> int:
        """Send again what is in SQL but no longer in Redis.

        What a worker has received and not claimed yet is sent twice, and claimed once.
        """
        self._looked_into_at[queue.name] = now
        there = self._broker.waiting_chunks(queue.name)
        lost = {chunk: batch for chunk, batch in queue.unclaimed.items() if chunk not in there}
        if not lost:
            return 0
        log.warning("chunks_sent_again", queue=queue.name, chunks=len(lost))
        messages = [RenderChunk(chunk_id=chunk, batch_id=batch) for chunk, batch in lost.items()]
        self._send(queue, messages)
        with self._database.write() as session:
            queries.mark_sent_again(session, lost, now)
        return len(lost)

    def _top_up(
        self, queue: Queue, batches: list[OpenBatch], now: datetime, *, is_counted: bool
    ) -> int:
        shares = self._shares_of(queue.name, batches)
        sent = 0
        room = queue.room if is_counted else None
        while batches:
            with self._database.write() as session:
                if not self._lead.hold(session):
                    break
                if room is None:
                    # Whoever led since this look began may have filled it.
                    room = self._room(queue.readers, queries.count_sent(session, queue.name))
                most = min(room - sent, CHUNKS_A_TRANSACTION)
                messages = self._assign(session, queue, batches, shares, most, now)
            self._send(queue, messages)
            sent += len(messages)
            if len(messages) < CHUNKS_A_TRANSACTION:
                break
        return sent

    def _send(self, queue: Queue, messages: Sequence[RenderChunk]) -> None:
        with self._traces.sending(queue.name, messages) as traceparents:
            self._broker.send_chunks(queue.name, messages, traceparents)

    def _shares_of(self, queue: str, batches: Sequence[OpenBatch]) -> Shares:
        """Return what the tenants have had; at first, what they have under way."""
        if (shares := self._shares.get(queue)) is None:
            shares = self._shares[queue] = Shares(self._settings.tenant_weights)
            with self._database.read() as session:
                under_way = queries.jobs_under_way(session, queue)
                tenants = queries.tenants_of(session, under_way)
            for batch_id, jobs in under_way.items():
                shares.start_with(tenants[batch_id], jobs)
        shares.forget_all_but(batches)
        return shares

    def _assign(
        self,
        session: Session,
        queue: Queue,
        batches: list[OpenBatch],
        shares: Shares,
        room: int,
        now: datetime,
    ) -> list[RenderChunk]:
        """Put jobs in as many chunks as there is room for; takes out batches that have none."""
        keep_to_index_order(session)
        picks = Picks(session, self._picker, queue.readers, now)
        messages: list[RenderChunk] = []
        while batches and len(messages) < room:
            batch = shares.choose(batches)
            picked = picks.pick(batch, ceil((room - len(messages)) / len(batches)))
            if picked is None:
                batches.remove(batch)
                continue
            chunk_id, jobs = picked
            shares.charge(batch, jobs)
            messages.append(RenderChunk(chunk_id=chunk_id, batch_id=batch.id))
        picks.write()
        return messages
