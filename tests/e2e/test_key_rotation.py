"""Passwords of Postgres and Redis, and keys of S3, are changed while a batch is drawn."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from sqlalchemy.engine import make_url

from support.commands import wait_until
from support.postgres import Postgres
from support.rollout import FAST, SIMULATED, SLOW, Rollout, rolled_out, stop
from support.seaweedfs import S3Bucket
from support.valkey import RedisServer, run_valkey

pytestmark = pytest.mark.timeout(300)

PROMPTS = [f"a red apple number {number}" for number in range(200)]


class Logins:
    """Two logins of one database, one the other's heir; made by its administrator."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._database = str(make_url(admin_url).database)
        self.old, self.new = (f"tenstep_{secrets.token_hex(4)}" for _ in range(2))
        self.execute(f"CREATE ROLE {self.old} LOGIN PASSWORD 'old'")
        self.execute(f"CREATE ROLE {self.new} LOGIN PASSWORD 'new' IN ROLE {self.old}")
        self.execute(f"GRANT ALL ON SCHEMA public TO {self.old}")

    def execute(self, statement: str) -> None:
        url = self._admin_url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def url(self, name: str, password: str) -> str:
        url = make_url(self._admin_url).set(username=name, password=password)
        return url.render_as_string(hide_password=False)

    def drop(self) -> None:
        for name in (self.new, self.old):
            self.execute(f"DROP OWNED BY {name} CASCADE")
            self.execute(f"DROP ROLE {name}")


@pytest.fixture
def logins(_postgres: Postgres) -> Iterator[Logins]:
    name = _postgres.create_database()
    logins = Logins(_postgres.url(name))
    yield logins
    logins.drop()
    _postgres.drop_database(name)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with run_valkey() as server:
        yield server


@pytest.fixture
def rollout(logins: Logins, redis: RedisServer, s3: S3Bucket, tmp_path: Path) -> Iterator[Rollout]:
    shared = {
        **os.environ,
        **SIMULATED,
        **s3.settings,
        "TENSTEP_DATA_DIR": str(tmp_path / "data"),
    }
    old = {
        **shared,
        "TENSTEP_DATABASE_URL": logins.url(logins.old, "old"),
        "TENSTEP_REDIS_URL": redis.url,
    }
    new = {
        **shared,
        "TENSTEP_DATABASE_URL": logins.url(logins.new, "new"),
        "TENSTEP_REDIS_URL": with_password(redis.url, "another"),
        "TENSTEP_S3_ACCESS_KEY_ID": s3.server.second.access_key_id,
        "TENSTEP_S3_SECRET_ACCESS_KEY": s3.server.second.secret_access_key,
    }
    with rolled_out(new, old, tmp_path) as rollout:
        yield rollout


def with_password(url: str, password: str) -> str:
    return make_url(url).set(password=password).render_as_string(hide_password=False)


def test_a_batch_goes_on_while_every_password_is_changed(
    rollout: Rollout, logins: Logins, redis: RedisServer
) -> None:
    _, url = rollout.serve(rollout.old)
    old_dispatcher = rollout.start(rollout.old, "dispatch")
    old_worker, old_ids = rollout.work({**rollout.old, **SLOW}, 1)
    rollout.batch_id = rollout.submit(url, PROMPTS)
    wait_until(lambda: rollout.done() >= 8)

    with Redis.from_url(redis.url) as client:
        client.execute_command("ACL SETUSER default >another")
        rollout.start(rollout.new, "dispatch")
        _, new_ids = rollout.work({**rollout.new, **FAST}, 1)
        wait_until(lambda: rollout.drawn_by(new_ids) >= 8)
        old_password = make_url(redis.url).password
        client.execute_command(f"ACL SETUSER default <{old_password}")
    logins.execute(f"ALTER ROLE {logins.old} PASSWORD 'nobody knows'")
    drawn = rollout.drawn_by(old_ids)
    wait_until(lambda: rollout.drawn_by(old_ids) >= drawn + 4)
    stop(old_worker)
    stop(old_dispatcher)
    wait_until(lambda: rollout.done() == len(PROMPTS))

    assert rollout.problems() == []
