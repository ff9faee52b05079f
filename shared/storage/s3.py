"""Any store that speaks S3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.storage.base import BLOCK_BYTES, ObjectNotFoundError, StoredObject, checked_key
from shared.storage.s3_reads import QuickRead, quick_read

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

MISSING = {"NoSuchKey", "404"}
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30
LONGEST_URL = timedelta(days=7)
CONNECTIONS = 64
"""At most; a thread that finds none free would open one that is thrown away after use."""


class S3Store:
    """Objects below ``s3://bucket/prefix``."""

    def __init__(self, bucket: str, prefix: str, client: S3Client, read: QuickRead) -> None:
        self._bucket = bucket
        self._read = read
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = client

    @property
    def display_url(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}"

    def check(self) -> None:
        """Write and delete a small object."""
        self.put(".tenstep-check", b"", "application/octet-stream")
        self.delete(".tenstep-check")

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object."""
        with self._translated("write", key):
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, ContentType=content_type
            )

    @contextmanager
    def writer(self, key: str, content_type: str) -> Iterator[IO[bytes]]:
        """Open a temporary file, which is sent at the end: in parts, if it is large."""
        where = self._key(key)
        with tempfile.TemporaryFile(prefix="tenstep-") as file:
            yield file
            file.seek(0)
            with self._translated("write", key):
                self._client.upload_fileobj(
                    file, self._bucket, where, ExtraArgs={"ContentType": content_type}
                )

    def get(self, key: str) -> bytes:
        """Read an object quickly, or else by the SDK, which tries again and tells what is wrong."""
        where = self._key(key)
        data = self._read(where)
        if data is not None:
            return data
        with self._translated("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=where)
            return answer["Body"].read()

    def blocks(self, key: str) -> Iterator[bytes]:
        """Ask for an object now, and read the answer as it is asked for."""
        with self._translated("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
        return self._blocks_of(answer["Body"], key)

    def _blocks_of(self, body: StreamingBody, key: str) -> Iterator[bytes]:
        with closing(body), self._translated("read", key):
            yield from body.iter_chunks(BLOCK_BYTES)

    def url(self, key: str, lifetime: timedelta, content_type: str) -> str:
        """Sign a URL; seven days is the longest that S3 knows."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": self._key(key),
                "ResponseContentType": content_type,
            },
            ExpiresIn=int(min(lifetime, LONGEST_URL).total_seconds()),
        )

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._translated("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Ask for the keys, a thousand at a time."""
        with self._translated("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    yield StoredObject(key, found["Size"], found["LastModified"])

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    @contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in MISSING:
                raise ObjectNotFoundError(f"no object {key} in {self.display_url}") from error
            raise ServiceUnavailableError(
                f"cannot {verb} {key} in {self.display_url}: {code}",
                hint="Check the URL, TENSTEP_S3_ENDPOINT_URL and the credentials.",
            ) from error
        except BotoCoreError as error:
            raise ServiceUnavailableError(
                f"the store {self.display_url} does not answer: {error}",
                hint="Check the URL and TENSTEP_S3_ENDPOINT_URL.",
            ) from error


def open_bucket(bucket: str, prefix: str, settings: Settings) -> S3Store:
    """Make a store of a bucket; does not connect yet."""
    read = quick_read(
        bucket,
        settings,
        connect_seconds=CONNECT_TIMEOUT_SECONDS,
        read_seconds=READ_TIMEOUT_SECONDS,
    )
    return S3Store(bucket, prefix, s3_client(settings), read)


def s3_client(settings: Settings) -> S3Client:
    """Make a client that retries with back-off and gives up in bounded time."""
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 3},
            signature_version="s3v4",  # signed URLs too: the SDK would choose an older one
            # Path style works with every server; some others than AWS refuse the
            # checksums that newer SDKs add unasked.
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
