"""Which layer of its network a node is part of, as far as its name or its operator tells."""

from __future__ import annotations

from typing import Any

from adjoint.interop.graph import Scopes, word

LAYERS = frozenset({
    "Attention", "AveragePool", "BatchNormalization", "Celu", "Conv", "ConvTranspose", "Elu", "GRU", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish", "InstanceNormalization",
    "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "LogSoftmax", "LpNormalization", "LpPool", "MatMul",
    "MaxPool", "MeanVarianceNormalization", "Mish", "PRelu", "RMSNormalization", "RNN", "Relu", "Selu", "Sigmoid",
    "Softmax", "Softplus", "Softsign", "SwiGLU", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip


def scopes_of(node: Any, learned: bool) -> Scopes:
    """The (name, kind) of the modules around a node, outermost first.

    PyTorch's exporter names nodes by their module, "/layers.0/linear1/MatMul": those are the modules, the innermost of
    the operator's kind, the others of the kind that their name tells. Another node is a layer by itself where it takes
    what the network `learned`, or its operator is one that layers are made of.

    >>> from onnx import helper
    >>> scopes_of(helper.make_node("MatMul", ["x", "w"], ["y"], "/layers.0/linear1/MatMul"), True)
    (('layers.0', 'layers'), ('layers.0.linear1', 'MatMul'))
    >>> scopes_of(helper.make_node("Relu", ["x"], ["y"], "relu_7"), False)
    (('relu_7', 'Relu'),)
    >>> scopes_of(helper.make_node("Reshape", ["x", "s"], ["y"], "flat"), False)
    ()
    """
    parts = node.name.split("/")[1:-1] if node.name.startswith("/") else []
    if parts:
        names = [".".join(parts[: k + 1]) for k in range(len(parts))]
        kinds = [word(part) for part in parts[:-1]]
        return tuple(zip(names, [*kinds, node.op_type], strict=True))
    own = node.name.removeprefix("/") or next((name for name in node.output if name), "")
    return ((own, node.op_type),) if learned or node.op_type in LAYERS else ()
