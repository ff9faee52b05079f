"""Plain graphs in somebody's runtime, and ONNX Runtime as its users run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.models.card import read_json
from worker.backends.pixels import to_pixels
from worker.bench.speed.contestants import NetworksContestant, Setup
from worker.bench.speed.graphs import COMPONENTS, graph_of
from worker.models.exported import DENOISER, TEXT_ENCODER, VAE_DECODER
from worker.models.rows import spread
from worker.models.vae import VAEDecoderConfig

Run = Callable[[Mapping[str, Tensor]], Tensor]


class GraphNetworks:
    """A model's three graphs in somebody's runtime."""

    def __init__(self, vae: VAEDecoderConfig, runs: Mapping[str, Run]) -> None:
        """Put loaded graphs together.

        Args:
            vae: the decoder's configuration.
            runs: runs a component's graph, by the component's name.
        """
        self._vae = vae
        self._runs = runs

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of an image of this size in pixels."""
        return latent_shape(self._vae, width, height)

    def encode_text(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, to text tokens (B, T, D)."""
        return self._runs[TEXT_ENCODER]({"input_ids": token_ids})

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the denoiser once: (B, C, H, W), (B,), (2 B, T, D) to (2 B, C, H, W)."""
        rows = len(encoder_hidden_states)
        return self._runs[DENOISER](
            {
                "sample": spread(sample, rows),
                "timestep": spread(timestep.long(), rows),
                "encoder_hidden_states": encoder_hidden_states,
            }
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, H, W) to pixels (B, height, width, 3), uint8."""
        return to_pixels(self._runs[VAE_DECODER]({"latents": latents}))


def open_onnxruntime(setup: Setup, graphs: Path) -> NetworksContestant:
    """Load graphs as Optimum's pipeline does: every optimisation of ONNX Runtime's own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

    def load(component: str) -> Run:
        path = str(graph_of(graphs, component))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda inputs: torch.from_numpy(session.run(None, arrays(inputs))[0])

    settings = f"onnxruntime {onnxruntime.__version__}, all optimisations"
    networks = GraphNetworks(vae_of(setup), {name: load(name) for name in COMPONENTS})
    return NetworksContestant(networks, setup, settings)


def latent_shape(vae: VAEDecoderConfig, width: int, height: int) -> tuple[int, int, int]:
    """Return (C, H, W) of the latents of an image of this size in pixels."""
    return vae.latent_channels, height // vae.factor, width // vae.factor


def vae_of(setup: Setup) -> VAEDecoderConfig:
    """Read the decoder's configuration."""
    return VAEDecoderConfig.from_json(read_json(setup.card.folder / "vae" / "config.json"))


def arrays(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return tensors as arrays that lie row by row, of the same memory where they do."""
    return {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
