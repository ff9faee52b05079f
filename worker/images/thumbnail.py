"""Pixels into the small picture that pages show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.thumbnail import make_thumbnail


def encode_thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a thumbnail's file.

    Args:
        pixels: (height, width, 3).
    """
    return make_thumbnail(Image.fromarray(pixels))
