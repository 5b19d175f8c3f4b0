"""Layout operations: linear already, so each one's derivative is itself as a map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import is_array, is_complex, is_floating
from adjoint.arrays.traced import Traced
from adjoint.errors import DtypeError, TraceError
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition
from adjoint.maps.elementary import Cast, Diagonal, Identity
from adjoint.maps.layout import Broadcast, DiagonalPart, Flip, Permute, Reshape, Roll, Slice, Take, TakeAlong, placed
from adjoint.maps.spaces import negative_axes
from adjoint.ops.define import constant, highest, operation, plain, record, unwrapped


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape as a plain tuple, whatever the backend."""
    return tuple(x.shape)


reshape = operation(xp.reshape, lambda z, x, shape: Reshape(shape_of(x), shape_of(z)))
permute = operation(xp.permute, lambda z, x, axes: Permute(axes, shape_of(x)))
broadcast_to = operation(xp.broadcast_to, lambda z, x, shape: Broadcast(shape_of(x), shape_of(z)))
flip = operation(xp.flip, lambda z, x, axis=None: Flip(axis, shape_of(x)))
roll = operation(xp.roll, lambda z, x, shift, axis: Roll(shift, axis, shape_of(x)))
tril = operation(xp.tril, lambda z, x, k=0: Diagonal(lambda: xp.tril(xp.ones_like(x), k)))
triu = operation(xp.triu, lambda z, x, k=0: Diagonal(lambda: xp.triu(xp.ones_like(x), k)))
diagonal = operation(xp.diagonal, lambda z, x: DiagonalPart(shape_of(x)))
diagonal_matrix = operation(xp.diagonal_matrix, lambda z, x: DiagonalPart(shape_of(z)).T)
astype = operation(xp.astype, lambda z, x, dtype: Cast(x.dtype, dtype, shape_of(x)))
copy = operation(xp.copy, lambda z, x: Identity(shape_of(x)))


def take_along_rule(z: Any, x: Any, indices: Any, axis: int = -1) -> LinearMap:
    """Gather; x and the indices are broadcast along the other axes first."""
    indices, shape = plain(indices), shape_of(x)
    (at,) = negative_axes(axis, len(shape))
    full = tuple(shape[a] if a == at else z.shape[a] for a in range(-len(shape), 0))
    whole = tuple(indices.shape[a] if a == at else z.shape[a] for a in range(-len(shape), 0))
    if tuple(indices.shape) != whole:
        indices = xp.broadcast_to(indices, whole)
    gather = TakeAlong(indices, axis, full)
    return gather if full == shape else Composition([gather, Broadcast(shape, full)])


take_along = operation(xp.take_along, take_along_rule)


def astype_traced(x: Traced, dtype: Any) -> Any:
    """A cast to another floating dtype is linear; one to integers or truth values is constant."""
    z = xp.astype(x.value, dtype)
    if is_complex(z.dtype):
        raise DtypeError(f"astype: {z.dtype} of a traced value: only real floating numbers have a derivative here.")
    if not is_floating(z.dtype):
        return plain(z)
    return record(x.tape, z, (x,), (Cast(x.dtype, dtype, shape_of(x)),))


xp.astype.table[Traced] = astype_traced  # type: ignore[attr-defined]


def take_rule(z: Any, x: Any, indices: Any, axis: int = 0) -> LinearMap:
    """Gather, its adjoint scatter-add."""
    indices = plain(indices)
    return Take(indices if hasattr(indices, "shape") else np.asarray(indices), axis, shape_of(x))


take = operation(xp.take, take_rule)


def pad_rule(z: Any, x: Any, width: Any, value: float = 0.0) -> LinearMap:
    """The adjoint of cutting the padding off."""
    return Slice(tuple(slice(a, a + n) for (a, _), n in zip(width, shape_of(x), strict=True)), shape_of(z)).T


pad = operation(xp.pad, pad_rule)


def put_rule(z: Any, u: Any, key: Any, shape: Any) -> LinearMap:
    """The adjoint of x[key]."""
    return Slice(key, shape_of(z)).T


put = operation(xp.put, put_rule)
segment_sum = operation(xp.segment_sum, lambda z, u, indices, size: Take(plain(indices), 0, shape_of(z)).T)
put_along = operation(xp.put_along, lambda z, u, indices, axis, size: TakeAlong(plain(indices), axis, shape_of(z)).T)


def getitem_traced(x: Traced, key: Any) -> Any:
    """A basic key cuts a slice, an array of integers takes slices, other arrays gather from the flattened array."""
    if is_array(key) and not isinstance(key, np.integer) and "int" in str(key.dtype):
        return take(x, key, 0)
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, (list, bool, np.bool_)) or (is_array(k) and not isinstance(k, np.integer)) for k in parts):
        key = tuple(as_index(k) for k in parts)
        flat = np.arange(math.prod(x.shape)).reshape(x.shape)[key]
        return take(reshape(x, (-1,)), flat, 0)
    tape, value = x.tape, x.value
    return record(tape, xp.getitem(value, key), (x,), (Slice(key, shape_of(value)),))


def as_index(k: Any) -> Any:
    """An index array as NumPy's, so that it has NumPy's meaning on every backend."""
    if isinstance(k, list):
        return np.asarray(k, None if k else int)
    return np.asarray(plain(k)) if is_array(k) else k


xp.getitem.table[Traced] = getitem_traced  # type: ignore[attr-defined]


def concatenate_traced(arrays: Any, axis: int = 0) -> Any:
    """Every part's map places it among zeros."""
    tape = highest(arrays)
    raw = unwrapped(arrays, tape, len(arrays))
    z = xp.concatenate(raw, axis)
    shapes = [shape_of(x) for x in raw]
    (axis,) = negative_axes(axis, len(shapes[0]))
    full = shape_of(z)
    maps = [Slice(placed(shapes, axis, i), full).T for i in range(len(raw))]
    return record(tape, z, arrays, maps)


xp.concatenate.table[Traced] = concatenate_traced  # type: ignore[attr-defined]


def full_traced(like: Any, shape: Any, value: Any, dtype: Any = None) -> Any:
    """A traced value in every place, in the dtype of `like`; other values are constant."""
    if type(value) is not Traced:
        return xp.full(plain(like), shape, value, dtype)
    return broadcast_to(astype_traced(value, dtype or like.dtype), tuple(shape))


def asarray_traced(like: Any, values: Any, dtype: Any = None) -> Any:
    """Constant, unless the values are traced."""
    if any(type(x) is Traced for x in (values if isinstance(values, (list, tuple)) else (values,))):
        raise TraceError("asarray of traced values would lose their derivative: join them with aj.stack.")
    return xp.asarray(plain(like), values, dtype)


xp.full.table[Traced] = full_traced  # type: ignore[attr-defined]
xp.asarray.table[Traced] = asarray_traced  # type: ignore[attr-defined]

for flat in (xp.zeros, xp.eye):
    constant(flat)
