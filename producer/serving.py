"""The processes of a server on this host: HTTP and the clerk, started, watched, stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import structlog

from shared.errors import ConfigurationError, InputError
from shared.settings import Settings, child_environment

log = structlog.get_logger()

BACKLOG = 2_048
RESTART_DELAYS_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
STOP_SECONDS = 15.0
STEADY_SECONDS = 30.0
ERROR = "error: "


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that a server will answer on.

    Args:
        host: an address or a name of this host.
        port: 0 takes any that is free.

    Raises:
        InputError: it is taken, or not this host's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {host}, port {port}: {reason}", hint="Choose another with --port."
        ) from error
    return listening


def listen_preferably(host: str, port: int) -> socket.socket:
    """Open a socket at a port, or at any that is free if it is taken.

    Raises:
        InputError: the host is not this one.
    """
    try:
        return listen(host, port)
    except InputError:
        return listen(host, 0)


def can_serve() -> bool:
    """Tell whether what a server needs is installed."""
    return importlib.util.find_spec("fastapi") is not None


def url_of(listening: socket.socket) -> str:
    """Return where a server that listens there can be reached from this host."""
    host, port = listening.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "127.0.0.1" if listening.family is socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class ServerProcess:
    """One supervised process: ``python -m <module>`` in a session of its own."""

    def __init__(
        self,
        settings: Settings,
        module: str,
        arguments: Sequence[str] = (),
        fds: Sequence[int] = (),
    ) -> None:
        self._settings = settings
        self._module = module
        self._arguments = arguments
        self._fds = fds
        self.running: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._started_at = 0.0
        self._start_after = 0.0

    def start(self) -> None:
        """Start the process."""
        with self._log_path.open("ab") as output:
            self.running = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, *self._arguments],
                env=child_environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=self._fds,
                # Ctrl-C is for tenstep, which then asks it to end.
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    def supervise(self) -> None:
        """Start the process again if it has died, with back-off.

        Raises:
            ConfigurationError: it says itself why it cannot work.
        """
        if self.running is None:
            if time.monotonic() >= self._start_after:
                self.start()
            return
        status = self.running.poll()
        if status is None:
            return
        self.running = None
        log.warning("process_died", module=self._module, status=status)
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._deaths = 0
        elif (reason := self._last_error()) and self._deaths == 0:
            raise ConfigurationError(f"{self._module} does not start: {reason}")
        delay = RESTART_DELAYS_SECONDS[min(self._deaths, len(RESTART_DELAYS_SECONDS) - 1)]
        self._deaths += 1
        self._start_after = time.monotonic() + delay

    def ask_to_stop(self) -> None:
        """Have it end what it does."""
        if self.running is not None:
            self.running.terminate()

    def wait_or_kill(self, seconds: float) -> None:
        """Wait for its end; insist after some seconds."""
        if self.running is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.running.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        self.running = None

    @property
    def _log_path(self) -> Path:
        folder = self._settings.data_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self._module}.log"

    def _last_error(self) -> str | None:
        lines = self._log_path.read_text("utf-8", errors="replace").splitlines()
        errors = [line.removeprefix(ERROR) for line in lines[-5:] if line.startswith(ERROR)]
        return errors[-1] if errors else None


class ServerProcesses:
    """All processes of a server: some that answer, one clerk."""

    def __init__(self, settings: Settings, listening: socket.socket, count: int) -> None:
        """Make them; nothing is started yet.

        Args:
            settings: for all of them.
            listening: what they answer on; it must stay open.
            count: how many answer.

        Raises:
            ConfigurationError: what they need is not installed.
        """
        if not can_serve():
            raise ConfigurationError(
                "the server's packages are not installed",
                hint="pip install 'tenstep[api]' brings them.",
            )
        self.url = url_of(listening)
        fd = listening.fileno()
        self._processes = [
            ServerProcess(settings, "producer.clerk"),
            *(ServerProcess(settings, "producer.api", [str(fd)], [fd]) for _ in range(count)),
        ]

    @property
    def running(self) -> Sequence[subprocess.Popen[bytes]]:
        """The processes that were started and not found dead."""
        return [process.running for process in self._processes if process.running is not None]

    def start(self) -> None:
        """Start all."""
        for process in self._processes:
            process.start()

    def supervise(self) -> None:
        """Start again those that died."""
        for process in self._processes:
            process.supervise()

    def stop(self) -> None:
        """Stop all, at the same time; kills those that take too long."""
        for process in self._processes:
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            process.wait_or_kill(max(0.0, deadline - time.monotonic()))
