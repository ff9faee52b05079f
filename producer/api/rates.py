"""How often a key may ask, counted in Redis so that all servers count together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from producer.api.problems import too_many
from producer.keys import Principal
from shared.clock import utc_now

log = structlog.get_logger()

SOCKET_SECONDS = 1.0
PAUSE_SECONDS = 10.0
"""After Redis did not answer: nobody is to wait for it at every request."""
BLOCKS_A_MINUTE = 600
"""A process asks Redis for several requests at once, where a key has many."""
SECONDS_A_BLOCK = 1.0
MOST_BLOCKS = 10_000


@dataclass(slots=True)
class _Block:
    """Requests that Redis has counted, and nobody has made yet."""

    left: int
    until: float
    """By the monotonic clock."""


class RateLimiter:
    """Requests a minute of each key; whoever needs no key is not counted.

    Without Redis nobody is refused: a limit protects others, it is no lock.
    """

    def __init__(self, redis_url: str, prefix: str, per_minute: int) -> None:
        """Make it; nothing is connected yet.

        Args:
            redis_url: as kombu writes it.
            prefix: of all keys.
            per_minute: of keys that have no limit of their own.
        """
        url = redis_url.replace("redis+socket://", "redis+unix://")
        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=f"{prefix}rate",
            socket_timeout=SOCKET_SECONDS,
        )
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._per_minute = per_minute
        self._blocks: dict[UUID, _Block] = {}
        self._asks_again_at = 0.0

    async def count(self, who: Principal) -> None:
        """Count a request.

        Raises:
            ApiError: there were too many: 429, with Retry-After.
        """
        if who.key_id is None or time.monotonic() < self._asks_again_at:
            return
        block = self._blocks.get(who.key_id)
        if block is not None and block.left and time.monotonic() < block.until:
            block.left -= 1
            return
        limit = RateLimitItemPerMinute(who.requests_per_minute or self._per_minute)
        size = max(1, limit.amount // BLOCKS_A_MINUTE)
        try:
            if await self._limiter.hit(limit, str(who.key_id), cost=size):
                self._keep(who.key_id, size - 1)
                return
            window = await self._limiter.get_window_stats(limit, str(who.key_id))
        except (RedisError, OSError) as error:
            self._pause(error)
            return
        raise too_many(
            f"this key may ask {limit.amount:,} times a minute",
            window.reset_time - utc_now().timestamp(),
            code="rate_limit_exceeded",
        )

    def _keep(self, key_id: UUID, left: int) -> None:
        if len(self._blocks) >= MOST_BLOCKS:
            self._blocks.clear()
        self._blocks[key_id] = _Block(left, time.monotonic() + SECONDS_A_BLOCK)

    def _pause(self, error: Exception) -> None:
        self._asks_again_at = time.monotonic() + PAUSE_SECONDS
        log.warning("requests_not_counted", error=str(error))
