"""Constants within the range of float16, in which the card computes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from worker.models.exported import GRAPH, GRAPH_DATA

FLOAT16_MAX = 65504.0
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def write_clipped(source: Path, folder: Path) -> int:
    """Copy a graph, with constants beyond ±65504 moved to that bound.

    A mask of float32's lowest number would be minus infinity on the card, and a sum of two of
    them no number at all.

    Args:
        source: an ONNX file, with its weights beside it where they are apart.
        folder: of the copy; is made.

    Returns:
        How many numbers were moved.
    """
    folder.mkdir(parents=True)
    data = source.with_name(GRAPH_DATA)
    model = onnx.load(source, load_external_data=False)
    is_apart = data.is_file()
    if is_apart:
        model = onnx.load(source)
    moved = sum(map(_clip, _constants(model)))
    if moved or not is_apart:
        onnx.save_model(model, folder / GRAPH, save_as_external_data=is_apart, location=GRAPH_DATA)
    else:
        shutil.copyfile(source, folder / GRAPH)
        shutil.copyfile(data, folder / GRAPH_DATA)
    return moved


def _clip(tensor: onnx.TensorProto) -> int:
    if tensor.data_type not in FLOATS:
        return 0
    values = numpy_helper.to_array(tensor)
    beyond = int((np.abs(values) > FLOAT16_MAX).sum())
    if beyond:
        clipped = np.clip(values, -FLOAT16_MAX, FLOAT16_MAX)
        tensor.CopyFrom(numpy_helper.from_array(clipped, tensor.name))
    return beyond


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
