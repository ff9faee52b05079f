"""Prompt files in object storage."""

from __future__ import annotations

from typing import BinaryIO

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from producer.prompt_format import OBJECT_SCHEME
from shared.errors import InputError, ServiceUnavailableError
from shared.settings import Settings
from shared.storage.s3 import s3_client

NO_OBJECT = {"404", "NoSuchKey"}
NO_BUCKET = {"NoSuchBucket"}
FORBIDDEN = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
CHECK_SETTINGS = "Check TENSTEP_S3_ENDPOINT_URL and the credentials."


def fetch_object(url: str, settings: Settings, file: BinaryIO) -> None:
    """Copy an object into a file.

    Args:
        url: ``s3://bucket/key``.
        settings: name the endpoint and the credentials.
        file: where to.

    Raises:
        InputError: the URL names no object, or one that is not there or not readable.
        ServiceUnavailableError: the object storage does not answer.
    """
    bucket, _, key = url.removeprefix(OBJECT_SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise InputError(f"{url}: is no object", hint="Use s3://bucket/key.")
    client = s3_client(settings)
    try:
        client.download_fileobj(bucket, key, file)
    except ClientError as error:
        raise _explained(url, error.response.get("Error", {}).get("Code", "unknown")) from error
    except (BotoCoreError, Boto3Error, ValueError) as error:
        raise ServiceUnavailableError(
            f"{url}: cannot be fetched: {error}", hint=CHECK_SETTINGS
        ) from error
    finally:
        client.close()


def _explained(url: str, code: str) -> InputError | ServiceUnavailableError:
    if code in NO_OBJECT:
        return InputError(f"{url}: no such object")
    if code in NO_BUCKET:
        return InputError(f"{url}: no such bucket")
    if code in FORBIDDEN:
        return InputError(f"{url}: may not be read: {code}", hint=CHECK_SETTINGS)
    return ServiceUnavailableError(f"{url}: cannot be read: {code}", hint=CHECK_SETTINGS)
