"""What the pipeline asks of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # a simulated device does without torch
    from torch import Tensor

    from worker.diffusion.reuse import DeepDenoiser

Manner = Literal["plain", "fused", "compiled"]
"""How torch runs networks: as diffusers wrote them, in parts of ours, or through its compiler."""


class BackendRecord(BaseModel):
    """Which code, weights, device and precision drew an image."""

    model_config = ConfigDict(frozen=True)

    backend: str
    backend_version: str
    precision: str
    threads: int | None
    """Processor threads, which decide the last bit of a sum; None on an accelerator."""
    device: str
    device_name: str
    model: str
    weights_sha256: str
    licence: str
    note: str | None
    """What must be said of the model wherever it is shown."""


class Backend(Protocol):
    """A model's three networks, loaded on one device."""

    @property
    def compiled_sizes(self) -> Sequence[tuple[int, int]] | None:
        """Width and height in pixels of the only images that it draws; None is any."""
        ...

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        ...

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, on the CPU, to text tokens (B, T, D)."""
        ...

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (R, T, D) to (R, C, H, W), R B or 2 B."""
        ...

    @property
    def deep_denoiser(self) -> DeepDenoiser | None:
        """The denoiser, where it can be run without its inner part; else None."""
        ...

    def decode(self, latents: Tensor, *, tiny: bool = False) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8, on the CPU.

        Args:
            latents: of unit variance.
            tiny: by the model's tiny decoder, where it has one and the backend knows it.
        """
        ...

    def to_device(self, tensor: Tensor) -> Tensor:
        """Move a tensor to where the networks are, in their precision."""
        ...

    def beside(self) -> AbstractContextManager[None]:
        """Have what a thread asks for within the block run beside what others ask for.

        It is done when the block ends.
        """
        ...

    def synchronize(self) -> None:
        """Wait until the device has done what this thread gave it."""
        ...

    def describe(self) -> BackendRecord:
        """Tell what drew an image."""
        ...
