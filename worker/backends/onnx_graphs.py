"""An exported denoiser's graph as ONNX Runtime draws fastest with it on a processor.

The folder keeps the plain graph, which is what compilers of other devices take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

CONTRIB = "com.microsoft"
HEADS_AXIS = 2
"""Of (B, T, heads, width of a head), to which queries, keys and values are reshaped."""
OF_TIME, OF_TEXT = "timestep", "encoder_hidden_states"


@dataclass(frozen=True, slots=True)
class Parts:
    """One graph cut in three: what follows from the timestep, from the text, and the rest.

    What the first two put out, the rest takes in by the same names.
    """

    time: ModelProto
    text: ModelProto
    rest: ModelProto


def fuse_attention(model: ModelProto) -> int:
    """Put one node in the place of each attention: scores are not held all at once.

    Returns:
        How many there were.
    """
    graph = model.graph
    makers = _makers(graph.node)
    takers = {name: node for node in graph.node for name in node.input}
    fused = [_fuse(node, makers, takers) for node in graph.node if node.op_type == "Softmax"]
    by_output = {node.output[0]: node for node in fused if node is not None}
    nodes = [by_output.get(node.output[0], node) for node in graph.node]
    if by_output:
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
        _put_nodes(model, nodes, [value.name for value in graph.output])
    return len(by_output)


def cut(model: ModelProto) -> Parts:
    """Cut a denoiser's graph by what its nodes depend on.

    Raises:
        ValueError: no part of it depends on the timestep alone, or none on the text alone.
    """
    _take_timesteps_as_they_are(model)
    known = onnx.shape_inference.infer_shapes(model)
    values = {value.name: value for value in known.graph.value_info}
    needs: dict[str, frozenset[str]] = {
        value.name: frozenset({value.name}) for value in model.graph.input
    }
    for node in model.graph.node:
        own = frozenset[str]().union(*(needs.get(name, frozenset()) for name in node.input))
        needs.update(dict.fromkeys(node.output, own))
    edges: dict[str, list[str]] = {OF_TIME: [], OF_TEXT: []}
    for node in model.graph.node:
        for name in node.input:
            source = needs.get(name, frozenset())
            if len(source) == 1 and needs[node.output[0]] != source and name in values:
                (origin,) = source
                if origin in edges and name not in edges[origin]:
                    edges[origin].append(name)
    if not all(edges.values()):
        raise ValueError("nothing to be computed once a job")
    crossing = [name for names in edges.values() for name in names]
    results = [value.name for value in model.graph.output]
    return Parts(
        time=_part(model, values, [OF_TIME], edges[OF_TIME]),
        text=_part(model, values, [OF_TEXT], edges[OF_TEXT]),
        rest=_part(model, values, ["sample", *crossing], results),
    )


def _fuse(
    softmax: NodeProto, makers: Mapping[str, NodeProto], takers: Mapping[str, NodeProto]
) -> NodeProto | None:
    """Return the node that does what is around a softmax, None if that is no attention."""
    scores = makers.get(softmax.input[0])
    weighted = takers.get(softmax.output[0])
    if scores is None or weighted is None or {scores.op_type, weighted.op_type} != {"MatMul"}:
        return None
    split = [
        _back(makers, scores.input[0], ("Mul", "Transpose", "Reshape")),
        _back(makers, scores.input[1], ("Mul", "Transpose", "Reshape")),
        _back(makers, weighted.input[1], ("Transpose", "Reshape")),
    ]
    transposed = takers.get(weighted.output[0])
    joined = takers.get(transposed.output[0]) if transposed is not None else None
    if None in split or joined is None or joined.op_type != "Reshape":
        return None
    reshapes = [node for node in split if node is not None]
    heads = _heads(makers, reshapes[0])
    if heads is None:
        return None
    return helper.make_node(
        "MultiHeadAttention",
        [node.input[0] for node in reshapes],
        [joined.output[0]],
        name=f"{softmax.name}/fused",
        domain=CONTRIB,
        num_heads=heads,
    )


def _back(makers: Mapping[str, NodeProto], name: str, kinds: Iterable[str]) -> NodeProto | None:
    """Walk from a tensor to what made it, by first inputs, if the nodes are of these kinds."""
    node = None
    for kind in kinds:
        node = makers.get(name)
        if node is None or node.op_type != kind:
            return None
        name = node.input[0]
    return node


def _heads(makers: Mapping[str, NodeProto], reshape: NodeProto) -> int | None:
    shape = makers.get(reshape.input[1])
    if shape is None or shape.op_type != "Concat" or len(shape.input) <= HEADS_AXIS:
        return None
    count = makers.get(shape.input[HEADS_AXIS])
    if count is None or count.op_type != "Constant":
        return None
    return int(numpy_helper.to_array(count.attribute[0].t).item())


def _take_timesteps_as_they_are(model: ModelProto) -> None:
    """Leave out that they are repeated a sample: there is one for each.

    With it, all that follows from them would depend on the samples too.
    """
    repeated = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Expand" and node.input[0] == OF_TIME
    }
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in repeated:
                node.input[index] = OF_TIME


def _part(
    model: ModelProto,
    values: Mapping[str, onnx.ValueInfoProto],
    inputs: list[str],
    outputs: list[str],
) -> ModelProto:
    described = {
        **values,
        **{value.name: value for value in (*model.graph.input, *model.graph.output)},
    }
    part = ModelProto()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.graph.name = model.graph.name
    part.graph.input.extend(described[name] for name in inputs)
    part.graph.output.extend(described[name] for name in outputs)
    part.graph.initializer.extend(model.graph.initializer)
    _put_nodes(part, model.graph.node, outputs)
    return part


def _put_nodes(model: ModelProto, nodes: Iterable[NodeProto], outputs: Iterable[str]) -> None:
    """Have a graph consist of those nodes and weights that its outputs need."""
    nodes = list(nodes)
    makers = _makers(nodes)
    given = {value.name for value in model.graph.input}
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            if name in makers and name not in given:
                waiting.extend(makers[name].input)
    kept = [
        node for node in nodes if any(name in needed and name not in given for name in node.output)
    ]
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    model.graph.ClearField("node")
    model.graph.node.extend(kept)
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(weights)


def _makers(nodes: Iterable[NodeProto]) -> dict[str, NodeProto]:
    return {name: node for node in nodes for name in node.output}
