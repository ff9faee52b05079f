"""OpenVINO on plain graphs, by whichever of its two hints is faster here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.models.card import read_json
from worker.bench.speed.contestants import ENCODED, NetworksContestant, Setup, denoised_rows
from worker.bench.speed.graph_peers import GraphNetworks, Run, arrays, latent_shape, vae_of
from worker.bench.speed.graphs import COMPONENTS, graph_of
from worker.bench.speed.trial import step_ns
from worker.models.exported import DENOISER, TEXT_ENCODER, VAE_DECODER

HINT, LATENCY, THROUGHPUT = "PERFORMANCE_HINT", "LATENCY", "THROUGHPUT"
REQUESTS = "OPTIMAL_NUMBER_OF_INFER_REQUESTS"


def open_openvino(setup: Setup, graphs: Path) -> NetworksContestant:
    """Compile graphs for the one size that is measured, which is OpenVINO at its best.

    Of several images it advises the throughput hint, with a request for each of its streams:
    both that and one request of all rows are tried.
    """
    openvino: Any = importlib.import_module("openvino")
    torch.set_num_threads(setup.threads)
    compiler = _Compiler(openvino, setup, graphs)
    networks, hint = compiler.networks(compiler.in_one_request), "latency hint"
    if setup.chunk > 1:
        split = compiler.networks(compiler.in_several_requests)
        if step_ns(split, setup) < step_ns(networks, setup):
            networks, hint = split, f"throughput hint, {compiler.most_requests} requests"
    version = openvino.get_version().split("-")[0]
    settings = f"openvino {version}, {hint}, float32, fixed shapes"
    return NetworksContestant(networks, setup, settings)


class _Compiler:
    def __init__(self, openvino: Any, setup: Setup, graphs: Path) -> None:
        self.most_requests = 1
        """At once, of any graph that was split."""
        self._openvino = openvino
        self._core = openvino.Core()
        self._setup = setup
        self._graphs = graphs
        self._vae = vae_of(setup)
        rows, tokens = denoised_rows(setup.card) * setup.chunk, setup.card.max_prompt_tokens
        latents = latent_shape(self._vae, setup.side, setup.side)
        width = read_json(setup.card.folder / "text_encoder" / "config.json")["hidden_size"]
        self._shapes: dict[str, dict[str, list[int]]] = {
            TEXT_ENCODER: {"input_ids": [ENCODED * setup.chunk, tokens]},
            DENOISER: {
                "sample": [rows, *latents],
                "timestep": [rows],
                "encoder_hidden_states": [rows, tokens, width],
            },
            VAE_DECODER: {"latents": [setup.chunk, *latents]},
        }

    def networks(self, load: Callable[[str], Run]) -> GraphNetworks:
        """Load all components in one way."""
        return GraphNetworks(self._vae, {name: load(name) for name in COMPONENTS})

    def in_one_request(self, component: str) -> Run:
        """Load a component that takes all rows at once."""
        request = self._compiled(component, 1, LATENCY).create_infer_request()

        def run(inputs: Mapping[str, Tensor]) -> Tensor:
            request.infer(arrays(inputs), share_inputs=True)
            return torch.from_numpy(request.get_output_tensor().data.copy())

        return run

    def in_several_requests(self, component: str) -> Run:
        """Load a component whose rows are parted evenly among as many requests as suit it."""
        rows = next(iter(self._shapes[component].values()))[0]
        most = self._compiled(component, 1, THROUGHPUT).get_property(REQUESTS)
        parts = max(count for count in range(1, rows + 1) if rows % count == 0 and count <= most)
        self.most_requests = max(self.most_requests, parts)
        queue = self._openvino.AsyncInferQueue(self._compiled(component, parts, THROUGHPUT), parts)
        done: dict[int, Tensor] = {}

        def keep(request: Any, index: int) -> None:
            done[index] = torch.from_numpy(request.get_output_tensor().data.copy())

        queue.set_callback(keep)

        def run(inputs: Mapping[str, Tensor]) -> Tensor:
            for index in range(parts):
                some = {name: tensor.chunk(parts)[index] for name, tensor in inputs.items()}
                queue.start_async(arrays(some), index)
            queue.wait_all()
            return torch.cat([done[index] for index in range(parts)])

        return run

    def _compiled(self, component: str, parts: int, hint: str) -> Any:
        model = self._core.read_model(str(graph_of(self._graphs, component)))
        model.reshape(
            {
                name: [shape[0] // parts, *shape[1:]]
                for name, shape in self._shapes[component].items()
            }
        )
        options = {
            HINT: hint,
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._setup.threads,
        }
        return self._core.compile_model(model, "CPU", options)
