"""Backends whose tensors are in the processor's memory between two runs of a network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class TensorsOnProcessor:
    """What such backends have in common."""

    @property
    def deep_denoiser(self) -> None:
        """Its programs run whole."""

    def to_device(self, tensor: Tensor) -> Tensor:
        """Give a tensor the precision that is kept between runs."""
        return tensor.to("cpu", torch.float32)

    def beside(self) -> AbstractContextManager[None]:
        """Do nothing: sessions run beside one another as they are."""
        return nullcontext()

    def synchronize(self) -> None:
        """Do nothing: a run has ended when it returns."""
