"""Numba kernels of attention: tiles of scores small enough for the cache, never the whole matrix (Dao et al. 2022).

Forward, a row block meets its tiles one after the other and keeps the largest score, the sum of exponentials and the
weighted values so far. Backward, tiles are made again from the log-sums. Loaded when first needed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from adjoint.arrays.numpy.compiling import kernel
from adjoint.arrays.numpy.exponential import exponential

ROWS = 64  # of a tile
PRODUCT = 1 << 18  # multiply-adds of a matrix product up to which OpenBLAS starts no threads of its own
NONE, TRUTH, NUMBERS = range(3)  # kinds of masks


@numba.njit(fastmath={"nnan", "nsz"}, error_model="numpy")
def largest(row, least):  # type: ignore[no-untyped-def]
    a = b = c = d = e = f = g = h = least  # a maximum waits for the one before it: eight take turns
    whole = row.size // 8 * 8
    for j in range(0, whole, 8):
        a, b, c, d = max(a, row[j]), max(b, row[j + 1]), max(c, row[j + 2]), max(d, row[j + 3])
        e, f, g, h = max(e, row[j + 4]), max(f, row[j + 5]), max(g, row[j + 6]), max(h, row[j + 7])
    for j in range(whole, row.size):
        a = max(a, row[j])
    return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))


@numba.njit(fastmath={"reassoc", "contract"}, error_model="numpy")
def added(row, total):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        total += row[j]
    return total


@numba.njit(fastmath={"reassoc", "contract"}, error_model="numpy")
def paired(x, y, total):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@numba.njit(error_model="numpy")
def start_of(steps, a, b, c):  # type: ignore[no-untyped-def]
    """Where in flat memory a head's rows begin, whose neighbours are steps[3] apart."""
    return steps[0] * a + steps[1] * b + steps[2] * c


@numba.njit(fastmath={"contract"}, error_model="numpy")
def packed(flat, at, step, out, scale):  # type: ignore[no-untyped-def]
    """Rows of flat memory from `at` on, times a number, side by side in `out`."""
    for i in range(out.shape[0]):
        row, source = out[i], flat[at + i * step : at + i * step + out.shape[1]]
        for j in range(row.size):
            row[j] = source[j] * scale


@numba.njit(fastmath={"contract"}, error_model="numpy")
def unpacked(part, flat, at, step, scale):  # type: ignore[no-untyped-def]
    """The reverse: rows times a number, into flat memory."""
    for i in range(part.shape[0]):
        row, target = part[i], flat[at + i * step : at + i * step + part.shape[1]]
        for j in range(row.size):
            target[j] = row[j] * scale


@numba.njit(fastmath={"contract"}, error_model="numpy")
def grown(total, part):  # type: ignore[no-untyped-def]
    a, b = total.reshape(-1), part.reshape(-1)
    for i in range(b.size):
        a[i] += b[i]


@numba.njit(error_model="numpy")
def within(i, left, right, size):  # type: ignore[no-untyped-def]
    """The columns, of `size`, that row i sees: from the first to before the second."""
    start = min(max(i - left, 0), size)
    return start, min(max(i + right + 1, start), size)


@numba.njit(error_model="numpy")
def outside(row, i, left, right, col, never):  # type: ignore[no-untyped-def]
    """-∞ in a row's part of a tile, from column `col` on, where row i sees nothing."""
    start, stop = within(i - col, left, right, row.size)
    row[:start] = never
    row[stop:] = never


@numba.njit(error_model="numpy")
def tile_of(n, size):  # type: ignore[no-untyped-def]
    """The columns of a tile for n features: as many as a product has without threads, or the length."""
    return max(min(PRODUCT // (ROWS * max(n, 1)), size), min(32, size))


@numba.njit(fastmath={"contract"}, error_model="numpy")
def capped(s, slopes, softcap, one):  # type: ignore[no-untyped-def]
    """c tanh(s/c) in place, and its slope 1 - tanh²."""
    for i in range(s.shape[0]):
        for j in range(s.shape[1]):
            t = math.tanh(s[i, j] / softcap)
            s[i, j] = softcap * t
            slopes[i, j] = one - t * t


@numba.njit(fastmath={"contract"}, error_model="numpy")
def hidden(s, kind, truth, numbers, row, col, never):  # type: ignore[no-untyped-def]
    """The mask on a tile in place."""
    for i in range(s.shape[0]):
        for j in range(s.shape[1]):
            if kind == TRUTH:
                if not truth[row + i, col + j]:
                    s[i, j] = never
            else:
                s[i, j] += numbers[row + i, col + j]


def forward(q, k, v, kind, truth, numbers, out, lse, how, sizes, steps, left, right, first, last):  # type: ignore[no-untyped-def]
    """`attend_residual` of heads first to last.

    Operands and results are flat memory, `steps` says how far apart their batches, heads, groups and rows are; sizes =
    (heads, groups, queries, keys, features, features of a value), how = (scale, softcap or 0, 0, 1, -∞).
    """
    scale, softcap, zero, one, never = how
    h, g, n, m, e, d = sizes
    width = tile_of(max(e, d), m)
    qs, ks, vs = np.empty((ROWS, e), q.dtype), np.empty((m, e), q.dtype), np.empty((m, d), q.dtype)
    tile, slopes = np.empty(ROWS * width, q.dtype), np.empty(ROWS * width, q.dtype)
    product, sums = np.empty(ROWS * d, q.dtype), np.empty((ROWS, d), q.dtype)
    tops, totals = np.empty(ROWS, q.dtype), np.empty(ROWS, q.dtype)
    for head in range(first, last):
        a, b, c = head // (h * g), head // g % h, head % g
        packed(k, start_of(steps[1], a, b, c), steps[1, 3], ks, one)
        packed(v, start_of(steps[2], a, b, c), steps[2, 3], vs, one)
        for r0 in range(0, n, ROWS):
            r1 = min(r0 + ROWS, n)
            rows = r1 - r0
            packed(q, start_of(steps[0], a, b, c) + r0 * steps[0, 3], steps[0, 3], qs[:rows], scale)
            sums[:], totals[:], tops[:] = zero, zero, never
            c_first, c_last = within(r0, left, right, m)[0], within(r1 - 1, left, right, m)[1]
            for c0 in range(c_first, c_last, width):
                c1 = min(c0 + width, c_last)
                cols = c1 - c0
                s = tile[: rows * cols].reshape(rows, cols)
                np.dot(qs[:rows], ks[c0:c1].T, s)
                if softcap != zero:
                    capped(s, slopes[: rows * cols].reshape(rows, cols), softcap, one)
                if kind != NONE:
                    hidden(s, kind, truth[a, b, c], numbers[a, b, c], r0, c0, never)
                for i in range(rows):
                    row = s[i]
                    outside(row, r0 + i, left, right, c0, never)
                    top = largest(row, tops[i])
                    base = zero if top == never else top
                    for j in range(cols):
                        row[j] = exponential(row[j] - base)
                    shrink = exponential(tops[i] - base) if tops[i] != never else zero
                    totals[i] = totals[i] * shrink + added(row, zero)
                    tops[i] = top
                    if shrink != one:
                        for j in range(d):
                            sums[i, j] *= shrink
                p = product[: rows * d].reshape(rows, d)
                np.dot(s, vs[c0:c1], p)
                grown(sums, p)
            for i in range(rows):
                seen = totals[i] != zero
                lse[head * n + r0 + i] = tops[i] + math.log(totals[i]) if seen else zero
                share = one / totals[i] if seen else zero
                unpacked(sums[i : i + 1], out, start_of(steps[3], a, b, c) + (r0 + i) * steps[3, 3], d, share)


def backward(  # type: ignore[no-untyped-def]
    u, q, k, v, kind, truth, numbers, out, lse, dq, dk, dv, how, sizes, steps, left, right, first, last
):
    """`attend_cotangents` of heads first to last; `steps` of u, q, k, v, out, dq, dk, dv."""
    scale, softcap, zero, one, never = how
    h, g, n, m, e, d = sizes
    width = tile_of(max(e, d), m)
    us, qs, outs = np.empty((ROWS, d), q.dtype), np.empty((ROWS, e), q.dtype), np.empty((ROWS, d), q.dtype)
    ks, vs = np.empty((m, e), q.dtype), np.empty((m, d), q.dtype)
    tile, tile_u = np.empty(ROWS * width, q.dtype), np.empty(ROWS * width, q.dtype)
    slopes, along = np.empty(ROWS * width, q.dtype), np.empty(ROWS, q.dtype)
    in_q, in_k, in_v = np.empty((ROWS, e), q.dtype), np.empty((m, e), q.dtype), np.empty((m, d), q.dtype)
    part = np.empty(max(ROWS, width) * max(d, e), q.dtype)
    for head in range(first, last):
        a, b, c = head // (h * g), head // g % h, head % g
        packed(k, start_of(steps[2], a, b, c), steps[2, 3], ks, one)
        packed(v, start_of(steps[3], a, b, c), steps[3, 3], vs, one)
        in_k[:], in_v[:] = zero, zero
        for r0 in range(0, n, ROWS):
            r1 = min(r0 + ROWS, n)
            rows = r1 - r0
            packed(u, start_of(steps[0], a, b, c) + r0 * steps[0, 3], steps[0, 3], us[:rows], one)
            packed(q, start_of(steps[1], a, b, c) + r0 * steps[1, 3], steps[1, 3], qs[:rows], scale)
            packed(out, start_of(steps[4], a, b, c) + r0 * steps[4, 3], steps[4, 3], outs[:rows], one)
            in_q[:] = zero
            for i in range(rows):
                along[i] = paired(us[i], outs[i], zero)
            c_first, c_last = within(r0, left, right, m)[0], within(r1 - 1, left, right, m)[1]
            for c0 in range(c_first, c_last, width):
                c1 = min(c0 + width, c_last)
                cols = c1 - c0
                s = tile[: rows * cols].reshape(rows, cols)
                ds = tile_u[: rows * cols].reshape(rows, cols)
                slope = slopes[: rows * cols].reshape(rows, cols)
                np.dot(qs[:rows], ks[c0:c1].T, s)
                np.dot(us[:rows], vs[c0:c1].T, ds)
                if softcap != zero:
                    capped(s, slope, softcap, one)
                if kind != NONE:
                    hidden(s, kind, truth[a, b, c], numbers[a, b, c], r0, c0, never)
                for i in range(rows):
                    row, change = s[i], ds[i]
                    outside(row, r0 + i, left, right, c0, never)
                    base, mean = lse[head * n + r0 + i], along[i]
                    for j in range(cols):
                        p = exponential(row[j] - base)
                        row[j] = p
                        change[j] = p * (change[j] - mean)
                    if softcap != zero:
                        for j in range(cols):
                            change[j] *= slope[i, j]
                x = part[: cols * d].reshape(cols, d)
                np.dot(s.T, us[:rows], x)
                grown(in_v[c0:c1], x)
                y = part[: cols * e].reshape(cols, e)
                np.dot(ds.T, qs[:rows], y)
                grown(in_k[c0:c1], y)
                z = part[: rows * e].reshape(rows, e)
                np.dot(ds, ks[c0:c1], z)
                grown(in_q, z)
            unpacked(in_q[:rows], dq, start_of(steps[5], a, b, c) + r0 * steps[5, 3], steps[5, 3], scale)
        unpacked(in_k, dk, start_of(steps[6], a, b, c), steps[6, 3], one)
        unpacked(in_v, dv, start_of(steps[7], a, b, c), steps[7, 3], one)


@functools.cache
def compiled(f: Callable[..., None], dtype: Any) -> Callable[..., None]:
    """`forward` or `backward` for a dtype and masks of any strides, guarded arrays or not: one code for all of them."""
    number = numba.from_dtype(dtype)
    read, new = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    mask = (types.int64, *(types.Array(t, 5, "A", readonly=True) for t in (types.boolean, number)))
    operands = (read, read, read, *mask)
    operands = (*operands, new, new) if f is forward else (read, *operands, read, read, new, new, new)
    how, sizes = (types.UniTuple(t, n) for t, n in ((number, 5), (types.int64, 6)))
    made: Any = kernel(f)
    made.compile((*operands, how, sizes, types.int64[:, ::1], *(types.int64,) * 4))
    made.disable_compile()
    return made
