"""What every test gets: a clean environment, and the services that it asks for.

A service starts when the first test asks for it, and ends with the session. They are
real servers, from wheels: nothing has to be installed or running.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.open import open_store
from support.api import ApiServer, run_api
from support.postgres import Postgres, run_postgres
from support.seaweedfs import S3Bucket, S3Server, run_seaweedfs
from support.valkey import RedisServer, run_valkey

pytest_plugins = ["support.browser_fixtures"]

# A slow machine is no failure, and the same code gives the same verdict.
hypothesis_settings.register_profile(
    "tenstep",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("tenstep")

# What a shell runs in the background ignores Ctrl-C, and so would commands that are tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LEFT_OUT = pytest.StashKey[str]()
FOREIGN_SETTINGS = ("TENSTEP_", "AWS_")


def _scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if not name.startswith(FOREIGN_SETTINGS)
    }


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests."""
    _hide_settings(monkeypatch)


def _hide_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(_scrubbed(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


# What needs an accelerator


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a CUDA device where there is none."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    import torch

    if torch.cuda.is_available():
        return
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]
    why = f"torch {torch.__version__} sees no CUDA device"
    config.stash[LEFT_OUT] = f"{len(needing)} tests of CUDA were not run: {why}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports, where tests run in several."""
    output: dict[str, str] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(LEFT_OUT, "")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear that; all processes left out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run, and why."""
    if left_out := terminalreporter.config.stash.get(LEFT_OUT, ""):
        terminalreporter.write_line(left_out)


# Postgres and SQLite


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


@pytest.fixture
def postgres_url(_postgres: Postgres) -> Iterator[str]:
    """An empty Postgres database, as SQLAlchemy URL."""
    name = _postgres.create_database()
    yield _postgres.url(name)
    _postgres.drop_database(name)


@pytest.fixture(scope="session")
def _migrated_postgres(_postgres: Postgres) -> str:
    name = _postgres.create_database()
    _migrate_url(_postgres.url(name))
    return name


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite3"
    _migrate_url(f"sqlite:///{path}")
    return path


def _migrate_url(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.close()


@pytest.fixture
def sqlite_database(_migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    """A migrated database in a SQLite file."""
    path = shutil.copy(_migrated_sqlite, tmp_path / "tenstep.sqlite3")
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def opened_sqlite(_migrated_sqlite: Path) -> Callable[[], AbstractContextManager[Database]]:
    """Opens a migrated database in a SQLite file, another one each time."""

    @contextmanager
    def opened() -> Iterator[Database]:
        with tempfile.TemporaryDirectory() as folder:
            path = shutil.copy(_migrated_sqlite, Path(folder) / "tenstep.sqlite3")
            database = Database(f"sqlite:///{path}")
            yield database
            database.close()

    return opened


@pytest.fixture
def postgres_database(_postgres: Postgres, _migrated_postgres: str) -> Iterator[Database]:
    """A migrated database in Postgres."""
    name = _postgres.create_database(template=_migrated_postgres)
    database = Database(_postgres.url(name))
    yield database
    database.close()
    _postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """A migrated database of each kind."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, as SQLAlchemy URL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


# Object stores


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server with two identities: one may do all, one may only read."""
    with run_seaweedfs() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    yield S3Bucket(s3_server, name)
    client.delete_bucket(Bucket=name)
    client.close()


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ObjectStore:
    """An empty object store of each kind."""
    if request.param == "folder":
        return open_store(Settings(storage_url=(tmp_path / "objects").as_uri()))
    bucket: S3Bucket = request.getfixturevalue("s3")
    with monkeypatch.context() as patch:
        for name, value in bucket.settings.items():
            patch.setenv(name, value)
        return open_store(Settings())


# Redis


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    with run_valkey() as server:
        yield server


@pytest.fixture
def redis_url(_redis: RedisServer) -> str:
    """An empty Redis, as URL with a password."""
    _redis.flush()
    return _redis.url


# All of it


@pytest.fixture(params=["local", "services"])
def stack_env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a subprocess, whole: with tenstep's own services, or with others.

    ``local`` sets the data folder alone; ``services`` names Postgres, S3 and Redis by URL.
    """
    environment = _scrubbed(os.environ) | {
        "TENSTEP_DATA_DIR": str(tmp_path / "data"),
        # Tests run beside each other, and threads that outnumber the cores wait for each other.
        "TENSTEP_CPU_THREADS": "1",
    }
    if request.param == "services":
        bucket: S3Bucket = request.getfixturevalue("s3")
        environment |= bucket.settings
        environment |= {
            "TENSTEP_DATABASE_URL": request.getfixturevalue("postgres_url"),
            "TENSTEP_REDIS_URL": request.getfixturevalue("redis_url"),
        }
    return environment


@pytest.fixture(scope="module")
def api_settings(
    _migrated_sqlite: Path, _redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """What `api` is made by; for modules that make one of their own by others."""
    data_dir = tmp_path_factory.mktemp("api")
    shutil.copy(_migrated_sqlite, data_dir / "tenstep.sqlite3")
    with pytest.MonkeyPatch.context() as patch:
        _hide_settings(patch)
        return Settings(
            data_dir=data_dir,
            redis_url=SecretStr(_redis.url),
            redis_key_prefix=f"api-{secrets.token_hex(4)}:",
        )


@pytest.fixture(scope="module")
def api(api_settings: Settings) -> Iterator[ApiServer]:
    """A server on SQLite and a folder, with what the tests of a module have left in it."""
    with pytest.MonkeyPatch.context() as patch:
        _hide_settings(patch)
        with run_api(api_settings) as server:
            yield server


@pytest.fixture
def api_on_services(
    s3: S3Bucket, postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """A server on Postgres and S3, by URL, with two processes that answer."""
    for name, value in s3.settings.items():
        monkeypatch.setenv(name, value)
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=SecretStr(postgres_url),
        redis_url=SecretStr(redis_url),
    )
    with run_api(settings, processes=2) as server:
        yield server
