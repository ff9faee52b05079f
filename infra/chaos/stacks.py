"""What a fleet runs on: servers that the suite starts, and can break."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos.proxy import StoreProxy, run_proxy
from shared.db.engine import Database
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from support.commands import COMMAND_SECONDS, TENSTEP, redis_processes
from support.postgres import Postgres, run_postgres
from support.seaweedfs import S3Bucket, S3Server, run_seaweedfs
from support.valkey import RedisServer, run_valkey

SERVICES = "services"
"""Postgres, an S3 server and Redis, named by URL."""
LOCAL = "local"
"""SQLite, a folder and a Redis that tenstep starts itself."""
QUICK = {
    "TENSTEP_DEVICE": "simulated:0",
    "TENSTEP_LEASE_SECONDS": "3",
    "TENSTEP_HEARTBEAT_SECONDS": "0.5",
    "TENSTEP_STOP_GRACE_SECONDS": "15",
}
"""Short leases, so that a scenario does not spend its time in waiting for their end."""
REDIS_AWAY_SECONDS = 2
FOREIGN = ("TENSTEP_", "AWS_", "PYTHONPATH", "CELERY")


@dataclass
class Servers:
    """Servers that outlive a scenario; each scenario has a database and a bucket of its own."""

    postgres: Postgres
    s3: S3Server


@contextmanager
def run_servers() -> Iterator[Servers]:
    """Start them; they end with the block."""
    with run_postgres() as postgres, run_seaweedfs() as s3:
        yield Servers(postgres, s3)


@dataclass
class Stack:
    """The services of one scenario, empty at its beginning."""

    kind: str
    folder: Path
    environment: dict[str, str]
    """Of every process of tenstep's, whole."""
    postgres: Postgres | None = None
    redis: RedisServer | None = None
    proxy: StoreProxy | None = None
    command_prefix: list[str] = field(default_factory=list)
    """What processes of tenstep's are started through."""

    @property
    def data_dir(self) -> Path:
        """The fleet's data folder."""
        return self.folder / "data"

    @property
    def label(self) -> str:
        """Name the stack in a report."""
        return {SERVICES: "pg+s3", LOCAL: "sqlite"}[self.kind]

    @cached_property
    def settings(self) -> Settings:
        """What tenstep's processes read from their environment."""
        values: dict[str, Any] = {
            name.removeprefix("TENSTEP_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("TENSTEP_")
        }
        return Settings(**values)

    @cached_property
    def database(self) -> Database:
        """The books."""
        return Database(self.settings.resolved_database_url)

    @cached_property
    def store(self) -> ObjectStore:
        """The images."""
        return open_store(self.settings)

    def tenstep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; whatever its exit code."""
        return subprocess.run(
            [*self.command_prefix, TENSTEP, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def own_redis(self) -> int:
        """Return the process id of the Redis that tenstep runs itself."""
        [found] = redis_processes(self.data_dir)
        return found.pid

    def empty_redis(self) -> None:
        """Kill Redis and have it start again with nothing in it."""
        if self.redis is not None:
            self.redis.restart_empty(REDIS_AWAY_SECONDS)
            return
        pid = self.own_redis()
        os.kill(pid, signal.SIGSTOP)
        shutil.rmtree(self.data_dir / "redis" / "appendonlydir")
        os.kill(pid, signal.SIGKILL)


MakeStack = Callable[[Path, Servers], contextlib.AbstractContextManager[Stack]]


@contextmanager
def services_stack(folder: Path, servers: Servers) -> Iterator[Stack]:
    """Postgres, S3 through a proxy that can fail, and a Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(run_valkey())
        proxy = stack.enter_context(run_proxy(servers.s3.endpoint_url))
        database = servers.postgres.create_database()
        stack.callback(servers.postgres.drop_database, database)
        bucket = S3Bucket(servers.s3, f"chaos-{secrets.token_hex(6)}")
        client = servers.s3.client()
        stack.callback(client.close)
        client.create_bucket(Bucket=bucket.name)
        stack.callback(_drop_bucket, client, bucket.name)
        environment = _environment(folder) | bucket.settings
        environment |= {
            "TENSTEP_S3_ENDPOINT_URL": proxy.url,
            "TENSTEP_DATABASE_URL": servers.postgres.url(database),
            "TENSTEP_REDIS_URL": redis.url,
        }
        made = Stack(SERVICES, folder, environment, servers.postgres, redis, proxy)
        yield made
        made.database.close()


@contextmanager
def local_stack(folder: Path, servers: Servers) -> Iterator[Stack]:  # noqa: ARG001 - as others
    """A data folder: the rest tenstep does itself."""
    made = Stack(LOCAL, folder, _environment(folder))
    yield made
    made.database.close()


def _drop_bucket(client: Any, name: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        if keys := [{"Key": found["Key"]} for found in page.get("Contents", ())]:
            client.delete_objects(Bucket=name, Delete={"Objects": keys})
    client.delete_bucket(Bucket=name)


def _environment(folder: Path) -> dict[str, str]:
    inherited: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)
    }
    return {
        **inherited,
        **QUICK,
        "TENSTEP_DATA_DIR": str(folder / "data"),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
