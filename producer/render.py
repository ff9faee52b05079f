"""One batch drawn from its first job to its last, on this host, into a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy import select

from producer.contact_sheet import write_contact_sheet
from producer.dispatch import Dispatcher, DispatcherThread
from producer.local_fleet import LocalFleet
from producer.names import default_folder
from producer.pull import PulledFolder, Puller
from producer.services import Services
from producer.status import BatchStatus, read_status
from shared.db.batches import count_jobs, find_batch, is_finished, set_control
from shared.db.tables import Batch
from shared.domain.jobs import BatchControl
from shared.errors import InputError

STARTING = "a worker is starting"

OUT_KEY = "out"
"""Where ``Batch.client`` keeps the folder that a render writes to."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a render left in its folder."""

    pulled: PulledFolder
    contact_sheet: Path | None
    """None when not a single image was drawn."""


class Render:
    """Starts what is not there, and leaves running nothing that it started.

    Left by an exception, Ctrl-C among them, it pauses the batch: nobody goes on drawing
    what somebody has just called off, and a later ``--resume`` finishes it.
    """

    def __init__(
        self,
        services: Services,
        batch_id: UUID,
        out_dir: Path,
        workers: int,
        fleet: LocalFleet | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            services: what it works with.
            batch_id: the batch.
            out_dir: where its images go.
            workers: how many to start, if none is alive.
            fleet: those, where they were started already.
        """
        self._services = services
        self._batch_id = batch_id
        self._workers = workers
        self._fleet = fleet
        self._puller = Puller(services.database, services.store, batch_id, out_dir)
        dispatcher = Dispatcher(
            services.database, services.broker, services.settings, only_batch=batch_id
        )
        self._dispatcher = DispatcherThread(
            dispatcher, services.broker, services.settings.dispatch_seconds
        )

    def __enter__(self) -> Self:
        """Start the dispatcher, and a local fleet unless a worker is alive."""
        self._dispatcher.start()
        if self._fleet is None and not self._status().workers_alive:
            self._start_fleet()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what was started."""
        self._dispatcher.stop()
        if error is not None:
            self._pause()
        if self._fleet is not None:
            self._fleet.stop()
        if error is not None:
            self._puller.pull_new()

    def poll(self) -> BatchStatus:
        """Revive workers that died, fetch new images, and tell how it stands.

        Where it relied on a worker of somebody else's and that has gone, starts its own.

        Raises:
            TenstepError: the worker does not start, or an image cannot be fetched.
        """
        self._dispatcher.mend()
        if self._fleet is not None:
            self._fleet.supervise()
        self._puller.pull_new()
        status = self._status()
        if self._fleet is None:
            if not status.workers_alive and not status.is_at_rest:
                self._start_fleet()
            return status
        if status.summary.control is not BatchControl.ACTIVE:
            return status
        if status.is_at_rest:
            return status
        return replace(status, why_idle=None if status.ended else STARTING)

    def finish(self) -> Rendered:
        """Write the manifest and the contact sheet; idle workers of our own are ended."""
        self._dispatcher.stop()
        if self._fleet is not None:
            self._fleet.end_idle()
        pulled = self._puller.finish()
        return Rendered(pulled, write_contact_sheet(pulled))

    def _status(self) -> BatchStatus:
        return read_status(self._services.database, self._services.settings, self._batch_id)

    def _start_fleet(self) -> None:
        self._fleet = LocalFleet(self._services.settings, self._services.database, self._workers)
        self._fleet.start()

    def _pause(self) -> None:
        with self._services.database.write() as session:
            batch = session.get_one(Batch, self._batch_id)
            if batch.control == BatchControl.ACTIVE:
                set_control(session, batch, BatchControl.PAUSED)


def resume_batch(services: Services, reference: str | None) -> tuple[Batch, Path]:
    """Find a render that was interrupted, the newest if none is named, and activate it.

    Returns:
        The batch and the folder that it goes to.

    Raises:
        InputError: there is none to resume, or it was cancelled.
    """
    with services.database.write() as session:
        if reference is not None:
            batch: Batch | None = find_batch(session, reference)
        else:
            batch = next(
                (
                    candidate
                    for candidate in session.scalars(select(Batch).order_by(Batch.id.desc()))
                    if OUT_KEY in candidate.client
                    and not is_finished(count_jobs(session, candidate.id))
                ),
                None,
            )
        if batch is None:
            raise InputError("no interrupted render to resume")
        set_control(session, batch, BatchControl.ACTIVE)
        session.flush()
        session.expunge(batch)
    return batch, Path(batch.client.get(OUT_KEY, default_folder(batch.name)))
