"""Normalizations of NumPy's arrays: kernels where arrays repay them, else the plain compositions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import normalization as plain
from adjoint.arrays.numpy.threads import parts

COMPILED = 1 << 14  # entries from which the Numba kernels repay their loading
GRAIN = 1 << 19  # entries that repay the start of a thread
LEAST = 16  # entries of a row that fill vectors


def serves(x: Any, *others: Any) -> bool:
    """Whether the kernels take these arrays: large, in one stretch of memory, all floats or all doubles."""
    return (
        type(x) is np.ndarray
        and x.size >= COMPILED
        and x.dtype.char in "fd"
        and x.flags.c_contiguous
        and all(y is None or (type(y) is np.ndarray and y.dtype == x.dtype) for y in others)
    )


def normalize_rows(
    x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5, centre: bool = True
) -> Any:
    n = math.prod(x.shape[len(x.shape) - ndim :])
    fits = all(w is None or w.shape == x.shape[-ndim:] for w in (weight, bias))
    if not (serves(x, weight, bias) and n >= LEAST and fits):
        return plain.normalize_rows.table.composed(x, weight, bias, ndim, eps, centre)  # type: ignore[attr-defined]
    from adjoint.arrays.numpy import normalization_kernels as kernels

    y, lead = np.empty_like(x), (*x.shape[:-ndim], *(1,) * ndim)
    mu, scale = np.empty(lead, x.dtype), np.empty(lead, x.dtype)
    weight, bias = entries(weight, n, x, 1), entries(bias, n, x, 0)
    rows = (x.reshape(-1, n), y.reshape(-1, n), mu.reshape(-1), scale.reshape(-1))
    in_parts(kernels.layer, rows, weight, bias, eps, centre)
    return (y, mu, scale) if centre else (y, scale)


def normalize_channels(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if not (serves(x, weight, bias) and math.prod(x.shape[2:]) >= LEAST):
        return plain.normalize_channels.table.composed(x, weight, bias, eps)  # type: ignore[attr-defined]
    from adjoint.arrays.numpy import normalization_kernels as kernels

    n, channels = x.shape[:2]
    rows, y = x.reshape(n * channels, -1), np.empty_like(x)
    means, spreads = np.empty((n, channels)), np.empty((n, channels))
    in_parts(kernels.moments, (rows, means.reshape(-1), spreads.reshape(-1)))
    mean = means.mean(0)
    var = spreads.mean(0) + np.square(means - mean).mean(0)
    gain = 1.0 / np.sqrt(var + eps)
    gain, shift = gain if weight is None else gain * weight, np.zeros(channels) if bias is None else bias
    in_parts(kernels.channel, (rows, *(each_row(c, n, x) for c in (mean, gain, shift)), y.reshape(rows.shape)))
    return y, mean.astype(x.dtype), var.astype(x.dtype)


def normalization_product(
    v: Any, x: Any, mu: Any, scale: Any, weight: Any = None, axes: tuple[int, ...] = (-1,)
) -> Any:
    if serves(x, v, mu, scale, weight) and v.shape == x.shape:
        n, own = math.prod([x.shape[a] for a in axes]), x.shape[-len(axes) :]
        of_rows = axes == tuple(range(-len(axes), 0)) and n >= LEAST
        if of_rows and (weight is None or weight.shape == own):
            return _layer_product(np.ascontiguousarray(v), x, mu, scale, weight, n)
        of_channels = axes == plain.channels_reduced(x) and mu is not None and math.prod(x.shape[2:]) >= LEAST
        if of_channels and (weight is None or weight.size == x.shape[1]):
            return _channel_product(np.ascontiguousarray(v), x, mu, scale, weight, n)
    return plain.normalization_product.table.composed(v, x, mu, scale, weight, axes)  # type: ignore[attr-defined]


def _layer_product(v: Any, x: Any, mu: Any, scale: Any, weight: Any, n: int) -> Any:
    from adjoint.arrays.numpy import normalization_kernels as kernels

    y, rows = np.empty_like(x), scale.reshape(-1)
    mean = np.zeros_like(rows) if mu is None else mu.reshape(-1)
    of_rows = (v.reshape(-1, n), x.reshape(-1, n), mean, rows, y.reshape(-1, n))
    in_parts(kernels.layer_product, of_rows, entries(weight, n, x, 1), mu is not None)
    return y


def _channel_product(v: Any, x: Any, mu: Any, scale: Any, weight: Any, n: int) -> Any:
    from adjoint.arrays.numpy import normalization_kernels as kernels

    total, along = _channel_sums(v, x, mu)
    scale, y = scale.reshape(-1), np.empty_like(x)
    gain, slope = (
        scale if weight is None else scale * weight.reshape(-1),
        along / n * np.square(scale, dtype=np.float64),
    )
    of_rows = [each_row(c, len(x), x) for c in (mu.reshape(-1), gain, total / n, slope)]
    rows = (len(x) * x.shape[1], -1)
    in_parts(kernels.channel_product, (v.reshape(rows), x.reshape(rows), *of_rows, y.reshape(rows)))
    return y


def normalization_gain(u: Any, x: Any, mu: Any, scale: Any, axes: tuple[int, ...] = ()) -> Any:
    if serves(x, u, mu, scale) and u.shape == x.shape:
        kept = len(x.shape) - len(axes)
        n = math.prod(x.shape[len(axes) :])
        u = np.ascontiguousarray(u)
        if axes == tuple(range(-len(x.shape), -kept)) and scale.size * n == x.size and n >= LEAST:
            return _layer_gain(u, x, mu, scale, n).reshape(x.shape[len(axes) :])
        if axes == plain.channels_reduced(x) and mu is not None and math.prod(x.shape[2:]) >= LEAST:
            return (_channel_sums(u, x, mu)[1] * scale.reshape(-1)).astype(x.dtype)
    return plain.normalization_gain.table.composed(u, x, mu, scale, axes)  # type: ignore[attr-defined]


def _layer_gain(u: Any, x: Any, mu: Any, scale: Any, n: int) -> Any:
    from adjoint.arrays.numpy import normalization_kernels as kernels

    y, rows = np.zeros(n), scale.reshape(-1)
    mean = np.zeros_like(rows) if mu is None else mu.reshape(-1)
    kernels.layer_gain(u.reshape(-1, n), x.reshape(-1, n), mean, rows, y, np.zeros(n, x.dtype))
    return y.astype(x.dtype)


def _channel_sums(v: Any, x: Any, mu: Any) -> Any:
    """Σ v and Σ v (x - μ) of every channel, in float64."""
    from adjoint.arrays.numpy import normalization_kernels as kernels

    n, channels = x.shape[:2]
    total, along = np.empty((n, channels)), np.empty((n, channels))
    rows = (n * channels, -1)
    mean = each_row(mu.reshape(-1), n, x)
    in_parts(kernels.sums, (v.reshape(rows), x.reshape(rows), mean, total.reshape(-1), along.reshape(-1)))
    return total.sum(0), along.sum(0)


def in_parts(kernel: Any, rows: tuple[Any, ...], *rest: Any) -> None:
    """A kernel on arrays that have a row, or a number, for every row of x; on large ones in several threads."""
    grain = 1 + GRAIN * len(rows[0]) // rows[0].size
    parts(lambda start, stop: kernel(*[x[start:stop] for x in rows], *rest), len(rows[0]), grain)


def entries(w: Any, n: int, x: Any, otherwise: float) -> Any:
    """A parameter of a layer as a row in memory, or as many times a number where there is none."""
    return np.full(n, otherwise, x.dtype) if w is None else np.ascontiguousarray(w).reshape(-1)


def each_row(c: Any, n: int, x: Any) -> Any:
    """The channels' numbers (C,) repeated for every example, in x's dtype."""
    return np.tile(c.astype(x.dtype, copy=False), n)
