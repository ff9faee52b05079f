"""PyTorch, on the processor or on CUDA."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from worker.backends.base import BackendRecord, Manner
from worker.backends.pixels import to_pixels
from worker.device_memory import free_bytes
from worker.devices import Device, processor_name
from worker.diffusion.reuse import DeepDenoiser
from worker.host_memory import available_bytes
from worker.models.networks import Networks, load_networks, load_tiny_decoder
from worker.models.tiles import decode_within
from worker.models.unet import UNetNAS
from worker.models.weights import weights_identity

TOLD = {"plain": "", "fused": ", Winograd", "compiled": ", compiled"}
PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class TorchBackend:
    """A model's networks as PyTorch modules, laid out channels last."""

    def __init__(
        self,
        card: ModelCard,
        device: Device,
        *,
        precision: str = "auto",
        threads: int = 0,
        manner: Manner = "fused",
        fusion_bytes: int | None = None,
    ) -> None:
        """Load a model.

        Args:
            card: names the model's folder.
            device: the processor or one CUDA device.
            precision: "auto" is float32 on the processor and float16 on CUDA.
            threads: of the processor; 0 takes one a core.
            manner: how denoiser and decoder are run. Compiled, they are at the first image of
                each size, which takes minutes, or seconds where the compiler's cache knows them.
                Fused parts are for a processor in float32.
            fusion_bytes: that fused parts may take; None is half of the memory that is free.

        Raises:
            ConfigurationError: a part of the model is missing or broken.
        """
        torch.set_num_threads(threads or os.cpu_count() or 1)
        # On CUDA torch's default is TF32, of 10 bits: what is recorded as float32 would be 300
        # times as far from a processor's, and images would depend on the size of their batch.
        torch.backends.cudnn.allow_tf32 = False
        self._card = card
        self._device = device
        self._is_cuda = device.kind == "cuda"
        # bfloat16 and float16 are emulated on most processors, tens of times slower.
        preferred = "float16" if self._is_cuda else "float32"
        self._precision = preferred if precision == "auto" else precision
        self._dtype = PRECISIONS[self._precision]
        if self._is_cuda and not torch.cuda.is_available():
            raise ConfigurationError(
                f"no CUDA device for {device}",
                hint="Check the driver, and that this torch is a CUDA build.",
            )
        self._torch_device = torch.device("cuda:0" if self._is_cuda else "cpu")
        self._networks = load_networks(card, self._torch_device, self._dtype)
        self._tiny_decoder = load_tiny_decoder(card, self._torch_device, self._dtype)
        can_fuse = not self._is_cuda and self._dtype is torch.float32
        self._manner = "plain" if manner == "fused" and not can_fuse else manner
        if self._manner == "compiled":
            self._networks.denoiser.compile()
            self._networks.decoder.compile()
        if self._manner == "fused":
            # What it imports takes a while, and accelerators do without.
            from worker.models.fusion import fuse_networks

            half = available_bytes() // 2
            fuse_networks(self._networks, half if fusion_bytes is None else fusion_bytes)
        # The denoiser has CUDA's default stream.
        self._beside = _new_stream() if self._is_cuda else None
        self._copies = _new_stream() if self._is_cuda else None
        self._weights_sha256 = weights_identity(card)

    @property
    def networks(self) -> Networks:
        """Its modules, as they are run."""
        return self._networks

    @property
    def compiled_sizes(self) -> None:
        """It draws any size."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        config = self._networks.decoder.config
        return config.latent_channels, height // config.factor, width // config.factor

    @torch.inference_mode()
    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, on the CPU, to text tokens (B, T, D)."""
        encoded: Tensor = self._networks.text_encoder(token_ids.to(self._torch_device))
        return encoded

    @torch.inference_mode()
    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (R, T, D) to (R, C, H, W), R B or 2 B."""
        prediction: Tensor = self._networks.denoiser(sample, timestep, encoder_hidden_states)
        return prediction

    @property
    def deep_denoiser(self) -> DeepDenoiser | None:
        """The denoiser, where it can be run without its inner part; else None."""
        denoiser = self._networks.denoiser
        return denoiser if isinstance(denoiser, UNetNAS) else None

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, tiny: bool = False) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8, on the CPU."""
        if tiny and self._tiny_decoder is not None:
            return self._fetch(to_pixels(self._tiny_decoder(latents)))
        free = free_bytes(self._device)
        return self._fetch(to_pixels(decode_within(self._networks.decoder, latents, free)))

    def to_device(self, tensor: Tensor) -> Tensor:
        """Move a tensor to where the networks are, in their precision."""
        return tensor.to(self._torch_device, self._dtype)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Have the block's work done in a stream beside the denoiser's, and wait for it."""
        if self._beside is None:
            yield
            return
        with torch.cuda.stream(self._beside):
            yield
        self._beside.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done what this thread gave it."""
        if self._is_cuda:
            torch.cuda.current_stream().synchronize()

    def _fetch(self, pixels: Tensor) -> Tensor:
        """Copy to the processor's memory in the stream of copies."""
        if self._copies is None:
            return pixels
        self._copies.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._copies):
            # Pinned: only from there to there do copies run beside other work.
            fetched = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
            fetched.copy_(pixels, non_blocking=True)
        self._copies.synchronize()
        return fetched

    def describe(self) -> BackendRecord:
        """Tell what drew an image."""
        return BackendRecord(
            backend="torch",
            backend_version=f"{torch.__version__}{TOLD[self._manner]}",
            precision=self._precision,
            threads=None if self._is_cuda else torch.get_num_threads(),
            device=str(self._device),
            device_name=torch.cuda.get_device_name() if self._is_cuda else processor_name(),
            model=self._card.name,
            weights_sha256=self._weights_sha256,
            licence=self._card.licence,
            note=self._card.note,
        )


def _new_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch does not type it
