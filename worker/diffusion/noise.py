"""The noise that an image starts from."""

from __future__ import annotations

import torch
from torch import Tensor


def initial_noise(seed: int, shape: tuple[int, int, int]) -> Tensor:
    """Draw standard normal latents (C, H, W) in float32 on the CPU.

    They depend on the seed and the shape alone: not on the device, the worker, or the
    other images of a batch.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32)
