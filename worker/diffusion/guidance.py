"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor


def guide(
    unconditional: Tensor, conditional: Tensor, scale: Tensor, rescale: Tensor | None
) -> Tensor:
    """Extrapolate from the unconditional to the conditional prediction.

    Ho and Salimans 2022 (arXiv 2207.12598), then the rescaling of Lin et al. 2023
    (arXiv 2305.08891, section 3.4), which gives each image back its contrast.

    Args:
        unconditional: prediction for the negative prompt, (B, C, H, W).
        conditional: prediction for the prompt, (B, C, H, W).
        scale: guidance scale an image, (B, 1, 1, 1); 1 means no guidance.
        rescale: share of the rescaled prediction, (B, 1, 1, 1), 0 to 1; None is 0.

    Returns:
        The guided prediction, (B, C, H, W).
    """
    guided = torch.lerp(unconditional, conditional, scale)
    if rescale is None:
        return guided
    contrast = (_flatness(guided) / _flatness(conditional)).view(-1, 1, 1, 1)
    # One factor an image: the mix of a prediction and its multiple is a multiple of it.
    return guided.mul_(torch.lerp(torch.ones_like(contrast), contrast, rescale))


def _flatness(prediction: Tensor) -> Tensor:
    """Return the inverse of each image's standard deviation, (B, 1).

    A normalization has it at hand; torch's own deviation of several images at once takes
    fifteen times as long on a processor.
    """
    images, channels, height, width = prediction.shape
    _, _, inverse = torch.native_group_norm(
        prediction.contiguous(), None, None, images, channels, height * width, 1, 0.0
    )
    return inverse
