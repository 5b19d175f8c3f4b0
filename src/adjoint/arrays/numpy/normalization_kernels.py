"""Numba kernels of normalizations on rows (r, n): statistics in one pass, long sums in float64.

What belongs to a layer's entries (weight, bias) has n numbers, what belongs to rows (mean, scale, gain, shift) r.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays.numpy.compiling import kernel, summing

BLOCK = 4096  # entries that are summed in their own precision
ROWS = 128  # the same, of rows
ZERO: Any = np.float32(0.0)  # of no dtype that another one would be widened to


@summing
def _sum(x):  # type: ignore[no-untyped-def]
    total = 0.0
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        part = ZERO
        for j in range(block.size):
            part += block[j]
        total += part
    return total


@summing
def _squares(x, mean):  # type: ignore[no-untyped-def]
    total = 0.0
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        part = ZERO
        for j in range(block.size):
            d = block[j] - mean
            part += d * d
        total += part
    return total


@summing
def _sums(v, x, mean):  # type: ignore[no-untyped-def]
    """Σ v and Σ v (x - mean)."""
    total = along = 0.0
    for start in range(0, x.size, BLOCK):
        block, beside = x[start : start + BLOCK], v[start : start + BLOCK]
        part = product = ZERO
        for j in range(block.size):
            part += beside[j]
            product += beside[j] * (block[j] - mean)
        total += part
        along += product
    return total, along


@kernel
def layer(x, y, mean, scale, weight, bias, eps, centre):  # type: ignore[no-untyped-def]
    """y = (x - mean) scale · weight + bias, each row by its own mean (0 without `centre`) and 1/σ."""
    rows, n = x.shape
    for i in range(rows):
        xi, yi = x[i], y[i]
        mean[i] = _sum(xi) / n if centre else 0.0
        m = mean[i]
        scale[i] = 1.0 / math.sqrt(_squares(xi, m) / n + eps)
        s = scale[i]
        for j in range(n):
            yi[j] = (xi[j] - m) * s * weight[j] + bias[j]


@kernel
def layer_product(v, x, mean, scale, y, weight, centre):  # type: ignore[no-untyped-def]
    """y = (w - mean w - x̂ mean(x̂ w)) scale of each row, w = weight · v."""
    rows, n = x.shape
    room = np.empty(2, x.dtype)  # numbers in x's dtype
    for i in range(rows):
        vi, xi, yi, m, s = v[i], x[i], y[i], mean[i], scale[i]
        for j in range(n):
            yi[j] = vi[j] * weight[j]
        total, along = _sums(yi, xi, m)
        room[0] = total / n if centre else 0.0
        room[1] = along / n * s * s
        a, b = room[0], room[1]
        for j in range(n):
            yi[j] = (yi[j] - a - (xi[j] - m) * b) * s


@kernel
def layer_gain(u, x, mean, scale, y, part):  # type: ignore[no-untyped-def]
    """y = Σ u x̂ over the rows; `part` has y's shape, both come as zeros."""
    rows, n = x.shape
    for start in range(0, rows, ROWS):
        for i in range(start, min(start + ROWS, rows)):
            ui, xi, m, s = u[i], x[i], mean[i], scale[i]
            for j in range(n):
                part[j] += ui[j] * (xi[j] - m) * s
        for j in range(n):
            y[j] += part[j]
        part[:] = 0


@kernel
def moments(x, mean, var):  # type: ignore[no-untyped-def]
    """Mean and mean squared deviation of each row."""
    rows, n = x.shape
    room = np.empty(1, x.dtype)
    for i in range(rows):
        xi = x[i]
        mean[i] = room[0] = _sum(xi) / n
        var[i] = _squares(xi, room[0]) / n


@kernel
def sums(v, x, mean, total, along):  # type: ignore[no-untyped-def]
    """Σ v and Σ v (x - mean) of each row."""
    for i in range(len(x)):
        total[i], along[i] = _sums(v[i], x[i], mean[i])


@kernel
def channel(x, mean, gain, shift, y):  # type: ignore[no-untyped-def]
    """y = (x - mean) gain + shift, each row by its own."""
    rows, n = x.shape
    for i in range(rows):
        xi, yi, m, a, b = x[i], y[i], mean[i], gain[i], shift[i]
        for j in range(n):
            yi[j] = (xi[j] - m) * a + b


@kernel
def channel_product(v, x, mean, gain, level, slope, y):  # type: ignore[no-untyped-def]
    """y = (v - level - (x - mean) slope) gain, each row by its own."""
    rows, n = x.shape
    for i in range(rows):
        vi, xi, yi, m, a, b, c = v[i], x[i], y[i], mean[i], gain[i], level[i], slope[i]
        for j in range(n):
            yi[j] = (vi[j] - b - (xi[j] - m) * c) * a
