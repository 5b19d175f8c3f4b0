"""Numba kernels for what numbers lose in 4 and 8 bits; their codes, those of `quantized_kernels`, are never stored."""

from __future__ import annotations

import numpy as np

from adjoint.arrays.numpy.compiling import kernel
from adjoint.arrays.numpy.quantized_kernels import LEAST, apart, ends


@kernel
def extremes(x, block, lows, highs):  # type: ignore[no-untyped-def]
    """The least and the largest of the entries of each block and 0."""
    for b in range(lows.size):
        lows[b], highs[b] = ends(x[b * block : (b + 1) * block])


@kernel
def nearest(x, factor, scale, bounds, levels, out):  # type: ignore[no-untyped-def]
    """The nearest of 16 rising levels to each entry of x times a factor, times the scale."""
    a, b, c, d, e, f, g, h, i, j, k, l, m, n, o = bounds  # one by one, for whole vectors of entries
    A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P = levels
    for t in range(x.size):
        v = x[t] * factor
        y = B if v > a else A
        y = C if v > b else y
        y = D if v > c else y
        y = E if v > d else y
        y = F if v > e else y
        y = G if v > f else y
        y = H if v > g else y
        y = I if v > h else y
        y = J if v > i else y
        y = K if v > j else y
        y = L if v > k else y
        y = M if v > l else y
        y = N if v > m else y
        y = O if v > n else y
        y = P if v > o else y
        out[t] = y * scale


@kernel
def lost_to_levels(x, exact, block, bounds, levels, tops, scales):  # type: ignore[no-untyped-def]
    """Σ (x - x̂)² of `levels4`'s codes: x in float32, `exact` the same numbers before that."""
    one, lost, room = np.float32(1.0), 0.0, np.empty(block, np.float32)
    for b in range(tops.size):
        part = x[b * block : (b + 1) * block]
        if part.size == block:
            nearest(part, one / max(tops[b], LEAST), scales[b], bounds, levels, room)
        else:
            nearest(part / max(tops[b], LEAST), one, scales[b], bounds, levels, room)
        lost += apart(exact[b * block : (b + 1) * block], room)[0]
    return lost


@kernel
def steps(x, step, zero, largest, out):  # type: ignore[no-untyped-def]
    """The nearest whole number of steps to each entry, from -zero to largest - zero of them."""
    for i in range(x.size):
        out[i] = (min(max(np.rint(x[i] / step) + zero, np.float32(0.0)), largest) - zero) * step


@kernel
def lost_to_steps(x, exact, lows, highs, most):  # type: ignore[no-untyped-def]
    """(Σ (x - x̂)², Σ x²) of `affine`'s codes, a scale for each row, whose least and largest entries are given."""
    largest, lost, total, room = np.float32(most), 0.0, 0.0, np.empty(x.shape[1], np.float32)
    for r in range(x.shape[0]):
        step = np.float32((np.float64(highs[r]) - np.float64(lows[r])) / most)
        if step == 0.0:
            step = np.float32(1.0)
        steps(x[r], step, min(np.rint(-lows[r] / step), largest), largest, room)
        off, whole = apart(exact[r], room)
        lost, total = lost + off, total + whole
    return lost, total
