"""Pooling and resampling of NumPy's arrays: kernels where arrays repay them, else the plain compositions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays import pooling, resampling
from adjoint.arrays.pooling_windows import flat_entries

COMPILED = 1 << 13  # entries from which the Numba kernels repay their loading
SHARED = 1 << 19  # entries from which threads repay their start


def _repays(x: Any, entries: int) -> bool:
    return x.dtype.char in "fd" and x.size > 0 and entries >= COMPILED


def _run(name: str, images: int, entries: int, *operands: Any) -> bool:
    """A kernel on all images, shared among threads where they are large; whether no part of it failed."""
    from adjoint.arrays.numpy import pooling_kernels

    kernel = getattr(pooling_kernels, name)
    if entries < SHARED:
        return kernel(*operands, 0, images) is not False
    from adjoint.arrays.numpy.threads import shared

    return False not in shared(functools.partial(kernel, *operands), images)


def max_pool(x: Any, windows: Sequence[Any]) -> Any:
    """By a kernel that finds entries and positions in one pass."""
    entries = flat_entries(tuple(windows))
    lead, out = x.shape[: -len(windows)], tuple([w.count for w in windows])
    if not (_repays(x, x.size) and entries.size and entries.dtype == np.int32):
        return pooling.max_pool.table.composed(x, windows)  # type: ignore[attr-defined]
    y, found = np.empty((*lead, *out), x.dtype), np.empty((*lead, *out), np.int32)
    four = [(w.kernel, w.stride, w.padding, w.dilation, w.ceil_mode) for w in windows] == [(2, 2, 0, 1, False)] * 2
    seen = x.shape[-2:] if four else (math.prod([w.size for w in windows]),)
    made = out if four else (len(entries),)
    images = math.prod(lead)
    x, values, places = np.ascontiguousarray(x).reshape(-1, *seen), y.reshape(-1, *made), found.reshape(-1, *made)
    _run("largest_of_four" if four else "largest", images, x.size, x, entries, values, places)
    return y, found


def pick(x: Any, indices: Any, ndim: int) -> Any:
    """By a kernel that walks through the images."""
    indices = np.asarray(indices)
    lead, size, count = x.shape[:-ndim], math.prod(x.shape[-ndim:]), math.prod(indices.shape[-ndim:])
    if not (_repays(x, math.prod(lead) * count) and indices.flags.c_contiguous):
        return pooling.pick.table.composed(x, _inside(indices, x.shape[-ndim:]), ndim)  # type: ignore[attr-defined]
    y = np.empty((*lead, *indices.shape[-ndim:]), x.dtype)
    operands = np.ascontiguousarray(x).reshape(-1, size), indices.reshape(-1, count), y.reshape(-1, count)
    if not _run("pick", math.prod(lead), y.size, *operands):
        _inside(indices, x.shape[-ndim:])
    return y


def place(u: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    """By a kernel that walks through the images."""
    indices, ndim = np.asarray(indices), len(shape)
    lead, size, count = u.shape[:-ndim], math.prod(shape), math.prod(u.shape[-ndim:])
    if not (_repays(u, math.prod(lead) * size) and indices.flags.c_contiguous):
        return pooling.place.table.composed(u, _inside(indices, shape), shape)  # type: ignore[attr-defined]
    x = np.empty((*lead, *shape), u.dtype)
    operands = np.ascontiguousarray(u).reshape(-1, count), indices.reshape(-1, count), x.reshape(-1, size)
    if not _run("place", math.prod(lead), x.size, *operands):
        _inside(indices, shape)
    return x


def _inside(indices: Any, shape: tuple[int, ...]) -> Any:
    """The indices, none of which is outside; NumPy would count negative ones from the end."""
    if indices.size and not 0 <= indices.min() <= indices.max() < math.prod(shape):
        raise IndexError(
            f"max_unpool: positions in {tuple(shape)} are 0 to {math.prod(shape) - 1}, got {indices.min()} to "
            f"{indices.max()}."
        )
    return indices


def resample(x: Any, taps: Sequence[Any]) -> Any:
    """Axis by axis, by a kernel that adds rows up; to or from one entry, as a product."""
    lead, sizes, counts = x.shape[: -len(taps)], [t.size for t in taps], [t.count for t in taps]
    images = math.prod(lead)
    if not _repays(x, images * max(math.prod(sizes), math.prod(counts))) or 0 in counts:
        return resampling.resample.table.composed(x, taps)  # type: ignore[attr-defined]
    if math.prod(counts) == 1 or math.prod(sizes) == 1:
        flat = functools.reduce(np.kron, [t.matrix() for t in taps]).astype(x.dtype)
        if flat.all():
            rows = x.reshape(images, -1)
            return (rows @ flat[0] if math.prod(counts) == 1 else rows * flat[:, 0]).reshape(*lead, *counts)
    x = np.ascontiguousarray(x)
    for axis in resampling.in_order(taps):
        t, shape = taps[axis], list(x.shape)
        shape[axis] = t.count
        inner = () if axis == -1 else (math.prod(shape[axis + 1 :]),)
        y, weights = np.empty(shape, x.dtype), t.weights.astype(x.dtype, copy=False)
        rows, made = x.reshape(-1, t.size, *inner), y.reshape(-1, t.count, *inner)
        kernel = "blend_rows" if inner else "blend_entries"
        _run(kernel, len(rows), max(x.size, y.size), rows, t.indices, weights, made)
        x = y
    return x
