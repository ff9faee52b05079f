from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from shared.messaging.broker import Broker
from shared.settings import Settings


@pytest.fixture
def queue_settings(redis_url: str) -> Settings:
    """Small chunks, on an empty Redis."""
    return Settings(redis_url=SecretStr(redis_url), chunk_size=4, look_ahead=3, max_attempts=3)


@pytest.fixture
def broker(queue_settings: Settings) -> Iterator[Broker]:
    broker = Broker(queue_settings)
    yield broker
    broker.close()
