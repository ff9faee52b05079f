"""Whether a graph computes what the network does that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from shared.errors import TenstepError
from worker.backends.onnx_sessions import open_session, providers_for, run
from worker.export.components import Case, Component
from worker.export.graph import OPSET, opset_of
from worker.models.exported import GRAPH

TOLERANCE = 1e-3
"""Largest difference from torch, as a share of the output's standard deviation.

Two right implementations in float32 differ by 1e-6 to 1e-4, more where a group norm has
few values to normalise; a wrong one by about 1.
"""
CASES = (
    Case(batch=1, height=8, width=8),
    Case(batch=2, height=9, width=11),
    Case(batch=5, height=16, width=8),
)
SEED = 1

Reference = tuple[tuple[Tensor, ...], Tensor]
"""Inputs, and what the network makes of them."""


def references(component: Component, network: nn.Module) -> list[Reference]:
    """Run a network on random inputs of several batches and sizes."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.inference_mode():
        made = [component.make_inputs(case, generator) for case in CASES]
        return [(inputs, network(*inputs)) for inputs in made]


def check_graph(
    component: Component, folder: Path, expected: list[Reference], tolerance: float
) -> float:
    """Run a graph on a network's inputs, on the processor.

    Returns:
        The largest difference, as a share of the output's standard deviation.

    Raises:
        TenstepError: it is above the tolerance, or the graph has another opset.
    """
    opset = opset_of(folder / GRAPH)
    if opset != OPSET:
        raise TenstepError(f"{component.name}: exported with opset {opset}, not {OPSET}")
    difference = max(_differences(component, folder, expected))
    if not difference <= tolerance:
        raise TenstepError(
            f"{component.name}: what was exported differs from torch by {difference:.1e} of the "
            f"output's standard deviation, {tolerance:.1e} is allowed"
        )
    return difference


def relative_difference(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the expected standard deviation."""
    return float((got - expected).abs().max() / expected.std())


def _differences(component: Component, folder: Path, expected: list[Reference]) -> Iterator[float]:
    session = open_session(folder / GRAPH, providers_for("cpu"), torch.get_num_threads())
    for inputs, output in expected:
        got = run(session, dict(zip(component.inputs, inputs, strict=True)))
        yield relative_difference(got, output)
