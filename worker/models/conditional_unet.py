"""Stable Diffusion's own U-Net, as the pipeline calls a denoiser."""

from __future__ import annotations

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from worker.models.rows import spread


class ConditionalUNet(UNet2DConditionModel):
    """diffusers' class, from tensors to a tensor; weights and names are unchanged."""

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the network once.

        Args:
            sample: noisy latents, (B, in_channels, H, W).
            timestep: (B,), in training steps.
            encoder_hidden_states: text tokens, (R, T, cross_attention_dim), R a multiple of B:
                texts beyond the first B meet the same latents again, in the same order.

        Returns:
            The prediction, (R, out_channels, H, W).
        """
        rows = encoder_hidden_states.shape[0]
        prediction: Tensor = super().forward(
            spread(sample, rows), spread(timestep, rows), encoder_hidden_states, return_dict=False
        )[0]
        return prediction
