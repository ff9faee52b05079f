"""Worker processes on this host, one or more for each of its devices."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from uuid import UUID

from producer.local_devices import MANY_WORKERS, choose_devices
from producer.local_worker import LocalWorker
from producer.worker_process import WorkerProcess
from shared.db.engine import Database
from shared.domain.devices import Device
from shared.errors import ConfigurationError, TenstepError
from shared.settings import Settings


class LocalFleet:
    """Workers of one model on devices of this host."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        count: int,
        devices: Sequence[str] | None = None,
        ahead: WorkerProcess | None = None,
    ) -> None:
        """Make them; none is started yet.

        Args:
            settings: theirs.
            database: where they register.
            count: how many processes each device gets.
            devices: names, each of which is for processes of their own; default those that the
                settings have.
            ahead: the first process, where that was started already.

        Raises:
            ConfigurationError: this host lacks a device, or it can have one process alone.
        """
        self._grace_seconds = settings.stop_grace_seconds
        if count:
            devices = choose_devices(settings.device).names if devices is None else devices
        places = [name for name in devices or () for _ in range(count)]
        for name in places if count > 1 else ():
            _check_shared(name, count)
        if not settings.cpu_threads and len(places) > 1:
            # Two workers that each take every core draw at less than half the rate of one.
            cores = os.cpu_count() or 1
            settings = settings.model_copy(update={"cpu_threads": max(1, cores // len(places))})
        self._workers = [
            LocalWorker(
                settings.model_copy(update={"device": name}), database, None if number else ahead
            )
            for number, name in enumerate(places)
        ]

    @property
    def worker_ids(self) -> set[UUID]:
        """The ids of the present processes' workers."""
        return {worker_id for worker in self._workers for worker_id in worker.worker_ids}

    @property
    def faults(self) -> Mapping[str, str]:
        """The devices that were taken out, and why."""
        return {worker.device: worker.fault for worker in self._workers if worker.fault is not None}

    def start(self) -> None:
        """Start all."""
        for worker in self._workers:
            worker.start()

    def supervise(self) -> None:
        """Start again those that died.

        Raises:
            ConfigurationError: one does not start, and its device is not to blame.
            TenstepError: no device is left on which one starts.
        """
        for worker in self._workers:
            worker.supervise()
        if self._workers and all(worker.fault is not None for worker in self._workers):
            raise self._nothing_left()

    def _nothing_left(self) -> TenstepError:
        last = self._workers[-1]
        hint = f"Its log is {last.log_path}."
        if len(self._workers) == 1:
            return TenstepError(f"the worker does not start: {last.fault}", hint=hint)
        told = "; ".join(f"{device}: {reason}" for device, reason in self.faults.items())
        return TenstepError(f"no worker starts: {told}", hint=f"The log of one is {last.log_path}.")

    def ask_to_stop(self) -> None:
        """Have all give back their jobs and end."""
        for worker in self._workers:
            worker.ask_to_stop()

    def stop(self) -> None:
        """Stop all, at the same time; kills those that take too long."""
        self.ask_to_stop()
        deadline = time.monotonic() + self._grace_seconds
        for worker in self._workers:
            worker.wait_or_kill(max(0.0, deadline - time.monotonic()))

    def end_idle(self) -> None:
        """End those that have nothing in hand: there is nothing to wait for."""
        for worker in self._workers:
            worker.end_if_idle()


def _check_shared(name: str, count: int) -> None:
    if Device.parse_all(name)[0].kind not in MANY_WORKERS:
        raise ConfigurationError(
            f"--workers {count}: one worker has {name} at a time",
            hint="cpu and simulated devices can have several.",
        )
