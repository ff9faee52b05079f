"""How like the exact drawing a drawing of the same prompt and seed is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.errors import ConfigurationError
from training.data.dataset import Pictures
from training.quality.intervals import Values

SHADES = 255
OFF_BY = 8
"""Shades of 255 that a pixel of a flat drawing may differ by before the eye sees it."""
SAME_DB = 99.0
"""What equal drawings get, whose ratio of signal to noise is infinite."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """One value a drawing, (N,) each."""

    psnr: Values
    """Peak signal-to-noise ratio in dB, at most `SAME_DB`."""
    ssim: Values
    """Structural similarity (Wang et al. 2004), 1 for equal drawings."""
    off: Values
    """Share of pixels of which a channel is off by more than `OFF_BY` shades, 0 to 1."""


def compare(drawn: Pictures, exact: Pictures) -> Likeness:
    """Compare drawings (N, H, W, 3), uint8, with the exact ones in the same order.

    Raises:
        ConfigurationError: the package of the structural similarity is not installed.
    """
    try:
        from pytorch_msssim import ssim
    except ImportError as error:
        raise ConfigurationError(
            "the structural similarity is worked out by the package pytorch-msssim",
            hint="pip install pytorch-msssim",
        ) from error
    differences = np.abs(drawn.astype(np.int16) - exact.astype(np.int16))
    squares = np.square(differences.astype(np.float64)).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = np.minimum(10 * np.log10(SHADES**2 / squares), SAME_DB)
    similar = ssim(_planes(drawn), _planes(exact), data_range=SHADES, size_average=False)
    off = (differences.max(axis=3) > OFF_BY).mean(axis=(1, 2))
    return Likeness(psnr, similar.double().numpy(), off)


def _planes(pictures: Pictures) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
