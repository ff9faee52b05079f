"""The store that the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.errors import ConfigurationError
from shared.settings import Settings
from shared.storage.base import ObjectStore
from shared.storage.folder import FolderStore


def open_store(settings: Settings) -> ObjectStore:
    """Make the store of ``TENSTEP_STORAGE_URL``; does not connect yet.

    Raises:
        ConfigurationError: the URL names no bucket.
    """
    return open_store_at(settings.resolved_storage_url, settings)


def open_store_at(url: str, settings: Settings) -> ObjectStore:
    """Make a store at a URL, with the settings' endpoint and keys; does not connect yet.

    Args:
        url: ``s3://bucket/prefix`` or ``file:///folder``.
        settings: what else an S3 client needs.

    Raises:
        ConfigurationError: the URL names no bucket.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if not parts.netloc:
        raise ConfigurationError(f"{url} names no bucket: s3://bucket/prefix")
    # The AWS SDK takes most of a second to import; a local folder need not wait for it.
    from shared.storage.s3 import open_bucket

    return open_bucket(parts.netloc, parts.path, settings)
