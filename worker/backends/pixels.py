"""From a decoder's output to pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def to_pixels(decoded: Tensor) -> Tensor:
    """Turn a decoder's (B, 3, H, W), -1 to 1, into (B, H, W, 3), uint8, where it is."""
    shades = ((decoded.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return shades.permute(0, 2, 3, 1).contiguous()
