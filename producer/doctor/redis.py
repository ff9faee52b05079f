"""Redis: does it answer, would it evict messages, and does it keep them over a restart?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from producer.doctor.finding import Finding, fault, fine, skipped, warning
from producer.doctor.folders import why_not_writable
from shared.errors import ConfigurationError, ServiceUnavailableError
from shared.messaging.broker import broker_url, redis_client
from shared.settings import Settings

REDIS_CHECKS = ("redis", "redis eviction", "redis persistence")
REDIS, EVICTION, PERSISTENCE = REDIS_CHECKS
NO_EVICTION = "noeviction"
OWN = "tenstep's own"


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Look at it; one of tenstep's own is not started for that.

    Raises:
        ConfigurationError: its URL cannot be read.
        ServiceUnavailableError: it does not answer.
    """
    is_own = settings.redis_url is None
    url = broker_url(settings)
    where = OWN if is_own else _shown(url)
    try:
        client = redis_client(url)
    except ValueError:
        raise _unreadable() from None
    with closing(client):
        try:
            info: Mapping[str, Any] = client.info()
        except RedisConnectionError as error:
            if not is_own:
                raise _silent(where, error) from None
            yield _not_running(settings)
            return
        except NoPermissionError:
            yield fine(REDIS, f"answers, {where}; its user may not run INFO, which tells the rest")
            return
        except (RedisError, OSError) as error:
            raise _silent(where, error) from None
        yield fine(REDIS, f"{_version(info)}, {where}")
        yield _check_eviction(info)
        yield _check_persistence(info, client)


def _shown(url: str) -> str:
    """Write a URL without user, password and options."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unreadable() from None
    if "@" in parts.path:
        raise _unreadable()
    address = f"{parts.hostname or ''}:{port}" if port else parts.hostname or ""
    return f"at {parts.scheme}://{address}{parts.path}"


def _unreadable() -> ConfigurationError:
    # Not quoted: the password may be what makes it unreadable.
    return ConfigurationError(
        "TENSTEP_REDIS_URL is no URL",
        hint="In a password write @ as %40, / as %2F, : as %3A, % as %25.",
    )


def _silent(where: str, error: Exception) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"Redis {where} does not answer: {error}",
        hint="Start it, or correct TENSTEP_REDIS_URL; unset, tenstep runs its own.",
    )


def _not_running(settings: Settings) -> Finding:
    why_not = why_not_writable(settings.data_dir / "redis")
    if why_not is not None:
        return fault(REDIS, why_not, "Let this user write there, or set TENSTEP_DATA_DIR.")
    return fine(REDIS, f"{OWN}, not running: commands that need it start it")


def _version(info: Mapping[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def _check_eviction(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return skipped(EVICTION, "this server does not tell its maxmemory-policy")
    if policy == NO_EVICTION:
        return fine(EVICTION, f"maxmemory-policy is {NO_EVICTION}")
    return fault(
        EVICTION,
        f"maxmemory-policy is {policy}: with its memory full it drops queues",
        f"Set maxmemory-policy {NO_EVICTION} in its configuration; at once: redis-cli CONFIG SET "
        f"maxmemory-policy {NO_EVICTION}",
    )


def _check_persistence(info: Mapping[str, Any], client: Redis) -> Finding:
    if info.get("aof_enabled"):
        return fine(PERSISTENCE, "appendonly: messages outlive a restart")
    try:
        snapshots = client.config_get("save")["save"]
    except (ResponseError, KeyError):
        return skipped(PERSISTENCE, "appendonly is off, and it does not tell of snapshots")
    if snapshots:
        return fine(PERSISTENCE, f"snapshots (save {snapshots}): a crash loses the latest messages")
    return warning(
        PERSISTENCE,
        "neither appendonly nor save: a restart loses all messages",
        "Set appendonly yes. Without, nothing is lost for good: the dispatcher sends again from "
        "SQL, after a pause.",
    )
