"""ONNX files as modules: the graph as operations of this library, its initializers as parameters under their names."""

from __future__ import annotations

from typing import Any

from adjoint.errors import CheckpointError
from adjoint.interop.graph import Graph
from adjoint.interop.onnx import (  # noqa: F401
    activations,
    attention,
    constants,
    control,
    convolutions,
    elementwise,
    indexing,
    layout,
    losses,
    normalizations,
    pooling,
    products,
    quantization,
    recurrent,
    reductions,
    resizing,
    sampling,
    sequences,
    signals,
)
from adjoint.interop.onnx.building import Source, network_of
from adjoint.interop.onnx.operators import OPERATORS as OPERATORS
from adjoint.interop.onnx.reading import read, version_of
from adjoint.interop.onnx.types import Types

__all__ = ["OPERATORS", "from_onnx"]


def from_onnx(source: Any, dtype: Any = None) -> Graph:
    """A network from an ONNX file: a path, its bytes, or a `ModelProto`; a call takes the graph's inputs in order.

    Floating initializers are parameters under their names in the file (running statistics are buffers), integers are
    constants. Values that decide shapes are NumPy's, so that where shapes are known the network runs under `jax.jit`
    and on arrays that only have shapes. With `dtype` every floating number of the file counts as that one: "float64"
    to compare, "float32" for a file of half precision. Operators of version 9 to the installed onnx's are known by
    `OPERATORS`. Raises `CheckpointError`, naming the tensor or the node, for a file that is damaged or needs what is
    not known here, ImportError without the package onnx. Format: https://onnx.ai/onnx/repo-docs/IR.html.

    >>> import numpy as np, adjoint as aj
    >>> from onnx import parser
    >>> model = parser.parse_model('''<ir_version: 8, opset_import: ["" : 17]>
    ...     net (float[n, 2] x) => (float[n, 1] y) <float[2, 1] w = {1.0, -2.0}> { y = MatMul(x, w) }''')
    >>> net = from_onnx(model)
    >>> net
    Graph(x: 2 steps, 1 arrays)
    >>> net(np.array([[3.0, 1.0]], "float32")).tolist(), list(net.state_dict())
    ([[1.0]], ['w'])
    >>> aj.grad(lambda net: aj.sum(net(np.array([[3.0, 1.0]], "float32"))))(net)["w"].tolist()
    [[3.0], [1.0]]
    """
    model, name, folder = read(source)
    try:
        return network_of(model.graph, Source(folder, Types(dtype), version_of(model)))
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{name} is not a whole ONNX file ({error}): it is truncated or corrupt.") from error
