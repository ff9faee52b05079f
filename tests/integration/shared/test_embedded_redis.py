"""The Redis that tenstep starts itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from shared.errors import ConfigurationError, ServiceUnavailableError
from shared.messaging.embedded_redis import MAX_SOCKET_PATH, EmbeddedRedis

REPOSITORY = Path(__file__).parents[3]
OWNER = """
import sys, time
from pathlib import Path
from shared.messaging.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]), 0)
server.ensure_running()
print("running", flush=True)
time.sleep(60)
"""


@contextmanager
def client_of(server: EmbeddedRedis) -> Iterator[Any]:
    with Redis(unix_socket_path=str(server.socket_path), socket_timeout=5) as client:
        yield client


def pid_of(server: EmbeddedRedis) -> int:
    with client_of(server) as client:
        return int(client.info("server")["process_id"])


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def servers() -> Iterator[Callable[..., EmbeddedRedis]]:
    made: list[EmbeddedRedis] = []

    def make(data_dir: Path, port: int = 0) -> EmbeddedRedis:
        made.append(EmbeddedRedis(data_dir, port))
        return made[-1]

    yield make
    for server in reversed(made):
        server.stop()


def test_a_server_starts_and_stops_with_its_owner(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    server = servers(tmp_path)
    server.ensure_running()
    pid = pid_of(server)

    server.stop()

    assert is_gone(pid)


def test_it_listens_on_its_socket_alone_which_nobody_else_may_open(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    server = servers(tmp_path)
    server.ensure_running()

    assert not psutil.Process(pid_of(server)).net_connections(kind="tcp")
    assert server.socket_path.stat().st_mode & 0o077 == 0


def test_the_second_user_finds_the_first_ones_server_and_does_not_stop_it(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    owner, guest = servers(tmp_path), servers(tmp_path)
    owner.ensure_running()
    guest.ensure_running()
    pid = pid_of(owner)
    assert pid_of(guest) == pid

    guest.stop()

    assert pid_of(owner) == pid


def test_of_many_users_at_once_one_starts_the_server(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    users = [servers(tmp_path) for _ in range(4)]
    ready = threading.Barrier(5)

    def start(user: EmbeddedRedis) -> None:
        user.ensure_running()
        ready.wait(30)  # the kernel ends a server with the thread that started it
        ready.wait(30)

    threads = [threading.Thread(target=start, args=[user]) for user in users]
    for thread in threads:
        thread.start()
    ready.wait(30)

    pids = {pid_of(user) for user in users}
    ready.wait(30)
    for thread in threads:
        thread.join()
    assert len(pids) == 1


def test_what_it_held_is_there_after_a_restart(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    first = servers(tmp_path)
    first.ensure_running()
    with client_of(first) as client:
        client.rpush("queue", "a pointer")
    first.stop()

    second = servers(tmp_path)
    second.ensure_running()

    with client_of(second) as client:
        assert client.lrange("queue", 0, -1) == [b"a pointer"]


def test_it_starts_again_with_its_data_after_it_was_killed(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    server = servers(tmp_path)
    server.ensure_running()
    with client_of(server) as client:
        client.rpush("queue", "a pointer")
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: is_gone(killed))

    server.ensure_running()

    assert pid_of(server) != killed
    with client_of(server) as client:
        assert client.lrange("queue", 0, -1) == [b"a pointer"]


def test_after_its_owner_was_killed_it_is_gone_or_found_again_with_its_data(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"running\n"
    server = servers(tmp_path)
    with client_of(server) as client:
        client.rpush("queue", "a pointer")
    orphan = pid_of(server)

    owner.kill()
    owner.wait()
    if sys.platform.startswith("linux"):
        wait_until(lambda: is_gone(orphan))
    server.ensure_running()

    with client_of(server) as client:
        assert client.lrange("queue", 0, -1) == [b"a pointer"]
    if not is_gone(orphan):
        psutil.Process(orphan).terminate()


def test_a_port_in_use_is_a_wrong_setting(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"port {port} is in use") as caught:
            servers(tmp_path, port).ensure_running()
    assert "TENSTEP_REDIS_PORT" in (caught.value.hint or "")


def test_a_folder_whose_path_is_too_long_for_a_socket_has_it_elsewhere(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * MAX_SOCKET_PATH)
    server, other = servers(deep), servers(tmp_path / ("y" * MAX_SOCKET_PATH))

    server.ensure_running()

    assert len(os.fsencode(server.socket_path)) <= MAX_SOCKET_PATH
    assert server.socket_path != other.socket_path
    assert server.socket_path == servers(deep).socket_path
    assert psutil.Process(pid_of(server)).cwd() == str(deep / "redis")


def test_a_folder_that_cannot_be_written_to_is_named(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(ServiceUnavailableError, match="cannot write to") as caught:
        servers(tmp_path / "file").ensure_running()
    assert "TENSTEP_DATA_DIR" in (caught.value.hint or "")


def test_a_server_that_does_not_start_points_to_its_log(
    servers: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    aof = tmp_path / "redis" / "appendonlydir"
    aof.parent.mkdir()
    aof.write_text("no folder")

    with pytest.raises(ServiceUnavailableError, match="did not start") as caught:
        servers(tmp_path).ensure_running()
    assert str(tmp_path / "redis" / "redis.log") in (caught.value.hint or "")
