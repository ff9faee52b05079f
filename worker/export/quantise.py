"""A denoiser's graph in int8, which is faster on some processors, and never exact."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from torch import Tensor

from shared.domain.prompts import ImageSettings
from shared.models.card import ModelCard, read_json
from worker.backends.onnx_backend import OnnxBackend
from worker.devices import Device
from worker.models.exported import DENOISER, GRAPH, GRAPH_DATA, ExportPrecision
from worker.models.rows import spread
from worker.models.tokenizer import PromptTokenizer
from worker.pipeline import Pipeline

EXACT_NODES = ["/conv_in/Conv", "/conv_out/Conv"]
"""First and last convolution: the cheapest, and what they lose is seen at once."""
CALIBRATION_PROMPTS = (
    "a red apple",
    "a smiling face",
    "a blue fish under water",
    "a house with a tree",
    "an old man with a beard",
    "the flag of a country",
    "a black cat at night",
    "",
)
COMMON: dict[str, Any] = {
    "weight_type": QuantType.QInt8,
    "per_channel": True,
    # Seven bits: without VNNI, sums of two products of eight overflow 16 bits.
    "reduce_range": True,
    "nodes_to_exclude": EXACT_NODES,
}
PROJECTIONS_ALONE = {"MatMulConstBOnly": True}
"""Scores of attention are products of two activations: they stay float32."""

Inputs = dict[str, NDArray[Any]]


def quantise_denoiser(card: ModelCard, precision: ExportPrecision) -> None:
    """Put an int8 graph in the place of a folder's float32 one.

    Args:
        card: of an exported model, whole and in float32.
        precision: either int8. For the static one images are drawn, from prompts of its
            own with the model's settings.
    """
    graph = card.folder / DENOISER / GRAPH
    made = graph.with_name("quantised.onnx")
    with _silence():
        if precision is ExportPrecision.INT8_STATIC:
            quantize_static(
                graph,
                made,
                _Reader(_record_steps(card)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                op_types_to_quantize=["Conv", "MatMul"],
                extra_options=PROJECTIONS_ALONE,
                **COMMON,
            )
        else:
            # Convolutions too would take four times as long: their scales are of a run.
            quantize_dynamic(
                graph,
                made,
                op_types_to_quantize=["MatMul"],
                extra_options=PROJECTIONS_ALONE,
                **COMMON,
            )
    made.replace(graph)
    (graph.parent / GRAPH_DATA).unlink(missing_ok=True)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # its package ships no types
    """Hands a denoiser's inputs to ONNX Runtime's calibration."""

    def __init__(self, steps: Sequence[Inputs]) -> None:
        self._steps = iter(steps)

    def get_next(self) -> Inputs | None:
        """Return the next step's inputs, None after the last."""
        return next(self._steps, None)


class _Recorder(OnnxBackend):
    """Draws, and keeps what the denoiser was given."""

    steps: list[Inputs]

    def denoise(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        rows = len(encoder_hidden_states)
        self.steps.append(
            {
                "sample": spread(sample, rows).numpy().copy(),
                "timestep": spread(timestep, rows).numpy().astype(np.int64),
                "encoder_hidden_states": encoder_hidden_states.numpy().copy(),
            }
        )
        return super().denoise(sample, timestep, encoder_hidden_states)


def _record_steps(card: ModelCard) -> list[Inputs]:
    """Draw each prompt alone, and return the inputs of all its steps."""
    recorder = _Recorder(card, Device.parse("cpu"), threads=torch.get_num_threads())
    recorder.steps = []
    scheduler = read_json(card.folder / "scheduler" / "scheduler_config.json")
    pipeline = Pipeline(recorder, PromptTokenizer(card), scheduler)
    for seed, prompt in enumerate(CALIBRATION_PROMPTS):
        settings = ImageSettings(
            prompt=prompt,
            seed=seed,
            width=card.width,
            height=card.height,
            **card.sampler.model_dump(),
        )
        pipeline.sample([settings])
    return recorder.steps


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back advice to developers: on preparing a graph, on the operators it skips."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
