"""Numba kernels for 3×3 convolutions in Winograd's form: channels innermost, even and odd rows and columns apart.

So every sum runs over long stretches of memory.
"""

from __future__ import annotations

import numba
import numpy as np

from adjoint.arrays.numpy.compiling import kernel

U = np.uint64  # an index that cannot be negative: one that could would be looked at, entry by entry


@numba.njit(inline="always")
def plus(x, i, y, j, out, k, n):  # type: ignore[no-untyped-def]
    """out = x + y on a stretch."""
    for a in range(U(n)):
        out[U(k) + a] = x[U(i) + a] + y[U(j) + a]


@numba.njit(inline="always")
def minus(x, i, y, j, out, k, n):  # type: ignore[no-untyped-def]
    """out = x - y on a stretch."""
    for a in range(U(n)):
        out[U(k) + a] = x[U(i) + a] - y[U(j) + a]


@kernel
def apart(x, phases, before):  # type: ignore[no-untyped-def]
    """x (C, H, W) to phases (2, 2, rows, columns, C): the padded image at (y, x) to [y % 2, x % 2, y // 2, x // 2]."""
    channels, height, width = x.shape
    _, _, rows, columns, _ = phases.shape
    flat = x.reshape(-1)
    for i in range(max(0, -before[0]), min(height, 2 * rows - before[0])):
        for j in range(max(0, -before[1]), min(width, 2 * columns - before[1])):
            p, q = i + before[0], j + before[1]
            target = phases[p & 1, q & 1, p >> 1, q >> 1]
            start = U(i * width + j)
            for c in range(U(channels)):
                target[c] = flat[start + c * U(height * width)]


@kernel
def transform(phases, halves, out, image):  # type: ignore[no-untyped-def]
    """Bᵀ d B of the 4×4 tiles d, which overlap by two: phases to out[:, image], (16, images, tiles, C)."""
    _, _, rows, columns, channels = phases.shape
    d, t, v = phases.reshape(-1), halves.reshape(-1), out.reshape(-1)
    high, wide, line = rows - 1, columns - 1, columns * channels
    for b in range(2):
        for i in range(high):
            even, odd = (b * rows + i) * line, ((2 + b) * rows + i) * line
            at, step = (b * high + i) * line, 2 * high * line
            minus(d, even, d, even + line, t, at, line)
            plus(d, odd, d, even + line, t, at + step, line)
            minus(d, even + line, d, odd, t, at + 2 * step, line)
            minus(d, odd, d, odd + line, t, at + 3 * step, line)
    run, step = wide * channels, out.shape[1] * high * wide * channels
    for r in range(4):
        for i in range(high):
            even, odd = (2 * r * high + i) * line, ((2 * r + 1) * high + i) * line
            at = 4 * r * step + (image * high + i) * run
            minus(t, even, t, even + channels, v, at, run)
            plus(t, odd, t, even + channels, v, at + step, run)
            minus(t, even + channels, t, odd, v, at + 2 * step, run)
            minus(t, odd, t, odd + channels, v, at + 3 * step, run)


@kernel
def back(products, image, halves, phases, bias, y):  # type: ignore[no-untyped-def]
    """Aᵀ m A of the 4×4 tiles m of products[:, image], (16, images, tiles, O), and bias, to y (O, H, W)."""
    _, images, tiles, channels = products.shape
    out, height, width = y.shape
    m, z, p, flat = products.reshape(-1), halves.reshape(-1), phases.reshape(-1), y.reshape(-1)
    run, step, at = tiles * channels, images * tiles * channels, image * tiles * channels
    for s in range(4):
        first = at + s * step
        for a in range(U(run)):
            one, two = m[U(first + 4 * step) + a], m[U(first + 8 * step) + a]
            z[U(s * run) + a] = m[U(first) + a] + one + two
            z[U((4 + s) * run) + a] = one - two - m[U(first + 12 * step) + a]
    for b in range(2):
        first = 4 * b * run
        for a in range(U(run)):
            one, two = z[U(first + run) + a], z[U(first + 2 * run) + a]
            p[U(2 * b * run) + a] = z[U(first) + a] + one + two
            p[U((2 * b + 1) * run) + a] = one - two - z[U(first + 3 * run) + a]
    wide = (width + 1) // 2
    for o in range(out):
        for i in range(height):
            row = U((i & 1) * 2 * run + (i >> 1) * wide * channels + o)
            for j in range(width):
                place = row + U((j & 1) * run + (j >> 1) * channels)
                flat[U((o * height + i) * width + j)] = p[place] + bias[o]


@kernel
def spread(phases, halves, out, image):  # type: ignore[no-untyped-def]
    """A u Aᵀ of the 2×2 tiles u, the adjoint of `back`: phases (2, 2, rows, columns, O) to out[:, image]."""
    u, z, v = phases.reshape(-1), halves.reshape(-1), out.reshape(-1)
    run = u.size // 4
    step, at = out.shape[1] * run, image * run
    for a in range(U(2 * run)):
        one, two = u[a], u[U(2 * run) + a]
        z[a] = one
        z[U(2 * run) + a] = one + two
        z[U(4 * run) + a] = one - two
        z[U(6 * run) + a] = -two
    for r in range(4):
        first, place = 2 * r * run, at + 4 * r * step
        for a in range(U(run)):
            one, two = z[U(first) + a], z[U(first + run) + a]
            v[U(place) + a] = one
            v[U(place + step) + a] = one + two
            v[U(place + 2 * step) + a] = one - two
            v[U(place + 3 * step) + a] = -two


@kernel
def transformed(x, phases, halves, out, before):  # type: ignore[no-untyped-def]
    """`transform` of several images x (n, C, H, W)."""
    for n in range(len(x)):
        apart(x[n], phases, before)
        transform(phases, halves, out, n)


@kernel
def spreads(u, phases, halves, out):  # type: ignore[no-untyped-def]
    """`spread` of several images u (n, O, H, W)."""
    for n in range(len(u)):
        apart(u[n], phases, (0, 0))
        spread(phases, halves, out, n)


@kernel
def backs(products, halves, phases, bias, y):  # type: ignore[no-untyped-def]
    """`back` of several images y (n, O, H, W)."""
    for n in range(len(y)):
        back(products, n, halves, phases, bias, y[n])
