"""Layout and indexing: views where NumPy has views, copies that count their bytes, FLOPs only where entries add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Shape
from adjoint.arrays.shapes import layout_rules, rules
from adjoint.arrays.shapes.array import (
    ShapeArray,
    as_dtype,
    bare,
    like,
    made,
    operand,
    row_major,
    shape_of,
    viewed,
)
from adjoint.arrays.shapes.elementwise import BOOL, promoted

# Views


def reshape(x: Any, shape: Any) -> Any:
    """A view where NumPy finds one, else a copy."""
    new = layout_rules.reshape(x.shape, shape)
    if x.strides is None:
        return bare(new, x.dtype, None, x.memory)
    try:
        return viewed(x, lambda v: v.reshape(new, copy=False))
    except ValueError:
        return made("reshape", new, x.dtype, 0, (x,))


def permute(x: Any, axes: Any) -> Any:
    """A view."""
    order = layout_rules.permute(x.shape, axes)
    strides = x.strides or row_major(x.shape)
    return bare(tuple([x.shape[a] for a in order]), x.dtype, tuple([strides[a] for a in order]), x.memory)


def broadcast_to(x: Any, shape: Any) -> Any:
    """A view."""
    x, target = operand(x), tuple(shape)
    rules.broadcast_to(x.shape, target)
    return viewed(x, lambda v: np.broadcast_to(v, target))


def flip(x: Any, axis: Any = None) -> Any:
    """A view."""
    axes = rules.axes_in("flip", axis, x.shape)
    return viewed(x, lambda v: np.flip(v, axes))


def diagonal(x: Any) -> Any:
    """A view."""
    layout_rules.matrices("diagonal", x.shape)
    return viewed(x, lambda v: np.diagonal(v, axis1=-2, axis2=-1))


# Indexing


def getitem(x: Any, key: Any) -> Any:
    """A view for integers, slices, None and Ellipsis; a copy of what is picked for masks and index arrays."""
    x, parts = operand(x), key if isinstance(key, tuple) else (key,)
    try:
        if all(_is_basic(part) for part in parts):
            full = parts if any(part is ... for part in parts) else (*parts, ...)
            return viewed(x, lambda v: v[full])
        shape = _picked(x.shape, parts)
    except IndexError as error:
        raise layout_rules.bad_key(x.shape, parts, error) from None
    return made("getitem", shape, x.dtype, 0, (bare(shape, x.dtype), *parts))


def _is_basic(part: Any) -> bool:
    return part is None or part is ... or (isinstance(part, (int, slice, np.integer)) and not isinstance(part, bool))


def _picked(shape: Shape, parts: tuple[Any, ...]) -> Shape:
    """The shape of x[parts], from NumPy itself on entries of zero bytes."""
    known = [_index(part) for part in parts]
    picked: Shape = np.empty(shape, "V0")[tuple(known)].shape
    for part in parts:
        if type(part) is ShapeArray and part.dtype == BOOL:
            part.item()  # how many entries a mask picks is a matter of its values
    return picked


def _index(part: Any) -> Any:
    """Indices that have no values count as zeros."""
    if isinstance(part, np.ndarray) or not hasattr(part, "dtype"):
        return part
    part = operand(part)
    return np.broadcast_to(np.zeros((), part.dtype), part.shape)


def put(u: Any, key: Any, shape: Any) -> Any:
    """A copy."""
    target, parts = tuple(shape), key if isinstance(key, tuple) else (key,)
    try:
        rules.broadcast_to(u.shape, _picked(target, parts))
    except IndexError as error:
        raise layout_rules.bad_key(target, parts, error) from None
    return made("put", target, u.dtype, 0, (u,))


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    """A copy of what is picked."""
    return taken("take", operand(x), indices, axis)


def taken(name: str, x: Any, indices: Any, axis: int) -> Any:
    """`take` for a function of another name."""
    a = rules.axis_in(name, axis, x.shape)
    if isinstance(indices, int):
        layout_rules.index_in(name, indices, x.shape, a)
        indices = np.asarray(indices)
    at = operand(indices)
    layout_rules.integers(name, at.dtype)
    shape = (*x.shape[:a], *at.shape, *x.shape[a + 1 :])
    return made(name, shape, x.dtype, 0, (bare(shape, x.dtype), at))


def take_along(x: Any, indices: Any, axis: int = -1) -> Any:
    """A copy of what is picked."""
    x, at = operand(x), operand(indices)
    layout_rules.integers("take_along", at.dtype)
    shape = layout_rules.along("take_along", x.shape, at.shape, axis)
    return made("take_along", shape, x.dtype, 0, (bare(shape, x.dtype), at))


def put_along(u: Any, indices: Any, axis: int, size: int) -> Any:
    """One FLOP an entry added."""
    u, at = operand(u), operand(indices)
    layout_rules.integers("put_along", at.dtype)
    a = rules.axis_in("put_along", axis, u.shape)
    rules.broadcast("put_along", u.shape, at.shape)
    return made("put_along", (*u.shape[:a], size, *u.shape[a + 1 :]), u.dtype, u.size, (u, at))


def segment_sum(u: Any, indices: Any, size: int) -> Any:
    """One FLOP an entry added."""
    u, at = operand(u), operand(indices)
    layout_rules.integers("segment_sum", at.dtype)
    layout_rules.segment_sum(u.shape, at.shape)
    return made("segment_sum", (size, *u.shape[1:]), u.dtype, u.size, (u, at))


# Copies


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """A copy."""
    known = [operand(x) for x in arrays]
    shape = layout_rules.concatenate([shape_of(x) for x in known], axis)
    return made("concatenate", shape, promoted(*known), 0, known)


def pad(x: Any, width: Any, value: float = 0.0) -> Any:
    """A copy."""
    return made("pad", layout_rules.pad(x.shape, width), x.dtype, 0, (x,))


def roll(x: Any, shift: int, axis: int) -> Any:
    """A copy."""
    rules.axis_in("roll", axis, x.shape)
    return made("roll", x.shape, x.dtype, 0, (x,))


def tril(x: Any, k: int = 0) -> Any:
    """A copy."""
    layout_rules.matrices("tril", x.shape)
    return made("tril", x.shape, x.dtype, 0, (x,))


def triu(x: Any, k: int = 0) -> Any:
    """A copy."""
    layout_rules.matrices("triu", x.shape)
    return made("triu", x.shape, x.dtype, 0, (x,))


def diagonal_matrix(x: Any) -> Any:
    """A copy."""
    rules.axis_in("diagonal_matrix", -1, x.shape)
    return made("diagonal_matrix", (*x.shape, x.shape[-1]), x.dtype, 0, (x,))


def astype(x: Any, dtype: Any) -> Any:
    """A copy, x itself where it has the dtype."""
    new = as_dtype(dtype)
    return x if new == x.dtype else made("astype", x.shape, new, 0, (x,))


def copy(x: Any) -> Any:
    """A copy."""
    return made("copy", x.shape, x.dtype, 0, (x,))


# New arrays, and what the seam asks of every backend


def zeros(like: Any, shape: Any, dtype: Any = None) -> Any:
    """New memory."""
    return made("zeros", tuple(shape), as_dtype(dtype or dtype_of(like)), 0, ())


def full(like: Any, shape: Any, value: float, dtype: Any = None) -> Any:
    """New memory."""
    return made("full", tuple(shape), as_dtype(dtype or dtype_of(like)), 0, ())


def eye(like: Any, n: int, dtype: Any = None) -> Any:
    """New memory."""
    return made("eye", (n, n), as_dtype(dtype or dtype_of(like)), 0, ())


def asarray(like: Any, values: Any, dtype: Any = None) -> Any:
    """New memory; shape-only values as they are."""
    if type(values) is ShapeArray:
        return values if dtype is None else astype(values, dtype)
    known = operand(values if hasattr(values, "dtype") else np.asarray(values))
    return made("asarray", known.shape, as_dtype(dtype or known.dtype), 0, ())


def dtype_of(x: Any) -> np.dtype[Any]:
    """x's dtype."""
    return operand(x if hasattr(x, "dtype") else np.asarray(x)).dtype


def from_numpy(x: Any, device: Any = None) -> Any:
    """x's shape and dtype."""
    return like(x)


def to_numpy(x: Any) -> Any:
    """Not here: there are no values."""
    return np.asarray(x)


def hold(x: Any) -> None:
    """Nothing to guard: there are no values."""


def verify(x: Any, mark: Any) -> None:
    """Nothing to change: there are no values."""


def release(x: Any, mark: Any) -> None:
    """Nothing was guarded."""
