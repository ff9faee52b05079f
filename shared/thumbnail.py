"""Small pictures for pages that show many: by the worker, or when somebody looks."""

from __future__ import annotations

import io

from PIL import Image

CONTENT_TYPE = "image/webp"
LONGER_SIDE_PIXELS = 256
"""At most; what is smaller keeps its size."""
MOST_BYTES = 14_000
"""A hundred on a page stay below 1.5 MB."""
QUALITIES = (80, 50, 20, 0)
"""Tried in turn. At the last one even 256 x 256 pixels of white noise take 5 kB."""


def make_thumbnail(picture: Image.Image) -> bytes:
    """Scale a picture down into a WebP of at most 14,000 bytes, without metadata.

    The picture stays as it is. The bytes depend on its pixels and the version of Pillow alone.

    Args:
        picture: of any size; its aspect ratio is kept, what is transparent in it is not.
    """
    small = picture.convert("RGB")
    small.thumbnail((LONGER_SIDE_PIXELS, LONGER_SIDE_PIXELS), Image.Resampling.LANCZOS)
    data = b""
    for quality in QUALITIES:
        data = _encoded(small, quality)
        if len(data) <= MOST_BYTES:
            break
    return data


def thumbnail_of(png: bytes) -> bytes:
    """Make a thumbnail of a picture in a file.

    Raises:
        OSError: it cannot be read as a picture.
    """
    with Image.open(io.BytesIO(png)) as picture:
        return make_thumbnail(picture)


def _encoded(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality)
    return file.getvalue()
