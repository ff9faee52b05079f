"""``tenstep serve``: its processes live and die together, whoever kills which of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from support.commands import running, tenstep, tenstep_json, wait_until


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENSTEP_")}
    return {**kept, "TENSTEP_DATA_DIR": str(tmp_path / "data")}


def url_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    url: str = json.loads(server.stdout.readline())["url"]
    wait_until(lambda: answers(url))
    return url


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def parts_of(server: subprocess.Popen[str], module: str) -> Sequence[psutil.Process]:
    found = []
    for child in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended under our eyes
            if _lives(child) and module in child.cmdline():
                found.append(child)
    return found


def test_a_server_that_is_stopped_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment, "serve", "--port", "0", "--json", cwd=tmp_path) as server:
        url = url_of(server)
        children = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(signal.SIGINT)
        server.wait(30)

    assert server.returncode == 130
    assert not answers(url)
    assert not any(_lives(child) for child in children)


@pytest.mark.parametrize("module", ["producer.api", "producer.clerk"])
def test_a_part_that_is_killed_is_started_again(
    environment: dict[str, str], tmp_path: Path, module: str
) -> None:
    with running(environment, "serve", "--port", "0", "--json", cwd=tmp_path) as server:
        url = url_of(server)
        [first] = parts_of(server, module)
        first.kill()
        wait_until(lambda: [one.pid for one in parts_of(server, module)] not in ([], [first.pid]))
        wait_until(lambda: answers(url))

        made = httpx.post(
            f"{url}/api/batches", content=b"a fox\n", headers={"Content-Type": "text/plain"}
        )
        path = f"{url}/api/batches/{made.json()['batch_id']}"
        wait_until(lambda: httpx.get(path).json()["total"] == 1)


def test_when_the_command_is_killed_its_processes_end(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment, "serve", "--port", "0", "--json", cwd=tmp_path) as server:
        url_of(server)
        children = psutil.Process(server.pid).children(recursive=True)
        server.kill()
        wait_until(lambda: not any(_lives(child) for child in children), seconds=30)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_port_that_is_taken_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment, "serve", "--port", "0", "--json", cwd=tmp_path) as server:
        port = httpx.URL(url_of(server)).port
        second = tenstep(environment, "serve", "--port", str(port), cwd=tmp_path)

    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in second.stderr
    assert "Choose another with --port." in second.stderr


def test_from_the_first_key_on_everybody_needs_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment, "serve", "--port", "0", "--json", cwd=tmp_path) as server:
        url = url_of(server)
        assert httpx.get(f"{url}/api/batches").status_code == 200
        made = tenstep_json(environment, "keys", "create", "--tenant", "studio", cwd=tmp_path)
        wait_until(lambda: httpx.get(f"{url}/api/batches").status_code == 401, seconds=10)

        key = {"Authorization": f"Bearer {made['secret']}"}
        assert httpx.get(f"{url}/api/batches", headers=key).status_code == 200
        tenstep_json(environment, "keys", "revoke", made["key_id"], cwd=tmp_path)
        wait_until(
            lambda: httpx.get(f"{url}/api/batches", headers=key).status_code == 401, seconds=10
        )
