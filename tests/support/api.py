"""A server of the API for tests: real processes on a loopback port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx

from producer.dispatch import Dispatcher, DispatcherThread
from producer.keys import create_key
from producer.local_fleet import LocalFleet
from producer.services import Services, open_services
from producer.serving import ServerProcesses, listen
from shared.db.engine import Database
from shared.domain.access import OF_A_TENANT, Scope
from shared.settings import Settings
from shared.storage.base import ObjectStore
from support.servers import START_SECONDS

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A server that answers, with its clerk; nobody dispatches or draws unless `drawing` runs."""

    url: str
    """Without a slash at the end."""
    services: Services
    processes: ServerProcesses

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def store(self) -> ObjectStore:
        return self.services.store

    def client(self, secret: str | None = None) -> httpx.Client:
        """Make a client that must be closed; None is one without a key."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def new_key(self, tenant: str, *scopes: Scope) -> str:
        """Make a key, by default one that may do all of its tenant's; returns its secret.

        From the first one on everybody needs one.
        """
        with self.database.write() as session:
            now = self.database.now(session)
            return create_key(session, tenant, "test", scopes or OF_A_TENANT, now)[1]

    @contextmanager
    def drawing(self, workers: int = 1, *, device: str = "simulated:0") -> Iterator[set[UUID]]:
        """Dispatch and draw while the block runs; yields the workers."""
        settings = self.settings.model_copy(
            update={"device": device, "simulated_image_seconds": 0.001}
        )
        fleet = LocalFleet(settings, self.database, workers)
        dispatcher = DispatcherThread(
            Dispatcher(self.database, self.services.broker, settings),
            self.services.broker,
            settings.dispatch_seconds,
        )
        dispatcher.start()
        try:
            fleet.start()
            yield fleet.worker_ids
        finally:
            dispatcher.stop()
            fleet.stop()


@contextmanager
def run_api(settings: Settings, *, processes: int = 1, port: int = 0) -> Iterator[ApiServer]:
    """Serve on a port of the loopback, by default any that is free, while the block runs."""
    with open_services(settings) as services, listen(LOOPBACK, port) as listening:
        server = ServerProcesses(settings, listening, processes)
        server.start()
        try:
            _wait_until_it_answers(server)
            yield ApiServer(server.url, services, server)
        finally:
            server.stop()


def _wait_until_it_answers(server: ServerProcesses) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        server.supervise()
        try:
            if httpx.get(f"{server.url}/healthz", timeout=1).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the server does not answer")
