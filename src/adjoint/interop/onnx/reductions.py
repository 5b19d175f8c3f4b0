"""Reductions over axes, running sums, positions of the largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import is_floating
from adjoint.interop.onnx.operators import Node, integers, operator, position
from adjoint.ops.define import plain
from adjoint.ops.reductions import running_product


def total(x: Any, axes: Any, keep: bool) -> Any:
    """Σ x in the dtype of x."""
    y = xp.sum(x, axes, keep)
    return y if y.dtype == x.dtype else xp.astype(y, x.dtype)


def mean(x: Any, axes: Any, keep: bool) -> Any:
    """The mean, of integers rounded towards zero."""
    if is_floating(x.dtype):
        return xp.mean(x, axes, keep)
    n = math.prod(x.shape[a] for a in axes)
    return xp.astype(xp.astype(xp.sum(x, axes, keep), "float64") / n, x.dtype)


def product(x: Any, axes: Any, keep: bool) -> Any:
    """Π x in the dtype of x."""
    y = xp.prod(x, axes, keep)
    return y if y.dtype == x.dtype else xp.astype(y, x.dtype)


def extreme(function: Callable[..., Any], empty: float, whole: str) -> Callable[..., Any]:
    """The largest or smallest entry, what comes before all where there is none; of truth values any or all."""

    def found(x: Any, axes: Any, keep: bool) -> Any:
        if "bool" in str(x.dtype):
            return (xp.any if whole == "any" else xp.all)(x, axes, keep)
        if math.prod(x.shape) == 0 and math.prod(x.shape[a] for a in axes) == 0:
            shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes]
            return xp.full(plain(x), tuple(shape), empty)
        return function(x, axes, keep)

    return found


def logsumexp(x: Any, axes: Any, keep: bool) -> Any:
    """log Σ eˣ; -∞ where there is nothing to sum."""
    if math.prod(x.shape[a] for a in axes) == 0:
        return xp.log(xp.sum(x, axes, keep))
    return xp.logsumexp(x, axes, keep)


def norm(x: Any, axes: Any, keep: bool) -> Any:
    """√Σ x²."""
    if is_floating(x.dtype):
        return xp.norm(x, axes, keep)
    return xp.astype(xp.norm(xp.astype(x, "float64"), axes, keep), x.dtype)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": total,
    "ReduceMean": mean,
    "ReduceProd": product,
    "ReduceMax": extreme(xp.max, -math.inf, "any"),
    "ReduceMin": extreme(xp.min, math.inf, "all"),
    "ReduceL1": lambda x, axes, keep: total(xp.abs(x), axes, keep),
    "ReduceL2": norm,
    "ReduceLogSum": lambda x, axes, keep: xp.log(xp.sum(x, axes, keep)),
    "ReduceLogSumExp": logsumexp,
    "ReduceSumSquare": lambda x, axes, keep: total(xp.square(x), axes, keep),
}


@operator(*REDUCTIONS, static=(1,))
def reduce(node: Node, x: Any, axes: Any = None) -> Any:
    """A reduction over axes, all where none is named; they are an attribute before versions 13 and 18."""
    named = integers(node.get("axes") if axes is None else axes) or []
    if not named and node.get("noop_with_empty_axes", 0):
        return entry_by_entry(node.op, x)
    over = tuple(sorted({position(a, len(x.shape), node.op) for a in named or range(len(x.shape))}))
    return REDUCTIONS[node.op](x, over, bool(node.get("keepdims", 1)))


def entry_by_entry(op: str, x: Any) -> Any:
    """The reduction over no axes: what it does to one entry."""
    each = {"ReduceL1": xp.abs, "ReduceL2": xp.abs, "ReduceLogSum": xp.log, "ReduceSumSquare": xp.square}
    return each[op](x) if op in each else x


@operator("ArgMax", "ArgMin")
def arg_extreme(node: Node, x: Any) -> Any:
    """The position of the largest or smallest entry along an axis: the first, or the last of equal ones."""
    axis = position(node.get("axis", 0), len(x.shape), node.op)
    function = xp.argmax if node.op == "ArgMax" else xp.argmin
    x = plain(x)
    last = node.get("select_last_index", 0)
    found = function(xp.flip(x, axis) if last else x, axis)
    found = (int(x.shape[axis]) - 1) - found if last else found
    return xp.expand_dims(found, axis) if node.get("keepdims", 1) else found


@operator("CumSum", "CumProd", static=(1,))
def cumulate(node: Node, x: Any, axis: Any) -> Any:
    """Running sums or products along an axis, with or without each entry itself, from either end."""
    along = position(int(np.reshape(axis, ())), len(x.shape), node.op)
    back, exclusive = node.get("reverse", 0), node.get("exclusive", 0)
    dtype = x.dtype
    x = xp.flip(x, along) if back else x
    if node.op == "CumSum":
        y = xp.cumulative_sum(x, along)
        y = y - x if exclusive else y
    else:
        moved = xp.moveaxis(x, along, -1)
        before = running_product(moved, int(moved.shape[-1]))
        y = xp.moveaxis(before if exclusive else before * moved, -1, along)
    y = xp.flip(y, along) if back else y
    return y if y.dtype == dtype else xp.astype(y, dtype)
