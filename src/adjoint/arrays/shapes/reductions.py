"""Reductions: the shape without the axes, NumPy's dtype, one FLOP an entry of the operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.arrays.shapes import rules
from adjoint.arrays.shapes.array import made

Dtype = np.dtype[Any]
INT, BOOL = np.dtype(np.int64), np.dtype(np.bool_)


def _accumulator(dtype: Dtype) -> Dtype:
    """NumPy sums integers in 64 bits."""
    return {"b": INT, "i": INT, "u": np.dtype(np.uint64)}.get(dtype.kind, dtype)


def _reduction(name: str, dtype: Callable[[Dtype], Dtype], of_nothing: bool) -> Callable[..., Any]:
    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        shape = rules.reduced(name, x.shape, axis, keepdims, of_nothing)
        return made(name, shape, dtype(x.dtype), x.size, (x,))

    return call


def cumulative_sum(x: Any, axis: int = -1) -> Any:
    """One FLOP an entry."""
    rules.axis_in("cumulative_sum", axis, x.shape)
    return made("cumulative_sum", x.shape, _accumulator(x.dtype), x.size, (x,))


def sort_order(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """As many comparisons as merging takes, n log₂ n along the axis."""
    rules.axis_in("sort_order", axis, x.shape)
    return made("sort_order", x.shape, INT, x.size * max(x.shape[axis] - 1, 0).bit_length(), (x,))


REDUCTIONS = {
    "all": _reduction("all", lambda dtype: BOOL, True),
    "any": _reduction("any", lambda dtype: BOOL, True),
    "argmax": _reduction("argmax", lambda dtype: INT, False),
    "argmin": _reduction("argmin", lambda dtype: INT, False),
    "cumulative_sum": cumulative_sum,
    "max": _reduction("max", lambda dtype: dtype, False),
    "min": _reduction("min", lambda dtype: dtype, False),
    "prod": _reduction("prod", _accumulator, True),
    "sort_order": sort_order,
    "sum": _reduction("sum", _accumulator, True),
}
