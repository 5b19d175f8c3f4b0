"""A graph of a file as steps: names resolved, arrays sorted into parameters, buffers and constants."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.graph import Graph, Plan, Step, Value
from adjoint.interop.onnx.control import Block
from adjoint.interop.onnx.graphs import check_claimed, check_text, described, inside, ordered, uses
from adjoint.interop.onnx.inputs import Input, check_shape, sizes_of
from adjoint.interop.onnx.nodes import node_of, value_of
from adjoint.interop.onnx.scopes import scopes_of
from adjoint.interop.onnx.tensors import array_of
from adjoint.interop.onnx.types import WORKING, Types


class Source:
    """What all graphs of a file share: its folder and dtypes, the version of its operators, its arrays."""

    def __init__(self, folder: str | None, types: Types, opset: int) -> None:
        self.folder, self.types, self.opset = folder, types, opset
        self.parameters: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}


class Scope:
    """The names of a graph: constants, values, and those of the graph around it, which it captures."""

    def __init__(self, around: Scope | None = None) -> None:
        self.around = around
        self.root: Scope = self if around is None else around.root
        self.constants: dict[str, Any] = {}
        self.values: dict[str, str] = {}  # the name in this graph: the name while it runs
        self.captured: dict[str, None] = {}

    def find(self, name: str) -> Any:
        """The constant or the `Value` of a name; None where there is none."""
        if name in self.constants:
            return self.constants[name]
        if name in self.values:
            return Value(self.values[name])
        found = None if self.around is None else self.around.find(name)
        if isinstance(found, Value):
            self.captured[str(found)] = None
        return found


def initialize(graph: Any, scope: Scope, source: Source, needed: dict[str, set[str]]) -> None:
    """The graph's arrays: floating ones are parameters or buffers, the others constants."""
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise CheckpointError(f"the sparse initializer {name!r} is not known here: save the model with dense ones.")
    declared = {x.name: x for x in graph.input}
    seen: set[str] = set()
    for tensor in graph.initializer:
        name = tensor.name
        if not name or name in seen:
            raise CheckpointError(f"the initializer {name!r} {'stands in the file twice' if name else 'has no name'}.")
        seen.add(name)
        if name not in needed:
            continue
        array = array_of(tensor, source.types, source.folder, "initializer")
        if name in declared:
            check_shape(declared[name], array)
        ways = needed[name]
        if array.dtype.name not in WORKING or ways == {"constant"} or name in scope.root.values:
            scope.constants[name] = array
            continue
        scope.root.values[name] = field = f"{name} (array)" if reserved(name) else name
        (source.buffers if ways <= {"buffer", "constant"} else source.parameters)[field] = array


def reserved(name: str) -> bool:
    """Whether a module has an attribute of that name already."""
    return hasattr(Graph, name) or name in ("plan", "parametrizations", "_form")


def steps_of(graph: Any, order: Sequence[int], scope: Scope, source: Source) -> tuple[list[Step], list[Any]]:
    """(steps, outputs) of the nodes of a graph."""
    steps = []
    for i in order:
        proto = graph.node[i]
        where = described(proto, i, len(graph.node))
        captured: dict[str, None] = {}
        block = functools.partial(block_of, around=scope, source=source, captured=captured)
        value = functools.partial(value_of, types=source.types, folder=source.folder, block=block)
        node = node_of(proto, source.opset, source.types, where, value)
        args = []
        for name in proto.input:
            found = scope.find(name) if name else None
            if name and found is None:
                raise CheckpointError(f"{where} takes {name!r}, which nothing in the file gives.")
            args.append(found)
        if proto.op_type == "Constant":
            scope.constants[proto.output[0]] = node()
            continue
        kwargs = {"captured": {name: Value(name) for name in captured}} if any(True for _ in inside(proto)) else {}
        learned = any(isinstance(x, Value) and x in source.parameters for x in args)
        steps.append(Step(node, args, kwargs, tuple(proto.output), where, scopes_of(proto, learned)))
        scope.values.update({name: name for name in proto.output if name})
    outputs = []
    for x in graph.output:
        found = scope.find(x.name)
        if found is None:
            raise CheckpointError(f"the output {x.name!r} is given by nothing in the file.")
        outputs.append(found)
    return steps, outputs


def block_of(graph: Any, around: Scope, source: Source, captured: dict[str, None]) -> Block:
    """A graph inside a node."""
    scope = Scope(around)
    order = ordered(graph)
    hidden = {x.name for x in graph.initializer}
    inputs = [x.name for x in graph.input if x.name not in hidden]
    initialize(graph, scope, source, uses(graph, order))
    scope.values.update({name: name for name in inputs})
    steps, outputs = steps_of(graph, order, scope, source)
    captured.update(scope.captured)
    return Block(Plan(inputs, outputs, steps), list(scope.captured))


def network_of(graph: Any, source: Source) -> Graph:
    """The module of a file's graph."""
    check_text(graph)
    order = ordered(graph)
    check_claimed(graph, order)
    scope = Scope()
    initialize(graph, scope, source, uses(graph, order))
    arrays = {x.name for x in graph.initializer}
    declared = [x for x in graph.input if x.name not in arrays]
    inputs = [x.name for x in declared]
    if len(set(inputs)) != len(inputs) or "" in inputs:
        raise CheckpointError("an input has no name, or two have the same.")
    if not graph.output:
        raise CheckpointError("the graph has no output.")
    scope.values.update({name: name for name in inputs})
    steps, outputs = steps_of(graph, order, scope, source)
    checks = [Step(Input(x, source.types), (Value(x.name),), {}, (x.name,), f"input {x.name!r}") for x in declared]
    result = outputs[0] if len(outputs) == 1 else tuple(outputs)
    sizes = {
        x.name: tuple((0, math.inf) if n is None else (n, n) for n in known)
        for x in declared
        if (known := sizes_of(x)) is not None
    }
    return Graph(inputs, result, [*checks, *steps], source.parameters, source.buffers, sizes)
