"""Deep features of a denoiser that are computed in some steps and reused in those after.

DeepCache, Ma et al. 2023 (arXiv 2312.00858): from step to step the inner part of a U-Net changes
little, while nearly all of the work is there.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class DeepDenoiser(Protocol):
    """A denoiser that can be run without its inner part."""

    def keep(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run all of it; returns the prediction and the deep feature, a row each."""
        ...

    def reuse(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, deep: Tensor
    ) -> Tensor:
        """Run what is outside of the deep feature of an earlier step."""
        ...


class Remembering:
    """A denoiser that computes its deep feature in each n-th call, for one batch."""

    def __init__(self, denoiser: DeepDenoiser, every: int, images: int) -> None:
        """Remember nothing yet.

        Args:
            denoiser: what runs.
            every: a deep feature serves so many calls, the one that computes it among them.
            images: of the batch. A call has a text for each, or two where it is guided, those of
                the negative prompts first.
        """
        self._denoiser = denoiser
        self._every = every
        self._images = images
        self._deep: Tensor | None = None
        self._served = 0

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Map latents (B, C, H, W), timesteps (B,), text (R, T, D) to (R, C, H, W)."""
        deep = self._remembered(encoder_hidden_states.shape[0])
        if deep is None:
            prediction, self._deep = self._denoiser.keep(sample, timestep, encoder_hidden_states)
            self._served = 1
            return prediction
        self._served += 1
        return self._denoiser.reuse(sample, timestep, encoder_hidden_states, deep)

    def _remembered(self, rows: int) -> Tensor | None:
        """Return a deep feature of so many rows; None where it has to be computed."""
        if self._deep is None or self._served == self._every:
            return None
        if self._deep.shape[0] > rows:  # guidance has ended: the prompts' rows stay
            self._deep = self._deep[self._images :]
        return self._deep if self._deep.shape[0] == rows else None
