from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.db.engine import Database
from shared.messaging.broker import Broker
from shared.settings import Settings
from support.api import ApiServer
from support.openai_scene import OpenAIScene
from support.receiver import Receiver, receiving
from support.shell import Shell
from support.webhooks import Sender


@pytest.fixture
def queue_settings(redis_url: str) -> Settings:
    """Small chunks, on an empty Redis."""
    return Settings(redis_url=SecretStr(redis_url), chunk_size=4, look_ahead=3, max_attempts=3)


@pytest.fixture
def broker(queue_settings: Settings) -> Iterator[Broker]:
    broker = Broker(queue_settings)
    yield broker
    broker.close()


@pytest.fixture
def scene(sqlite_database: Database, tmp_path: Path) -> OpenAIScene:
    return OpenAIScene.made(sqlite_database, tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The server that a tenant's webhook calls."""
    with receiving() as found:
        yield found


@pytest.fixture
def sender(database: Database, receiver: Receiver) -> Sender:
    return Sender.to(database, receiver.url)


@pytest.fixture
def remote(shell: Shell, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Commands in an empty folder, through the server."""
    monkeypatch.setenv("TENSTEP_SERVER", api.url)
    return shell
