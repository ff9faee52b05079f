"""The broker that the settings name, checked and, if it is ours, running."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from kombu.utils.url import maybe_sanitize_url
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import ServiceUnavailableError
from shared.messaging.contracts import RenderChunk
from shared.messaging.embedded_redis import EmbeddedRedis
from shared.messaging.envelope import envelope
from shared.settings import Settings

CONNECT_TIMEOUT_SECONDS = 5
NO_TRACES: Mapping[UUID, str] = MappingProxyType({})


def broker_url(settings: Settings) -> str:
    """Return where the broker is, in clear."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return EmbeddedRedis(settings.data_dir, settings.redis_port).url


class Broker:
    """Sends pointers, and can look into the queues."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.redis_key_prefix
        self._embedded = (
            EmbeddedRedis(settings.data_dir, settings.redis_port)
            if settings.redis_url is None
            else None
        )
        self.url = broker_url(settings)
        self._client = redis_client(self.url)

    @property
    def display_url(self) -> str:
        """Where it is, without the password."""
        return str(maybe_sanitize_url(self.url))

    def connect(self) -> None:
        """Start the embedded server if that is the broker and it is not there; then ping.

        Raises:
            ServiceUnavailableError: it does not answer.
        """
        if self._embedded is not None:
            self._embedded.ensure_running()
        self.ping()

    def ping(self) -> None:
        """Ask whether it is there.

        Raises:
            ServiceUnavailableError: it does not answer.
        """
        try:
            self._client.ping()
        except (RedisError, OSError) as error:
            raise ServiceUnavailableError(
                f"Redis at {self.display_url} does not answer: {error}",
                hint="Start it, or correct TENSTEP_REDIS_URL; unset, tenstep runs its own.",
            ) from error

    def send_chunks(
        self,
        queue: str,
        messages: Sequence[RenderChunk],
        traceparents: Mapping[UUID, str] = NO_TRACES,
    ) -> None:
        """Publish pointers, all of them or none.

        Args:
            queue: where.
            messages: the pointers.
            traceparents: of the spans that chunks are sent in, where they are recorded.

        Raises:
            ServiceUnavailableError: they may not have been sent.
        """
        if not messages:
            return
        sent = [envelope(queue, one, traceparents.get(one.chunk_id)) for one in messages]
        try:
            self._client.lpush(self._key(queue), *sent)
        except (RedisError, OSError) as error:
            raise ServiceUnavailableError(
                f"Redis at {self.display_url} does not answer: {error}"
            ) from error

    def _key(self, queue: str) -> str:
        return f"{self._prefix}{queue}"

    def queue_length(self, queue: str) -> int:
        """Count messages that wait and were not yet delivered.

        Raises:
            ServiceUnavailableError: Redis does not answer.
        """
        try:
            return int(self._client.llen(self._key(queue)))
        except (RedisError, OSError) as error:
            raise ServiceUnavailableError(
                f"Redis at {self.display_url} does not answer: {error}"
            ) from error

    def waiting_chunks(self, queue: str) -> frozenset[UUID]:
        """Return the chunks whose messages wait in a queue; what is no message is left out.

        Raises:
            ServiceUnavailableError: Redis does not answer.
        """
        try:
            messages = self._client.lrange(self._key(queue), 0, -1)
        except (RedisError, OSError) as error:
            raise ServiceUnavailableError(
                f"Redis at {self.display_url} does not answer: {error}"
            ) from error
        return frozenset(filter(None, map(_chunk_of, messages)))

    def close(self) -> None:
        """Close connections; stop the embedded server if we started it."""
        self._client.close()
        if self._embedded is not None:
            self._embedded.stop()


def _chunk_of(message: bytes | str) -> UUID | None:
    try:
        return UUID(json.loads(message)["headers"]["id"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def redis_client(url: str) -> Redis:
    """Make a client that gives up in bounded time and tries nothing twice."""
    return Redis.from_url(
        url.replace("redis+socket://", "unix://"),
        socket_timeout=CONNECT_TIMEOUT_SECONDS,
        # Whoever calls decides whether to ask again.
        retry=Retry(NoBackoff(), 0),
        **({} if "socket://" in url else {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS}),
    )
