"""How often a key may ask, counted in Redis so that all servers count together."""

from __future__ import annotations

import time

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from producer.api.problems import too_many
from producer.keys import Principal

log = structlog.get_logger()

SECONDS_BETWEEN_WARNINGS = 60
SOCKET_SECONDS = 2


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
            f"async+{url}", implementation="redispy", key_prefix=f"{prefix}rate"
        )
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._per_minute = per_minute
        self._warned_at = -float(SECONDS_BETWEEN_WARNINGS)

    async def count(self, who: Principal) -> None:
        """Count a request.

        Raises:
            ApiError: there were too many: 429, with Retry-After.
        """
        if who.key_id is None:
            return
        limit = RateLimitItemPerMinute(who.requests_per_minute or self._per_minute)
        key = str(who.key_id)
        try:
            if await self._limiter.hit(limit, key):
                return
            window = await self._limiter.get_window_stats(limit, key)
        except (RedisError, OSError) as error:
            self._warn(error)
            return
        raise too_many(
            f"this key may ask {limit.amount:,} times a minute",
            window.reset_time - time.time(),
            code="rate_limit_exceeded",
        )

    def _warn(self, error: Exception) -> None:
        if time.monotonic() - self._warned_at >= SECONDS_BETWEEN_WARNINGS:
            self._warned_at = time.monotonic()
            log.warning("requests_not_counted", error=str(error))
