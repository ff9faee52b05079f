"""ONNX Runtime, on the processor or on an accelerator that it has a provider for."""

from __future__ import annotations

import os
from collections.abc import Callable

import onnxruntime
import torch
from torch import Tensor

from shared.errors import ConfigurationError
from shared.models.card import ModelCard, read_json
from worker.backends.base import BackendRecord
from worker.backends.between_runs import TensorsOnProcessor
from worker.backends.onnx_denoiser import CutDenoiser
from worker.backends.onnx_sessions import open_session, providers_for, run
from worker.backends.pixels import to_pixels
from worker.backends.timesteps import whole_timesteps
from worker.devices import Device, processor_name
from worker.models.exported import (
    DENOISER,
    GRAPH,
    TEXT_ENCODER,
    VAE_DECODER,
    precision_of,
    require_exact,
)
from worker.models.rows import spread
from worker.models.vae import VAEDecoderConfig
from worker.models.weights import exported_from

QAIC_CONFIG = "qaic.yaml"
"""Beside a graph: how Cloud AI 100's compiler is to treat it."""


class OnnxBackend(TensorsOnProcessor):
    """A model's three graphs, each a session; tensors stay on the processor between them."""

    def __init__(
        self, card: ModelCard, device: Device, *, precision: str = "auto", threads: int = 0
    ) -> None:
        """Load a model.

        Args:
            card: names the folder of an exported model.
            device: the processor or one accelerator.
            precision: "auto", or what the model was exported in.
            threads: of the processor; 0 takes one a core.

        Raises:
            ConfigurationError: a part of the model is missing or broken, or this ONNX
                Runtime has no provider for the device, or int8 is to be drawn by anything
                but the processor.
        """
        self._precision = precision_of(card.folder)
        if precision not in {"auto", self._precision}:
            raise ConfigurationError(
                f"precision {precision}: {card.name} was exported in {self._precision}"
            )
        if device.kind != "cpu":
            require_exact(card.folder)
        self._card = card
        self._device = device
        self._threads = threads or os.cpu_count() or 1
        # The sampler's sums between two runs are torch's.
        torch.set_num_threads(self._threads)
        vae = VAEDecoderConfig.from_json(read_json(card.folder / "vae" / "config.json"))
        self._latent_channels, self._factor = vae.latent_channels, vae.factor
        self._text_encoder = self._open(TEXT_ENCODER)
        self._denoiser = self._open_denoiser()
        self._decoder = self._open(VAE_DECODER)
        self._weights_sha256 = exported_from(card)

    @property
    def compiled_sizes(self) -> None:
        """It draws any size."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        return self._latent_channels, height // self._factor, width // self._factor

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        return run(self._text_encoder, {"input_ids": token_ids})

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (R, T, D) to (R, C, H, W), R B or 2 B.

        Raises:
            PermanentRenderError: a timestep is no whole number, which is what graphs take.
        """
        rows = len(encoder_hidden_states)
        timesteps = spread(whole_timesteps(timestep), rows)
        return self._denoiser(spread(sample, rows), timesteps, encoder_hidden_states)

    def decode(self, latents: Tensor, *, tiny: bool = False) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8."""
        return to_pixels(run(self._decoder, {"latents": latents}))

    def describe(self) -> BackendRecord:
        """Tell what drew an image."""
        is_cpu = self._device.kind == "cpu"
        return BackendRecord(
            backend="onnxruntime",
            backend_version=onnxruntime.__version__,
            precision=self._precision.value,
            threads=self._threads if is_cpu else None,
            device=str(self._device),
            device_name=processor_name() if is_cpu else str(self._device),
            model=self._card.name,
            weights_sha256=self._weights_sha256,
            licence=self._card.licence,
            note=self._card.note,
        )

    def _open_denoiser(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if self._device.kind == "cpu":
            path = self._card.folder / DENOISER / GRAPH
            return CutDenoiser(path, lambda graph: self._open(DENOISER, graph))
        plain = self._open(DENOISER)
        names = [value.name for value in plain.get_inputs()]
        return lambda *inputs: run(plain, dict(zip(names, inputs, strict=True)))

    def _open(self, component: str, graph: bytes | None = None) -> onnxruntime.InferenceSession:
        folder = self._card.folder / component
        # A process sees no CUDA device but the one that it is pinned to.
        index = 0 if self._device.kind == "cuda" else self._device.index
        providers = providers_for(self._device.kind, index, qaic_config=folder / QAIC_CONFIG)
        return open_session(folder / GRAPH, providers, self._threads, graph=graph)
