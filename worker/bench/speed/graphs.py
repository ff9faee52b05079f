"""Plain ONNX graphs of a model, as torch's exporter writes them, for peers that run graphs."""

from __future__ import annotations

from pathlib import Path

from shared.models.card import ModelCard
from worker.export.components import by_component, components_of
from worker.export.export import EXTERNAL_OVER_BYTES
from worker.export.graph import write_graph
from worker.models.exported import DENOISER, GRAPH, TEXT_ENCODER, VAE_DECODER
from worker.models.networks import load_networks

COMPONENTS = (TEXT_ENCODER, DENOISER, VAE_DECODER)


def write_graphs(card: ModelCard, folder: Path) -> None:
    """Write a model's three graphs, unless they are there.

    Args:
        card: of a model for torch.
        folder: gets a folder a component.
    """
    if folder.is_dir():
        return
    networks = load_networks(card)
    text = networks.text_encoder.config
    components = components_of(card, text.hidden_size, text.vocab_size, networks.decoder.config)
    waiting = by_component(networks)
    del networks
    for component in components:
        network = waiting.pop(component.name)
        write_graph(component, network, folder / component.name, EXTERNAL_OVER_BYTES)


def graph_of(folder: Path, component: str) -> Path:
    """Return where a component's graph is."""
    return folder / component / GRAPH
