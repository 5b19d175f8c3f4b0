"""The graphs of a file: which nodes the outputs need and in which order, what they take, what is not claimed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from adjoint.errors import CheckpointError
from adjoint.interop.onnx.operators import OPERATORS

GRAPH, GRAPHS = 5, 10


def inside(node: Any) -> Iterable[Any]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        if attribute.type == GRAPH:
            yield attribute.g
        elif attribute.type == GRAPHS:
            yield from attribute.graphs


def check_text(graph: Any) -> None:
    """Raise where a name is not text: protobuf hands it out as bytes then."""
    names = [x.name for part in (graph.input, graph.output, graph.initializer) for x in part]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output, *[a.name for a in node.attribute]]
        for inner in inside(node):
            check_text(inner)
    for name in names:
        if not isinstance(name, str):
            raise CheckpointError(f"the name {name!r} is not text in UTF-8: the file is damaged.")


def free_names(node: Any) -> set[str]:
    """The names that a node takes, those that graphs inside it take from outside too."""
    names = {name for name in node.input if name}
    for graph in inside(node):
        own = {x.name for x in graph.input} | {x.name for x in graph.initializer}
        own |= {name for n in graph.node for name in n.output}
        taken = {name for n in graph.node for name in free_names(n)} | {x.name for x in graph.output}
        names |= taken - own
    return names


def described(node: Any, place: int, count: int) -> str:
    """An operator's name and where it stands."""
    named = f" {node.name!r}" if node.name else ""
    return f"{node.op_type}{named} (node {place + 1} of {count})"


def makers(graph: Any) -> dict[str, int]:
    """The node that gives each name; raises where a name is given twice."""
    count = len(graph.node)
    given = {x.name for x in graph.input} | {x.name for x in graph.initializer}
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in node.output:
            if not name:
                continue
            if name in maker or name in given:
                first = maker.get(name)
                other = "an input or an array" if first is None else described(graph.node[first], first, count)
                raise CheckpointError(f"the name {name!r} is given twice, by {described(node, i, count)} and {other}.")
            maker[name] = i
    return maker


def ordered(graph: Any) -> list[int]:
    """The nodes that the outputs need, each after those it takes from; raises for nodes in a circle."""
    maker = makers(graph)
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
        shown = ", ".join(described(graph.node[i], i, len(graph.node)) for i in rest[:4])
        raise CheckpointError(f"nodes take from each other in a circle: {shown}{' …' if len(rest) > 4 else ''}.")
    return order


def unclaimed(graph: Any, order: Sequence[int]) -> Iterable[tuple[str, str]]:
    """(operator, its place) of the nodes, and of all inside them, whose operator is not claimed."""
    for i in order:
        node = graph.node[i]
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
            yield domain + node.op_type, described(node, i, len(graph.node))
        for inner in inside(node):
            yield from unclaimed(inner, range(len(inner.node)))


def check_claimed(graph: Any, order: Sequence[int]) -> None:
    """Raise where operators are not claimed: all of them, where each first stands, and those that are."""
    missing: dict[str, str] = {}
    for op, where in unclaimed(graph, order):
        missing.setdefault(op, where)
    if missing:
        shown = "; ".join(f"{op} at {where}" for op, where in missing.items())
        raise CheckpointError(f"operators that are not known here: {shown}. Known are {', '.join(sorted(OPERATORS))}.")


def uses(graph: Any, order: Sequence[int], found: dict[str, set[str]] | None = None) -> dict[str, set[str]]:
    """For every name in which ways nodes, and those inside them, take it: "constant", "buffer" or "value"."""
    found = {} if found is None else found
    for node in (graph.node[i] for i in order):
        operator = OPERATORS.get(node.op_type)
        for i, name in enumerate(node.input):
            way = "value"
            if operator is not None and i in (*operator.static, *operator.fixed):
                way = "constant"
            elif operator is not None and i in operator.buffers:
                way = "buffer"
            found.setdefault(name, set()).add(way)
        for inner in inside(node):
            uses(inner, range(len(inner.node)), found)
    for x in graph.output:
        found.setdefault(x.name, set()).add("value")
    return found
