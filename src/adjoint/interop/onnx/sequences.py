"""Sequences of arrays: Python's lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, operator, position, together


@operator("SequenceConstruct")
def construct(node: Node, *xs: Any) -> Any:
    """The arrays in their order."""
    return list(xs)


@operator("SequenceEmpty")
def empty(node: Node) -> Any:
    """Nothing."""
    return []


@operator("SequenceInsert", static=(2,))
def insert(node: Node, sequence: Any, x: Any, place: Any = None) -> Any:
    """The sequence with x at a place, at the end unless given."""
    at = len(sequence) if place is None else int(np.reshape(place, ()))
    if not -len(sequence) <= at <= len(sequence):
        raise IndexError(f"SequenceInsert: place {at} of a sequence of {len(sequence)}.")
    return [*sequence[:at], x, *sequence[at:]]


@operator("SequenceErase", static=(1,))
def erase(node: Node, sequence: Any, place: Any = None) -> Any:
    """The sequence without the array at a place, without the last unless given."""
    rest = list(sequence)
    del rest[-1 if place is None else int(np.reshape(place, ()))]
    return rest


@operator("SequenceAt", static=(1,))
def at(node: Node, sequence: Any, place: Any) -> Any:
    """The array at a place."""
    return sequence[int(np.reshape(place, ()))]


@operator("SequenceLength")
def length(node: Node, sequence: Any) -> Any:
    """How many arrays there are."""
    return np.array(len(sequence), np.int64)


@operator("ConcatFromSequence")
def joined(node: Node, sequence: Any) -> Any:
    """The arrays along an axis, a new one where the node says so."""
    arrays = list(together(*sequence))
    return (xp.stack if node.get("new_axis", 0) else xp.concatenate)(arrays, node.get("axis"))


@operator("SplitToSequence", static=(1,))
def cut(node: Node, x: Any, sizes: Any = None) -> Any:
    """x cut along an axis into parts of the sizes given, or of one size, or of 1."""
    axis = position(node.get("axis", 0), len(x.shape), node.op)
    n = int(x.shape[axis])
    each = 1 if sizes is None else int(sizes) if np.ndim(sizes) == 0 else 0
    parts = [int(k) for k in sizes] if not each else [min(each, n - i) for i in range(0, n, each)]
    ends = np.cumsum(parts).tolist()
    lead = (slice(None),) * axis
    found = [xp.getitem(x, (*lead, slice(end - k, end))) for end, k in zip(ends, parts, strict=True)]
    keep = sizes is not None or node.get("keepdims", 1)
    return found if keep else [xp.squeeze(part, axis) for part in found]


@operator("Optional", "OptionalGetElement")
def optional(node: Node, x: Any = None) -> Any:
    """x, which may be nothing; it must be something where the element is taken."""
    if x is None and node.op == "OptionalGetElement":
        raise ValueError("OptionalGetElement: there is no element.")
    return x


@operator("OptionalHasElement")
def has_element(node: Node, x: Any = None) -> Any:
    """Whether there is something."""
    return np.array(x is not None)
