"""PNG with its provenance inside."""

from __future__ import annotations

import io
import json

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.domain.prompts import ImageSettings
from shared.domain.quality import Quality
from shared.version import VERSION
from worker.backends.base import BackendRecord


def encode_png(
    pixels: npt.NDArray[np.uint8],
    settings: ImageSettings,
    timesteps: list[float],
    drawn_by: BackendRecord,
) -> bytes:
    """Encode pixels (height, width, 3), uint8, with all that it takes to draw them again.

    The bytes depend on the arguments and the version alone: no time, no job, no host. Of an
    exact image they are those of releases that knew no other quality.
    """
    is_exact = settings.quality is Quality.EXACT
    facts = {
        **settings.model_dump(exclude={"quality"} if is_exact else None),
        "timesteps": timesteps,
        "model": drawn_by.model,
        "weights_sha256": drawn_by.weights_sha256,
        "backend": f"{drawn_by.backend} {drawn_by.backend_version}",
        "precision": drawn_by.precision,
    }
    text = PngInfo()
    for name, value in facts.items():
        text.add_itxt(name, value if isinstance(value, str) else json.dumps(value))
    text.add_itxt("Software", f"tenstep {VERSION}")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
