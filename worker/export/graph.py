"""From a network to an ONNX file."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from worker.export.components import Case, Component
from worker.models.exported import GRAPH, GRAPH_DATA

OPSET = 14
"""What Cloud AI 100's published recipe takes."""
TRACED = Case(batch=2, height=9, width=11)
"""Sizes that no power of two divides: networks then take the way that is right for all."""
EXTERNAL_TENSOR_BYTES = 1024
"""Smaller tensors stay in the graph, where shapes are inferred from them."""


def write_graph(component: Component, network: nn.Module, folder: Path, external_over: int) -> int:
    """Trace a network and write ``model.onnx``, checked by ONNX's own checker.

    Args:
        component: names of inputs and output, and which of their sizes are symbols.
        network: float32, on the processor.
        folder: is made; a graph with more than ``external_over`` bytes of weights has
            them in ``model.onnx.data`` beside it.
        external_over: bytes; one file holds 2 GiB at most.

    Returns:
        Bytes written.
    """
    scratch = folder / "traced"
    scratch.mkdir(parents=True)
    _trace(component, network, scratch / GRAPH)
    model = onnx.load(scratch / GRAPH)
    shutil.rmtree(scratch)
    _name_output_sizes(component, model)
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save_model(
        model,
        folder / GRAPH,
        save_as_external_data=weights > external_over,
        location=GRAPH_DATA,
        size_threshold=EXTERNAL_TENSOR_BYTES,
    )
    if (folder / GRAPH_DATA).is_file():
        # onnx makes it for its owner alone.
        (folder / GRAPH_DATA).chmod((folder / GRAPH).stat().st_mode)
    onnx.checker.check_model(str(folder / GRAPH))
    return sum(path.stat().st_size for path in folder.iterdir())


def opset_of(path: Path) -> int:
    """Return the version of ONNX's own operators that a graph is written in."""
    model = onnx.load(path, load_external_data=False)
    own = next(entry for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    return int(own.version)


def _trace(component: Component, network: nn.Module, path: Path) -> None:
    inputs = component.make_inputs(TRACED, torch.Generator().manual_seed(0))
    all_dims = {**component.inputs, component.output: component.output_dims}
    with _silence():
        torch.onnx.export(
            network,
            inputs,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(component.inputs),
            output_names=[component.output],
            dynamic_axes={
                name: {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, str)}
                for name, dims in all_dims.items()
            },
        )


def _name_output_sizes(component: Component, model: onnx.ModelProto) -> None:
    """Give the output the sizes that it has; the exporter makes up names for some."""
    (output,) = model.graph.output
    for found, dim in zip(output.type.tensor_type.shape.dim, component.output_dims, strict=True):
        if isinstance(dim, str):
            found.dim_param = dim
        else:
            found.dim_value = dim


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back advice to developers: on Booleans in a trace, on the newer exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
