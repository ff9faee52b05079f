"""From a picture's file to a tensor, whatever the file holds."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from training.data.examples import Entry, FlawError, Limits

#: What is decoded, whatever a file calls itself.
FORMATS = ("JPEG", "PNG", "WEBP")

# Above its own limit Pillow only warns; `Limits` is never above that.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def load_picture(entry: Entry, limits: Limits) -> Image.Image:
    """Read and decode an example's picture: RGB, upright, on white where it is transparent.

    Raises:
        FlawError: there is no picture, or it is too large.
    """
    data = entry.read(limits)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels <= limits.pixels:
                return _on_white(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pixels = 0
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they come upon
        kinds = ", ".join(FORMATS)
        raise FlawError(
            entry.field, f"unreadable image (of {kinds}): {type(error).__name__}"
        ) from None
    size = f"{pixels} pixels" if pixels else "more pixels than Pillow opens"
    raise FlawError(entry.field, f"too large: {size}, at most {limits.pixels}")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def square(image: Image.Image, size: int, place: float = 0.5) -> Image.Image:
    """Return (size, size): the shorter side scaled, the longer one cut at `place` in [0, 1].

    What is cut off is never scaled, so that the longest strip takes no more memory.
    """
    side = min(image.size)
    left, top = (place * (length - side) for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)


def as_pixels(image: Image.Image, *, mirrored: bool = False) -> Tensor:
    """Return an RGB picture as uint8 (height, width, 3)."""
    values = np.array(image)
    return torch.from_numpy(np.ascontiguousarray(values[:, ::-1]) if mirrored else values)
