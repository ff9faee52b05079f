"""Weights as a teacher: their guided predictions are what others learn to make without guidance.

That is the first stage of Meng et al. 2023 (arXiv 2210.03142, section 3.1), for one guidance scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training import parallel
from training.config import GuidanceConfig
from training.networks import TextToLatent
from worker.diffusion.guidance import guide


class Teacher:
    """Networks that learn nothing themselves, on the device that others are trained on."""

    def __init__(
        self, networks: TextToLatent, empty: Tensor, guidance: GuidanceConfig, *, autocast: bool
    ) -> None:
        """Take them over.

        Args:
            networks: that were trained with some captions left out.
            empty: token ids (1, T) of no caption.
            guidance: of their predictions.
            autocast: they compute in bfloat16 where torch deems it safe.
        """
        device = parallel.state().device
        self._networks = networks.to(device).eval().requires_grad_(False)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=autocast)
        self._scale, self._rescale = (
            torch.tensor(value, device=device).view(1, 1, 1, 1)
            for value in (guidance.guidance_scale, guidance.guidance_rescale)
        )
        self._no_caption = self._encoded(empty.to(device))

    @torch.no_grad()
    def velocity(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Return the guided velocity (B, C, h, w), float32.

        Args:
            noisy: latents of its shape.
            timesteps: (B,).
            tokens: ids (B, T).
        """
        empty = self._no_caption.expand(len(tokens), -1, -1)
        contexts = torch.cat([empty, self._encoded(tokens)])
        with self._autocast:
            both = self._networks.denoiser(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), contexts)
        unconditional, conditional = both.float().chunk(2)
        return guide(unconditional, conditional, self._scale, self._rescale)

    @torch.no_grad()
    def _encoded(self, tokens: Tensor) -> Tensor:
        with self._autocast:
            context: Tensor = self._networks.text_encoder(input_ids=tokens).last_hidden_state
        return context
