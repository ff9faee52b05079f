"""Thumbnails of images for whoever looks at many of them."""

from __future__ import annotations

import structlog

from shared.errors import ServiceUnavailableError
from shared.storage.base import ObjectNotFoundError, ObjectStore, sha256_of, thumbnail_key
from shared.thumbnail import CONTENT_TYPE, thumbnail_of

log = structlog.get_logger()


def read_thumbnail(store: ObjectStore, image_key: str, image_sha256: str) -> bytes:
    """Return the thumbnail of an image, as WebP; one that is not there is made, and stored.

    That it cannot be stored is no error: then it is made again for the next who looks.

    Args:
        store: of the images.
        image_key: where the image is.
        image_sha256: of the image, by which it is checked before a thumbnail is made of it.

    Raises:
        ObjectNotFoundError: neither it nor the image is there, or the image is damaged.
        ServiceUnavailableError: the store does not answer.
    """
    key = thumbnail_key(image_sha256)
    try:
        return store.get(key)
    except ObjectNotFoundError:
        data = _made_of(store, image_key, image_sha256)
    try:
        store.put(key, data, CONTENT_TYPE)
    except ServiceUnavailableError as error:
        log.warning("thumbnail_not_stored", key=key, error=str(error))
    return data


def _made_of(store: ObjectStore, image_key: str, image_sha256: str) -> bytes:
    png = store.get(image_key)
    where = f"{image_key} in {store.display_url}"
    if sha256_of(png) != image_sha256:
        raise ObjectNotFoundError(f"{where} is damaged: its SHA-256 differs")
    try:
        return thumbnail_of(png)
    except OSError as error:
        raise ObjectNotFoundError(f"{where} is no image") from error
