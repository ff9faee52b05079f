"""PyTorch, on the processor or on CUDA."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from worker.backends.base import BackendRecord
from worker.devices import Device, processor_name
from worker.models.folder import WEIGHTS, hash_weights, load_strictly, read_config
from worker.models.unet import UNetNAS
from worker.models.vae import ENCODER_TENSORS, VAEDecoder, VAEDecoderConfig


class TorchBackend:
    """A model's networks as PyTorch modules: fp32 on the processor, fp16 on CUDA."""

    def __init__(self, model: str, folder: Path, device: Device, cpu_threads: int = 0) -> None:
        """Load a model's folder.

        Raises:
            ConfigurationError: a part of the model is missing or broken.
        """
        _silence_libraries()
        torch.set_num_threads(cpu_threads or os.cpu_count() or 1)
        self._model = model
        self._device = device
        self._torch_device = torch.device("cuda:0" if device.kind == "cuda" else "cpu")
        self._dtype = torch.float16 if device.kind == "cuda" else torch.float32
        self.scheduler_config: Mapping[str, Any] = read_config(
            folder / "scheduler" / "scheduler_config.json"
        )
        self._tokenizer = CLIPTokenizer.from_pretrained(
            str(folder / "tokenizer"), local_files_only=True
        )
        self._text_encoder = self._placed(
            CLIPTextModel.from_pretrained(
                str(folder / "text_encoder"),
                dtype=self._dtype,
                local_files_only=True,
                use_safetensors=True,
            )
        )
        vae = VAEDecoder(VAEDecoderConfig.from_json(read_config(folder / "vae" / "config.json")))
        load_strictly(vae, folder / "vae" / WEIGHTS, left_aside=ENCODER_TENSORS)
        self._vae = self._placed(vae)
        denoiser = UNetNAS(read_config(folder / "flexible_unet" / "config.json"))
        load_strictly(denoiser, folder / "flexible_unet" / WEIGHTS)
        self._denoiser = self._placed(denoiser)
        self._weights_sha256 = hash_weights(folder)

    def _placed(self, network: Any) -> Any:
        return (
            network.requires_grad_(False)
            .eval()
            .to(self._torch_device, self._dtype, memory_format=torch.channels_last)
        )

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        config = self._vae.config
        return config.latent_channels, height // config.factor, width // config.factor

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Encode B prompts to text tokens (B, T, D); longer prompts are cut."""
        tokens = self._tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self._tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        encoded: Tensor = self._text_encoder(tokens.input_ids.to(self._torch_device))[0]
        return encoded

    @torch.inference_mode()
    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (B, T, D) to (B, C, H, W)."""
        prediction: Tensor = self._denoiser(sample, timestep, encoder_hidden_states)
        return prediction

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8, on the CPU."""
        pixels = self._vae(latents)
        shades = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        images: Tensor = shades.permute(0, 2, 3, 1).cpu()
        return images

    def to_device(self, tensor: Tensor) -> Tensor:
        """Move a tensor to where the networks are, in their precision."""
        return tensor.to(self._torch_device, self._dtype)

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self._device.kind == "cuda":
            torch.cuda.synchronize()

    def describe(self) -> BackendRecord:
        """Tell what drew an image."""
        is_cuda = self._device.kind == "cuda"
        return BackendRecord(
            backend="torch",
            backend_version=torch.__version__,
            precision=str(self._dtype).removeprefix("torch."),
            device=str(self._device),
            device_name=torch.cuda.get_device_name() if is_cuda else processor_name(),
            model=self._model,
            weights_sha256=self._weights_sha256,
        )


def _silence_libraries() -> None:
    """Keep progress bars and advice for notebooks out of a worker's log."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    diffusers_logging.set_verbosity_error()
