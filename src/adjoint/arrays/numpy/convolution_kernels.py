"""Numba kernels between an image and its columns: channels innermost, so that whole rows of the kernel are one copy."""

from __future__ import annotations

import numba
import numpy as np

from adjoint.arrays.numpy.compiling import kernel

U = np.uint64  # an index that cannot be negative: one that could would be looked at, entry by entry


@numba.njit(inline="always")
def copy(source, start, target, at, run):  # type: ignore[no-untyped-def]
    """A run of entries copied."""
    for a in range(U(run)):
        target[U(at) + a] = source[U(start) + a]


@numba.njit(inline="always")
def add(source, start, target, at, run):  # type: ignore[no-untyped-def]
    """A run of entries added."""
    for a in range(U(run)):
        target[U(at) + a] += source[U(start) + a]


@kernel
def enter(x, padded, before):  # type: ignore[no-untyped-def]
    """x (C, D, H, W) into the inside of padded (D', H', W', C)."""
    c, d, h, w = x.shape
    D, H, W, _ = padded.shape
    for i in range(max(0, -before[0]), min(d, D - before[0])):
        for j in range(max(0, -before[1]), min(h, H - before[1])):
            row = padded[i + before[0], j + before[1]]
            for k in range(max(0, -before[2]), min(w, W - before[2])):
                for a in range(c):
                    row[k + before[2], a] = x[a, i, j, k]


@kernel
def leave(padded, x, before):  # type: ignore[no-untyped-def]
    """The inside of padded (D', H', W', C) to x (C, D, H, W), zeros where x reaches beyond it."""
    c, d, h, w = x.shape
    D, H, W, _ = padded.shape
    for a in range(c):
        for i in range(d):
            for j in range(h):
                for k in range(w):
                    p, q, r = i + before[0], j + before[1], k + before[2]
                    x[a, i, j, k] = padded[p, q, r, a] if 0 <= p < D and 0 <= q < H and 0 <= r < W else 0


@kernel
def gather(padded, columns, kernel, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """What the kernel sees of padded (D', H', W', C): columns (groups, positions, ∏kernel·C/groups)."""
    _, H, W, c = padded.shape
    groups = len(columns)
    source, target = padded.reshape(-1), columns.reshape(-1)
    per = c // groups
    joined = groups == 1 and dilation[2] == 1
    run = per * kernel[2] if joined else per
    taps = 1 if joined else kernel[2]
    at = 0
    for g in range(groups):
        for i in range(positions[0]):
            for j in range(positions[1]):
                for k in range(positions[2]):
                    for p in range(kernel[0]):
                        for q in range(kernel[1]):
                            row = (i * stride[0] + p * dilation[0]) * H + j * stride[1] + q * dilation[1]
                            for r in range(taps):
                                start = (row * W + k * stride[2] + r * dilation[2]) * c + g * per
                                copy(source, start, target, at, run)
                                at += run


@kernel
def scatter(columns, padded, kernel, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """The adjoint of `gather`: columns added into padded."""
    _, H, W, c = padded.shape
    groups = len(columns)
    source, target = columns.reshape(-1), padded.reshape(-1)
    per = c // groups
    joined = groups == 1 and dilation[2] == 1
    run = per * kernel[2] if joined else per
    taps = 1 if joined else kernel[2]
    at = 0
    for g in range(groups):
        for i in range(positions[0]):
            for j in range(positions[1]):
                for k in range(positions[2]):
                    for p in range(kernel[0]):
                        for q in range(kernel[1]):
                            row = (i * stride[0] + p * dilation[0]) * H + j * stride[1] + q * dilation[1]
                            for r in range(taps):
                                start = (row * W + k * stride[2] + r * dilation[2]) * c + g * per
                                add(source, at, target, start, run)
                                at += run


@kernel
def columns_of(x, padded, columns, before, kernel, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """The columns of several images x (n, C, D, H, W), one after the other: columns (n, groups, positions, seen)."""
    for n in range(len(x)):
        enter(x[n], padded, before)
        gather(padded, columns[n], kernel, positions, stride, dilation)


@kernel
def images_of(columns, padded, x, before, kernel, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """The adjoint of `columns_of`."""
    for n in range(len(x)):
        padded[:] = 0
        scatter(columns[n], padded, kernel, positions, stride, dilation)
        leave(padded, x[n], before)


@kernel
def rows_of(x, padded, columns, before, kernel, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """What `columns_of` gives, transposed: columns (n, seen, positions), rows of positions copied; for few channels.

    padded (C, D', H', W') is zero around the images.
    """
    images, channels, d, h, w = x.shape
    _, D, H, W = padded.shape
    source, target, step = padded.reshape(-1), columns.reshape(-1), U(stride[2])
    for n in range(images):
        for c in range(channels):
            for i in range(max(0, -before[0]), min(d, D - before[0])):
                for j in range(max(0, -before[1]), min(h, H - before[1])):
                    for k in range(max(0, -before[2]), min(w, W - before[2])):
                        padded[c, i + before[0], j + before[1], k + before[2]] = x[n, c, i, j, k]
        at = U(n * columns.shape[1] * columns.shape[2])
        for c in range(channels):
            for p in range(kernel[0]):
                for q in range(kernel[1]):
                    for r in range(kernel[2]):
                        for i in range(positions[0]):
                            for j in range(positions[1]):
                                row = (c * D + i * stride[0] + p * dilation[0]) * H + j * stride[1] + q * dilation[1]
                                start = U(row * W + r * dilation[2])
                                for k in range(U(positions[2])):
                                    target[at + k] = source[start + k * step]
                                at += U(positions[2])
