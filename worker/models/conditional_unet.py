"""Stable Diffusion's own U-Net, as the pipeline calls a denoiser."""

from __future__ import annotations

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor


class ConditionalUNet(UNet2DConditionModel):
    """diffusers' class, from tensors to a tensor; weights and names are unchanged."""

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the network once.

        Args:
            sample: noisy latents, (B, in_channels, H, W).
            timestep: (B,), in training steps.
            encoder_hidden_states: text tokens, (B, T, cross_attention_dim).

        Returns:
            The prediction, (B, out_channels, H, W).
        """
        prediction: Tensor = super().forward(
            sample, timestep, encoder_hidden_states, return_dict=False
        )[0]
        return prediction
