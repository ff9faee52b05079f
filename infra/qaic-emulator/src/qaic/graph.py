"""Graphs with static shapes, and constants as the card holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import numpy_helper

from qaic.errors import QaicError

EXTERNAL_OVER_BYTES = 1 << 30
"""Protocol Buffers end at 2 GiB a file."""


def load(path: Path) -> onnx.ModelProto:
    """Read a graph.

    Raises:
        QaicError: there is none, or it is broken.
    """
    if not path.is_file():
        raise QaicError(f"unable to open model file '{path}'")
    try:
        return onnx.load(path)
    except Exception as error:
        raise QaicError(f"unable to parse model file '{path}': {error}") from error


def make_static(model: onnx.ModelProto, symbols: Mapping[str, int]) -> onnx.ModelProto:
    """Give every symbol its size and find out all shapes.

    Raises:
        QaicError: an input keeps a size that is not known.
    """
    for value in inputs_of(model):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value:
                if dim.dim_param not in symbols:
                    raise QaicError(
                        f"input '{value.name}' has a dynamic shape: "
                        f"symbol '{dim.dim_param}' is not defined; use -onnx-define-symbol"
                    )
                dim.dim_value = symbols[dim.dim_param]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    if not all(all(shape_of(value)) for value in inferred.graph.output):
        _run_for_shapes(inferred)
    return inferred


def _run_for_shapes(model: onnx.ModelProto) -> None:
    """Write the shapes of outputs into a graph; inference does not see through all operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with TemporaryDirectory(prefix="qaic-emulator-") as folder:
        path = Path(folder) / "network.onnx"
        is_large = model.ByteSize() > EXTERNAL_OVER_BYTES
        onnx.save_model(model, path, save_as_external_data=is_large)
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        inputs = {
            value.name: np.zeros(shape_of(value), type_of(value)) for value in inputs_of(model)
        }
        outputs = session.run(None, inputs)
    for value, output in zip(model.graph.output, outputs, strict=True):
        value.type.tensor_type.ClearField("shape")
        for size in output.shape:
            value.type.tensor_type.shape.dim.add().dim_value = size


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    """Return a tensor's shape; what is not known is 0."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def type_of(value: onnx.ValueInfoProto) -> str:
    """Return the name of a tensor's type, as NumPy has it."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def inputs_of(model: onnx.ModelProto) -> Sequence[onnx.ValueInfoProto]:
    """Return what a graph is given, without its constants."""
    constants = {constant.name for constant in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def round_constants(model: onnx.ModelProto) -> None:
    """Round constants to float16 in place; what is beyond its range becomes infinite."""
    for tensor in _constants(model):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                rounded = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type in {"Constant", "ConstantOfShape"}:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
