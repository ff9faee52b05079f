"""ONNX Runtime and OpenVINO on the same plain graphs, as their users run them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.models.card import read_json
from worker.backends.pixels import to_pixels
from worker.bench.speed.contestants import GUIDED, NetworksContestant, Setup
from worker.bench.speed.diffusers_peer import latent_shape
from worker.bench.speed.graphs import COMPONENTS, graph_of
from worker.models.exported import DENOISER, TEXT_ENCODER, VAE_DECODER
from worker.models.rows import spread
from worker.models.vae import VAEDecoderConfig

OPENVINO_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
"""What its documentation advises for one request at a time; float32 as everywhere here."""

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
        return lambda inputs: torch.from_numpy(session.run(None, _arrays(inputs))[0])

    settings = f"onnxruntime {onnxruntime.__version__}, all optimisations"
    networks = GraphNetworks(_vae(setup), {name: load(name) for name in COMPONENTS})
    return NetworksContestant(networks, setup, settings)


def open_openvino(setup: Setup, graphs: Path) -> NetworksContestant:
    """Compile graphs for the one size that is measured, which is OpenVINO at its best."""
    openvino: Any = importlib.import_module("openvino")
    torch.set_num_threads(setup.threads)
    vae = _vae(setup)
    core = openvino.Core()
    options = {**OPENVINO_OPTIONS, "INFERENCE_NUM_THREADS": setup.threads}
    rows = GUIDED * setup.chunk
    latents = latent_shape(vae, setup.side, setup.side)
    tokens = setup.card.max_prompt_tokens
    width = read_json(setup.card.folder / "text_encoder" / "config.json")["hidden_size"]
    shapes: dict[str, dict[str, list[int]]] = {
        TEXT_ENCODER: {"input_ids": [rows, tokens]},
        DENOISER: {
            "sample": [rows, *latents],
            "timestep": [rows],
            "encoder_hidden_states": [rows, tokens, width],
        },
        VAE_DECODER: {"latents": [setup.chunk, *latents]},
    }

    def load(component: str) -> Run:
        model = core.read_model(str(graph_of(graphs, component)))
        model.reshape(shapes[component])
        request = core.compile_model(model, "CPU", options).create_infer_request()

        def run(inputs: Mapping[str, Tensor]) -> Tensor:
            request.infer(_arrays(inputs), share_inputs=True)
            return torch.from_numpy(request.get_output_tensor().data.copy())

        return run

    version = openvino.get_version().split("-")[0]
    settings = f"openvino {version}, latency hint, float32, fixed shapes"
    return NetworksContestant(
        GraphNetworks(vae, {name: load(name) for name in COMPONENTS}), setup, settings
    )


def _vae(setup: Setup) -> VAEDecoderConfig:
    return VAEDecoderConfig.from_json(read_json(setup.card.folder / "vae" / "config.json"))


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
