"""Entries picked and written by arrays of integers or truth values.

Where a write meets one place more than once PyTorch leaves the winner open; here the mean of what is written counts,
which is the value itself where all are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.interop.aten.promotion import NUMBERS, cast, concrete, is_integral, name_of, promoted
from adjoint.ops.define import plain
from adjoint.transforms import stop_gradient

Entry = Callable[..., Any]
Places = tuple[tuple[int, ...], list[Array]]  # the axes that indices speak of, and one index array for each


def _places(x: Array, indices: Sequence[Any]) -> Places:
    """The indexed axes with their arrays of integers; truth values say where they hold."""
    axes: list[int] = []
    arrays: list[Array] = []
    axis = 0
    for index in indices:
        if index is None:
            axis += 1
        elif name_of(index.dtype) in ("bool", "uint8"):
            for found in np.nonzero(concrete(index, "indexing by truth values")):
                axes.append(axis)
                arrays.append(xp.asarray(plain(x), found))
                axis += 1
        else:
            axes.append(axis)
            arrays.append(checked(plain(index), x.shape[axis], axis))
            axis += 1
    return tuple(axes), arrays


def checked(index: Array, n: int, axis: int) -> Array:
    """The index array; raises IndexError where NumPy's has entries outside the axis."""
    if isinstance(index, np.ndarray) and index.size and not -n <= index.min() <= index.max() < n:
        raise IndexError(f"index: {index.min()} to {index.max()} on axis {axis}, which has {n} entries.")
    return index


def _joined(x: Array, axes: tuple[int, ...], arrays: list[Array]) -> tuple[Array, tuple[int, ...]]:
    """The places in the indexed axes flattened, (n,), and the shape that the index arrays have together."""
    shape = np.broadcast_shapes(*(tuple(a.shape) for a in arrays))
    flat: Any = None
    for axis, index in zip(axes, arrays, strict=True):
        n = x.shape[axis]
        index = xp.broadcast_to(xp.where(xp.less(index, 0), xp.add(index, n), index), shape)
        flat = index if flat is None else xp.add(xp.multiply(flat, n), index)
    return xp.reshape(flat, (-1,)), shape


def _rows(x: Array, axes: tuple[int, ...]) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """x with the indexed axes in front, joined; the other axes' sizes; the order of the axes in between."""
    rest = tuple(a for a in range(len(x.shape)) if a not in axes)
    order, sizes = (*axes, *rest), tuple(x.shape[a] for a in rest)
    front = x if order == tuple(range(len(order))) else xp.permute(x, order)
    return xp.reshape(front, (math.prod(x.shape[a] for a in axes), *sizes)), sizes, order


def _consecutive(axes: tuple[int, ...]) -> bool:
    return axes == tuple(range(axes[0], axes[0] + len(axes)))


def _index(self: Array, indices: Sequence[Any]) -> Array:
    axes, arrays = _places(self, indices)
    if not axes:
        return self
    if len(axes) == 1:
        return xp.take(self, arrays[0], axes[0])
    flat, shape = _joined(self, axes, arrays)
    rows, sizes, _ = _rows(self, axes)
    found = xp.reshape(xp.take(rows, flat, 0), (*shape, *sizes))
    if not _consecutive(axes) or axes[0] == 0:
        return found
    n, first = len(shape), axes[0]
    return xp.permute(found, (*range(n, n + first), *range(n), *range(n + first, len(found.shape))))


def _index_put(self: Array, indices: Sequence[Any], values: Array, accumulate: bool = False) -> Array:
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) == 1 and not values.shape and not accumulate and name_of(indices[given[0]].dtype) == "bool":
        return _put_where(self, given[0], indices[given[0]], cast(values, name_of(self.dtype)))
    axes, arrays = _places(self, indices)
    flat, shape = _joined(self, axes, arrays)
    rows, sizes, order = _rows(self, axes)
    values = cast(values, name_of(self.dtype))
    if _consecutive(axes) and axes[0]:  # the values have the picked axes where the first of them stood
        n, first = len(shape), axes[0]
        full = (*sizes[:first], *shape, *sizes[first:])
        values = xp.permute(
            xp.broadcast_to(values, full), (*range(first, first + n), *range(first), *range(first + n, len(full)))
        )
    values = xp.broadcast_to(values, (*shape, *sizes))
    written = _written(rows, flat, xp.reshape(values, (math.prod(shape), *sizes)), accumulate)
    written = xp.reshape(written, tuple(self.shape[a] for a in order))
    return xp.permute(written, tuple(np.argsort(order).tolist()))


def _put_where(self: Array, axis: int, mask: Array, value: Array) -> Array:
    """self with one value where truth values about the axes from `axis` on hold: how many do not matter."""
    rest = len(self.shape) - axis - len(mask.shape)
    return xp.where(xp.reshape(plain(mask), (*mask.shape, *(1,) * rest)), value, self)


def _written(rows: Array, places: Array, values: Array, accumulate: bool) -> Array:
    """Rows with values written, or added, at places along the first axis."""
    size = rows.shape[0]
    if name_of(rows.dtype) == "bool":
        return cast(_written(cast(rows, "int32"), places, cast(values, "int32"), accumulate), "bool")
    flat = (math.prod(rows.shape[1:]),)
    total = xp.reshape(xp.segment_sum(xp.reshape(values, (values.shape[0], *flat)), places, size), tuple(rows.shape))
    if accumulate:
        return xp.add(rows, total)
    ones = xp.full(plain(values), (values.shape[0], 1), 1, name_of(values.dtype))
    count = xp.reshape(xp.segment_sum(ones, places, size), (size, *(1,) * (len(rows.shape) - 1)))
    return _mean_where(count, total, rows)


def _mean_where(count: Array, total: Array, otherwise: Array) -> Array:
    """total / count where something was written, what was there elsewhere."""
    n = xp.maximum(count, 1)
    mean = plain(total) // plain(n) if is_integral(total) else xp.divide(total, n)
    return xp.where(xp.not_equal(count, 0), mean, otherwise)


def of_vectors(f: Entry) -> Entry:
    """f along an axis, of arrays without axes as of those with one entry."""

    def entry(self: Array, dim: int, *rest: Any, **options: Any) -> Array:
        if self.shape:
            return f(self, dim, *rest, **options)
        vectors = [xp.reshape(x, (1,)) if hasattr(x, "shape") and not x.shape else x for x in rest]
        return xp.reshape(f(xp.reshape(self, (1,)), 0, *vectors, **options), ())

    return entry


def _index_along(dim: int, x: Array, src: Array) -> tuple[Array, Array]:
    """Both with the axis in front."""
    return xp.moveaxis(x, dim, 0), xp.moveaxis(src, dim, 0)


def _index_add(self: Array, dim: int, index: Array, source: Array, alpha: Any = 1) -> Array:
    if alpha != 1:
        source = xp.multiply(source, alpha)
    rows, values = _index_along(dim, self, source)
    return xp.moveaxis(_written(rows, xp.reshape(plain(index), (-1,)), values, True), 0, dim % len(self.shape))


def _index_copy(self: Array, dim: int, index: Array, source: Array) -> Array:
    rows, values = _index_along(dim, self, source)
    return xp.moveaxis(_written(rows, xp.reshape(plain(index), (-1,)), values, False), 0, dim % len(self.shape))


def _index_fill(self: Array, dim: int, index: Array, value: Any) -> Array:
    n = self.shape[dim]
    index = xp.reshape(plain(index), (-1, 1))
    index = xp.where(xp.less(index, 0), xp.add(index, n), index)
    hit = xp.any(xp.equal(index, xp.asarray(index, np.arange(n))), 0)
    hit = xp.reshape(hit, (n, *(1,) * (len(self.shape) - dim % len(self.shape) - 1)))
    return xp.where(hit, value if type(value) in NUMBERS else cast(value, name_of(self.dtype)), self)


def _gather(self: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    if not self.shape:
        return xp.broadcast_to(self, tuple(index.shape))
    if not index.shape:
        return xp.squeeze(_gather(self, 0, xp.reshape(plain(index), (1,))), 0)
    axis = dim % len(self.shape)
    part = tuple(slice(None) if a == axis else slice(0, n) for a, n in enumerate(index.shape))
    whole = all(k == slice(None) or k.stop == n for k, n in zip(part, self.shape, strict=True))
    return xp.take_along(self if whole else xp.getitem(self, part), plain(index), dim)


def _added(self: Array, dim: int, index: Array, src: Array) -> Array:
    """src added into zeros of self's shape; the index may be shorter than either along the other axes."""
    axis, index = dim % len(self.shape), plain(index)
    part = tuple(slice(0, n) for n in index.shape)
    src = src if tuple(src.shape) == tuple(index.shape) else xp.getitem(src, part)
    total = xp.put_along(src, index, axis, self.shape[axis])
    width = [(0, n - m) for n, m in zip(self.shape, total.shape, strict=True)]
    return xp.pad(total, width) if any(b for _, b in width) else total


def _scatter(self: Array, dim: int, index: Array, src: Any, reduce: str | None = None) -> Array:
    if reduce is not None:
        return _scatter_reduce(self, dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])
    if name_of(self.dtype) == "bool":
        src = src if type(src) in NUMBERS else cast(src, "int32")
        return cast(_scatter(cast(self, "int32"), dim, index, src), "bool")
    if type(src) in NUMBERS:
        src = xp.full(plain(self), tuple(index.shape), src)
    ones = xp.full(plain(src), tuple(index.shape), 1)
    return _mean_where(_added(self, dim, index, ones), _added(self, dim, index, src), self)


def _scatter_add(self: Array, dim: int, index: Array, src: Array) -> Array:
    return xp.add(self, _added(self, dim, index, src))


def _scatter_reduce(self: Array, dim: int, index: Array, src: Array, reduce: str, include_self: bool = True) -> Array:
    """The sum or the mean of what is written; the largest, the smallest and the product over all pairs of places."""
    ones = xp.full(plain(src), tuple(index.shape), 1)
    count = _added(self, dim, index, ones)
    if reduce in ("sum", "mean"):
        written = _added(self, dim, index, src)
        kept = self if include_self else xp.where(xp.not_equal(count, 0), 0, self)
        total = xp.add(kept, written)
        n = xp.add(count, 1) if include_self else count
        return total if reduce == "sum" else _mean_where(n, total, self)
    axis = dim % len(self.shape)
    if tuple(src.shape) != tuple(index.shape):
        src = xp.getitem(src, tuple(slice(0, n) for n in index.shape))
    places = np.arange(self.shape[axis]).reshape(-1, *(1,) * (len(self.shape) - axis))
    here = xp.equal(xp.expand_dims(plain(index), axis), xp.asarray(plain(self), places))
    neutral, f = _neutral(reduce, name_of(self.dtype))
    spread = xp.where(here, xp.expand_dims(src, axis), neutral)
    own = self if include_self else xp.where(xp.not_equal(count, 0), neutral, self)
    width = [(0, n - m) for n, m in zip(self.shape, index.shape, strict=True)]
    width[axis] = (0, 0)
    spread = xp.pad(spread, [*width[: axis + 1], (0, 0), *width[axis + 1 :]], neutral)
    return f(xp.concatenate([xp.expand_dims(own, axis + 1), spread], axis + 1), axis + 1)


def _neutral(reduce: str, dtype: str) -> tuple[Any, Entry]:
    """The number that changes no result of a reduction in a dtype, and the reduction."""
    if reduce == "prod":
        return (1 if "int" in dtype else 1.0), xp.prod
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if "int" in dtype else (-math.inf, math.inf)
    return (low, xp.max) if reduce == "amax" else (high, xp.min)


def _masked_scatter(self: Array, mask: Array, source: Array) -> Array:
    shape = np.broadcast_shapes(tuple(self.shape), tuple(mask.shape))
    self, mask = xp.broadcast_to(self, shape), xp.broadcast_to(plain(mask), shape)
    flat = xp.reshape(cast(mask, "int64"), (-1,))
    place = xp.maximum(xp.subtract(xp.cumulative_sum(flat, 0), 1), 0)
    taken = xp.take(xp.reshape(cast(source, name_of(self.dtype)), (-1,)), place, 0)
    return xp.where(mask, xp.reshape(taken, tuple(self.shape)), self)


def _masked_select(self: Array, mask: Array) -> Array:
    shape = np.broadcast_shapes(tuple(self.shape), tuple(mask.shape))
    there = np.flatnonzero(concrete(xp.broadcast_to(plain(mask), shape), "masked_select"))
    return xp.take(xp.reshape(xp.broadcast_to(self, shape), (-1,)), xp.asarray(plain(self), there), 0)


def _nonzero(self: Array) -> Array:
    return xp.asarray(plain(self), np.argwhere(concrete(self, "nonzero")))


def _embedding(
    weight: Array, indices: Array, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Array:
    """Rows of the weight; that of `padding_idx` learns nothing."""
    rows = xp.take(weight, plain(indices), 0)
    if padding_idx < 0:
        return rows
    learns = xp.expand_dims(xp.not_equal(plain(indices), padding_idx), -1)
    return xp.where(learns, rows, stop_gradient(rows))


def _bags(
    weight: Array, indices: Array, offsets: Array, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int = -1,
) -> Any:  # fmt: skip
    """Sums (mode 0) or means (1) of the rows of each bag, of which `offsets` are the first indices."""
    indices, offsets = plain(indices), plain(offsets)
    bags = offsets.shape[0] - int(include_last_offset)
    starts = xp.getitem(offsets, slice(0, bags))
    steps = xp.asarray(indices, np.arange(indices.shape[0])[:, None])
    owner = xp.subtract(xp.sum(cast(xp.less_equal(starts, steps), "int64"), 1), 1)
    rows = xp.take(weight, indices, 0)
    counts = cast(xp.not_equal(indices, padding_idx), name_of(weight.dtype))
    if per_sample_weights is not None:
        rows = xp.multiply(rows, xp.expand_dims(per_sample_weights, -1))
    if padding_idx >= 0:
        rows = xp.multiply(rows, xp.expand_dims(counts, -1))
    if mode == 2:
        here = xp.equal(xp.expand_dims(owner, 0), xp.asarray(indices, np.arange(bags)[:, None]))
        here = xp.logical_and(here, xp.not_equal(counts, 0))
        some = xp.expand_dims(xp.any(here, 1), -1)
        top = xp.max(xp.where(xp.expand_dims(here, -1), xp.expand_dims(rows, 0), -math.inf), 1)
        out = xp.where(some, xp.where(some, top, 0.0), 0.0)
    else:
        out = xp.segment_sum(rows, owner, bags)
    if mode == 1:
        size = xp.segment_sum(xp.expand_dims(counts, -1), owner, bags)
        out = xp.divide(out, xp.maximum(size, 1.0))
    return out, owner, xp.zeros(indices, (bags,)), xp.zeros(indices, (bags,))


def _bucketize(self: Any, boundaries: Array, out_int32: bool = False, right: bool = False) -> Array:
    """How many boundaries lie below an entry (or are equal, where `right`)."""
    x, edges = promoted(xp.expand_dims(self, -1), boundaries)
    below = xp.less_equal(edges, x) if right else xp.less(edges, x)
    return cast(xp.sum(cast(below, "int64"), -1), "int32" if out_int32 else "int64")


INDEXING: dict[str, Entry] = {
    "index": _index,
    "_unsafe_index": _index,
    "index_put": _index_put,
    "_unsafe_index_put": _index_put,
    "index_select": lambda self, dim, index: (
        xp.take(self, xp.reshape(plain(index), (-1,)), dim) if self.shape else self
    ),
    "index_add": of_vectors(_index_add),
    "index_copy": of_vectors(_index_copy),
    "index_fill": of_vectors(_index_fill),
    "gather": _gather,
    "take": lambda self, index: xp.take(xp.reshape(self, (-1,)), plain(index), 0),
    "take_along_dim": lambda self, indices, dim=None: (
        xp.take(xp.reshape(self, (-1,)), plain(indices), 0) if dim is None else xp.take_along(self, plain(indices), dim)
    ),
    "scatter": of_vectors(_scatter),
    "scatter_add": of_vectors(_scatter_add),
    "scatter_reduce": of_vectors(_scatter_reduce),
    "masked_scatter": _masked_scatter,
    "masked_select": _masked_select,
    "nonzero": _nonzero,
    "argwhere": _nonzero,
    "embedding": _embedding,
    "_embedding_bag": _bags,
    "_embedding_bag_forward_only": _bags,
    "bucketize": _bucketize,
    "searchsorted": lambda sorted_sequence, self, out_int32=False, right=False, side=None, sorter=None: _bucketize(
        self, xp.expand_dims(sorted_sequence, -2), out_int32, right or side == "right"
    ),
    "isin": lambda elements, test_elements, assume_unique=False, invert=False: xp.not_equal(
        xp.any(xp.equal(xp.expand_dims(elements, -1), xp.reshape(test_elements, (-1,))), -1), invert
    ),
}
