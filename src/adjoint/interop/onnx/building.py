"""A graph of a file as steps: names resolved, nodes in order, attributes as plain values."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError, DtypeError, ShapeError
from adjoint.interop.graph import Graph, Plan, Step, Value
from adjoint.interop.onnx.control import Block
from adjoint.interop.onnx.operators import OPERATORS, Node
from adjoint.interop.onnx.tensors import array_of
from adjoint.interop.onnx.types import WORKING, Types

GRAPH, GRAPHS = 5, 10


class Source:
    """What all graphs of a file share: its name, folder and dtypes, the versions of its operators, its arrays."""

    def __init__(self, name: str, folder: str | None, types: Types, versions: Mapping[str, int]) -> None:
        self.name, self.folder, self.types, self.versions = name, folder, types, versions
        self.parameters: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}

    def wrong(self, what: str) -> CheckpointError:
        """An error that names the file."""
        return CheckpointError(f"{self.name}: {what}")


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


def free_names(node: Any) -> set[str]:
    """The names that a node takes, those that graphs inside it take from outside too."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.type == GRAPH else attribute.graphs:
            inner = {x.name for x in graph.input} | {x.name for x in graph.initializer}
            inner |= {name for n in graph.node for name in n.output}
            taken = {name for n in graph.node for name in free_names(n)} | {x.name for x in graph.output}
            names |= taken - inner
    return names


def described(node: Any, place: int, count: int) -> str:
    """An operator's name and where it stands."""
    named = f" {node.name!r}" if node.name else ""
    return f"{node.op_type}{named} (node {place + 1} of {count})"


def ordered(graph: Any, given: set[str], source: Source) -> list[int]:
    """The nodes that the outputs need, each after those it takes from; raises for names given twice and for circles."""
    count = len(graph.node)
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in node.output:
            if not name:
                continue
            if name in maker or name in given:
                other = (
                    "an input or initializer"
                    if name in given
                    else described(graph.node[maker[name]], maker[name], count)
                )
                raise source.wrong(f"the name {name!r} is given twice: by {described(node, i, count)} and by {other}.")
            maker[name] = i
    takes = [{maker[name] for name in free_names(node) if name in maker} for node in graph.node]
    needed: set[int] = set()
    stack = [maker[x.name] for x in graph.output if x.name in maker]
    while stack:
        i = stack.pop()
        if i not in needed:
            needed.add(i)
            stack += takes[i]
    waiting = {i: len(takes[i]) for i in needed}
    users: dict[int, list[int]] = {}
    for i in needed:
        for j in takes[i]:
            users.setdefault(j, []).append(i)
    ready = [i for i in needed if not waiting[i]]
    heapq.heapify(ready)
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in users.get(i, ()):
            waiting[j] -= 1
            if not waiting[j]:
                heapq.heappush(ready, j)
    if len(order) < len(needed):
        rest = sorted(needed - set(order))
        shown = ", ".join(described(graph.node[i], i, count) for i in rest[:4])
        raise source.wrong(f"nodes take from each other in a circle: {shown}{' …' if len(rest) > 4 else ''}.")
    return order


def unclaimed(graph: Any) -> Iterable[tuple[str, str]]:
    """(operator, its place) of all nodes whose operator is not claimed, inside nodes too."""
    for i, node in enumerate(graph.node):
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
            yield domain + node.op_type, described(node, i, len(graph.node))
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == GRAPH else attribute.graphs:
                yield from unclaimed(inner)


def check_claimed(graph: Any, source: Source) -> None:
    """Raise where operators are not claimed: all of them, where each first stands, and those that are."""
    missing: dict[str, str] = {}
    for op, where in unclaimed(graph):
        missing.setdefault(op, where)
    if missing:
        shown = "; ".join(f"{op} at {where}" for op, where in missing.items())
        raise source.wrong(f"operators that are not known here: {shown}. Known are {', '.join(sorted(OPERATORS))}.")


def uses(graph: Any, found: dict[str, set[str]]) -> dict[str, set[str]]:
    """For every name in which ways nodes take it: "constant", "buffer" or "value"."""
    for node in graph.node:
        operator = OPERATORS.get(node.op_type)
        for i, name in enumerate(node.input):
            way = "value"
            if operator is not None and i in (*operator.static, *operator.fixed):
                way = "constant"
            elif operator is not None and i in operator.buffers:
                way = "buffer"
            found.setdefault(name, set()).add(way)
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == GRAPH else attribute.graphs:
                uses(inner, found)
    for x in graph.output:
        found.setdefault(x.name, set()).add("value")
    return found


def initialize(graph: Any, scope: Scope, source: Source, needed: dict[str, set[str]]) -> None:
    """The graph's arrays: floating ones are parameters or buffers, the others constants."""
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise source.wrong(f"the sparse initializer {name!r} is not known here: save the model with dense ones.")
    declared = {x.name: x for x in graph.input}
    seen: set[str] = set()
    for tensor in graph.initializer:
        name = tensor.name
        if not name or name in seen:
            raise source.wrong(f"the initializer {name!r} {'stands in the file twice' if name else 'has no name'}.")
        seen.add(name)
        if name not in needed:
            continue
        try:
            array = array_of(tensor, source.types, source.folder, "initializer")
        except CheckpointError as error:
            raise source.wrong(str(error)) from error
        if name in declared:
            fits(declared[name], array, source)
        ways = needed[name]
        if array.dtype.name not in WORKING or ways == {"constant"} or name in scope.root.values:
            scope.constants[name] = array
            continue
        scope.root.values[name] = field = f"{name} (array)" if reserved(name) else name
        (source.buffers if ways <= {"buffer", "constant"} else source.parameters)[field] = array


def reserved(name: str) -> bool:
    """Whether a module has an attribute of that name already."""
    return hasattr(Graph, name) or name in ("plan", "parametrizations", "_form")


def sizes_of(declared: Any) -> tuple[int | None, ...] | None:
    """The sizes that an input declares, None for those that it leaves open; None where it declares no shape."""
    kind = declared.type.tensor_type
    if declared.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
        return None
    return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim)


def fits(declared: Any, array: np.ndarray, source: Source) -> None:
    """Raise where an initializer has not the shape that is declared for it."""
    sizes = sizes_of(declared)
    if sizes is not None and not matches(tuple(array.shape), sizes):
        raise source.wrong(f"the initializer {declared.name!r} has shape {array.shape}, declared is {sizes}.")


def matches(shape: tuple[int, ...], sizes: tuple[int | None, ...]) -> bool:
    """Whether a shape is the declared one."""
    return len(shape) == len(sizes) and all(m is None or n == m for n, m in zip(shape, sizes, strict=True))


class Input:
    """What an input declares: it is held against what is given."""

    __slots__ = ("floating", "name", "sizes")

    def __init__(self, declared: Any, source: Source) -> None:
        self.name = declared.name
        self.sizes = sizes_of(declared)
        kind = declared.type.tensor_type
        self.floating: bool | None = None
        if declared.type.WhichOneof("value") == "tensor_type" and kind.elem_type:
            try:
                dtype = source.types.dtype(kind.elem_type)
            except CheckpointError as error:
                raise source.wrong(f"the input {self.name!r}: {error}") from None
            self.floating = True if dtype.name in WORKING else False if dtype.kind in "iub" else None

    def __call__(self, x: Any) -> Any:
        """x, if it has the declared shape and is floating where that is declared."""
        if x is None or (isinstance(x, (list, tuple)) and self.sizes is None):
            return x
        x = np.asarray(x) if isinstance(x, (bool, int, float, list, tuple)) else x
        shape = tuple(x.shape)
        if self.sizes is not None and not matches(shape, self.sizes):
            shown = ", ".join("…" if n is None else str(n) for n in self.sizes)
            raise ShapeError(f"the input {self.name!r} is ({shown}), got {shape}.")
        if self.floating is not None and self.floating != ("float" in str(x.dtype)):
            kind = "floating numbers" if self.floating else "integers or truth values"
            raise DtypeError(f"the input {self.name!r} is {kind}, got {x.dtype}: cast it with aj.astype.")
        return x


def steps_of(graph: Any, scope: Scope, source: Source, inputs: Sequence[str]) -> tuple[list[Step], list[Any]]:
    """(steps, outputs) of a graph whose inputs have these names."""
    given = set(inputs) | {x.name for x in graph.initializer}
    scope.values.update({name: name for name in inputs})
    steps = []
    count = len(graph.node)
    for i in ordered(graph, given, source):
        proto = graph.node[i]
        where = described(proto, i, count)
        node, inner = node_of(proto, scope, source, where)
        args = []
        for name in proto.input:
            found = scope.find(name) if name else None
            if name and found is None:
                raise source.wrong(f"{where} takes {name!r}, which nothing in the file gives.")
            args.append(found)
        if proto.op_type == "Constant":
            scope.constants[proto.output[0]] = node()
            continue
        kwargs = {"captured": {name: Value(name) for name in inner}} if has_graphs(proto) else {}
        steps.append(Step(node, args, kwargs, tuple(proto.output), where))
        scope.values.update({name: name for name in proto.output if name})
    outputs = []
    for x in graph.output:
        found = scope.find(x.name)
        if found is None:
            raise source.wrong(f"the output {x.name!r} is given by nothing in the file.")
        outputs.append(found)
    return steps, outputs


def has_graphs(proto: Any) -> bool:
    """Whether a node has graphs inside."""
    return any(a.type in (GRAPH, GRAPHS) for a in proto.attribute)


def node_of(proto: Any, scope: Scope, source: Source, where: str) -> tuple[Node, list[str]]:
    """A node, held against its operator's definition, and the names that graphs inside it capture."""
    from onnx import defs

    opset = source.versions[""]
    try:
        schema = defs.get_schema(proto.op_type, opset, "")
    except defs.SchemaError:
        raise source.wrong(f"{where}: version {opset} of ONNX's operators has no {proto.op_type}.") from None
    if schema.deprecated:
        raise source.wrong(f"{where}: {proto.op_type} is no longer an operator in version {opset}.")
    many = len(proto.input)
    if not schema.min_input <= many <= schema.max_input:
        raise source.wrong(f"{where} takes {schema.min_input} to {schema.max_input} values, not {many}.")
    if not max(schema.min_output, 1) <= len(proto.output) <= schema.max_output or not any(proto.output):
        raise source.wrong(f"{where} gives {schema.min_output} to {schema.max_output} values, not {len(proto.output)}.")
    for i, name in enumerate(proto.input):
        if (
            not name
            and i < len(schema.inputs)
            and schema.inputs[i].option == defs.OpSchema.FormalParameterOption.Single
        ):
            raise source.wrong(f"{where}: its input {schema.inputs[i].name!r} is left out, and is needed.")
    attributes: dict[str, Any] = {}
    captured: dict[str, None] = {}
    for attribute in proto.attribute:
        known: Any = schema.attributes.get(attribute.name)
        if known is None or attribute.name in attributes:
            raise source.wrong(
                f"{where}: the attribute {attribute.name!r} is not one of {proto.op_type}, or given twice."
            )
        if int(known.type) != int(attribute.type):
            raise source.wrong(f"{where}: the attribute {attribute.name!r} is not of the type that it has there.")
        attributes[attribute.name] = value_of(attribute, scope, source, where, captured)
    if lacking := [n for n, a in schema.attributes.items() if a.required and n not in attributes]:
        raise source.wrong(f"{where}: the attribute {lacking[0]!r} is missing.")
    if proto.op_type == "Constant":
        attributes = {"value": constant_value(attributes, source, where)}
    return Node(proto.op_type, attributes, opset, source.types, len(proto.output), alike(schema, proto)), list(captured)


def alike(schema: Any, proto: Any) -> list[list[int]]:
    """For every output the positions of the inputs that have its type."""
    inputs, outputs = [x.type_str for x in schema.inputs], [x.type_str for x in schema.outputs]
    taken = [inputs[min(i, len(inputs) - 1)] for i in range(len(proto.input))]
    given = [outputs[min(i, len(outputs) - 1)] for i in range(len(proto.output))]
    return [[i for i, kind in enumerate(taken) if kind == wanted] for wanted in given]


def value_of(attribute: Any, scope: Scope, source: Source, where: str, captured: dict[str, None]) -> Any:
    """An attribute as a plain value: numbers, text, lists of them, an array, or a graph."""
    if attribute.ref_attr_name:
        raise source.wrong(f"{where}: the attribute {attribute.name!r} stands for a function's, and this is none.")
    match attribute.type:
        case 1:
            return float(attribute.f)
        case 2:
            return int(attribute.i)
        case 3:
            return attribute.s.decode("utf-8")
        case 4:
            try:
                return array_of(attribute.t, source.types, source.folder, f"{where}: the tensor {attribute.name!r}")
            except CheckpointError as error:
                raise source.wrong(str(error)) from error
        case 5:
            return block_of(attribute.g, scope, source, captured)
        case 6:
            return [float(x) for x in attribute.floats]
        case 7:
            return [int(x) for x in attribute.ints]
        case 8:
            return [x.decode("utf-8") for x in attribute.strings]
    if attribute.name == "type" or attribute.type == 13:
        return None  # a type, which nothing here needs
    raise source.wrong(f"{where}: the attribute {attribute.name!r} is of a kind that is not known here.")


def block_of(graph: Any, around: Scope, source: Source, captured: dict[str, None]) -> Block:
    """A graph inside a node."""
    scope = Scope(around)
    hidden = {x.name for x in graph.initializer}
    inputs = [x.name for x in graph.input if x.name not in hidden]
    initialize(graph, scope, source, uses(graph, {}))
    steps, outputs = steps_of(graph, scope, source, inputs)
    captured.update(scope.captured)
    return Block(Plan(inputs, outputs, steps), list(scope.captured))


def constant_value(attributes: Mapping[str, Any], source: Source, where: str) -> np.ndarray:
    """The array of a Constant, however it is spelled."""
    if len(attributes) != 1:
        raise source.wrong(f"{where} has {len(attributes)} values, not one.")
    ((name, value),) = attributes.items()
    if name == "value":
        return np.asarray(value)
    if name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    if name in ("value_float", "value_floats"):
        return np.array(value, source.types.dtype(1))
    raise source.wrong(f"{where}: a constant of {name.removeprefix('value_')} is not known here.")
