"""3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3): 16 multiplications for 4 outputs instead of 36.

Y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A for every 4×4 tile d of the input (Lavin & Gray 2016); the sum over channels makes it
16 matrix products. All other numbers in it are 1, -1 and ½, so that it rounds about as direct sums do; an infinite
entry makes NaN of the outputs in its tile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Shape
from adjoint.arrays.numpy.threads import shared

CACHE = 1 << 20  # bytes of transformed tiles that are held at a time
G = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
KERNEL = np.kron(G, G)  # a 3×3 kernel to 4×4, both as vectors


def convolved(x: Any, weight: Any, bias: Any, before: Shape, positions: Shape) -> Any:
    """The convolution of x (N, C, H, W) with weight (O, C, 3, 3), zeros `before` each axis, (N, O, *positions)."""
    from adjoint.arrays.numpy.winograd_kernels import backs, transformed

    n, out, channels = len(x), weight.shape[0], weight.shape[1]
    high, wide = (positions[0] + 1) // 2, (positions[1] + 1) // 2
    tiles, kind = high * wide, x.dtype
    matrices = (KERNEL.astype(kind) @ weight.reshape(-1, 9).T).reshape(16, out, channels).mT
    added = np.zeros(out, kind) if bias is None else bias
    y = np.empty((n, out, *positions), kind)
    step = max(1, CACHE // (16 * tiles * (channels + out) * kind.itemsize))

    def work(start: int, stop: int) -> None:
        phases, halves = empty_phases(high + 1, wide + 1, channels, kind)
        sums, results = np.empty((8, tiles, out), kind), np.empty((4, tiles, out), kind)
        room, more = (np.empty(16 * step * tiles * count, kind) for count in (channels, out))
        for a in range(start, stop, step):
            b = min(a + step, stop)
            seen, products = (part(into, b - a, tiles, count) for into, count in ((room, channels), (more, out)))
            transformed(x[a:b], phases, halves, seen, before)
            np.matmul(seen.reshape(16, -1, channels), matrices, out=products.reshape(16, -1, out))
            backs(products, sums, results, added, y[a:b])

    shared(work, n)
    return y


def weight_adjoint(x: Any, u: Any, before: Shape) -> Any:
    """The adjoint in the weight: x (N, C, H, W) and u (N, O, *positions) to (O, C, 3, 3)."""
    from adjoint.arrays.numpy.winograd_kernels import spreads, transformed

    n, out, channels, kind = len(x), u.shape[1], x.shape[1], x.dtype
    high, wide = (u.shape[2] + 1) // 2, (u.shape[3] + 1) // 2
    tiles = high * wide
    step = max(1, CACHE // (16 * tiles * (channels + out) * kind.itemsize))

    def work(start: int, stop: int) -> Any:
        phases, halves = empty_phases(high + 1, wide + 1, channels, kind)
        own, parts = np.zeros((4, tiles, out), kind).reshape(2, 2, high, wide, out), np.empty((8, tiles, out), kind)
        room, more = (np.empty(16 * step * tiles * count, kind) for count in (channels, out))
        total, product = np.zeros((16, out, channels), kind), np.empty((16, out, channels), kind)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            seen, sent = (part(into, b - a, tiles, count) for into, count in ((room, channels), (more, out)))
            transformed(x[a:b], phases, halves, seen, before)
            spreads(u[a:b], own, parts, sent)
            total += np.matmul(sent.reshape(16, -1, out).mT, seen.reshape(16, -1, channels), out=product)
        return total

    found = sum(shared(work, n))
    return np.ascontiguousarray((KERNEL.T.astype(kind) @ found.reshape(16, -1)).T).reshape(out, channels, 3, 3)


def part(room: Any, images: int, tiles: int, channels: int) -> Any:
    """The beginning of the room, as the transformed tiles of so many images."""
    return room[: 16 * images * tiles * channels].reshape(16, images, tiles, channels)


def empty_phases(rows: int, columns: int, channels: int, kind: Any) -> tuple[Any, Any]:
    """Zeros for the padded image, even and odd rows and columns apart, and room for what is between the transforms."""
    return np.zeros((2, 2, rows, columns, channels), kind), np.empty((4, 2, rows - 1, columns, channels), kind)
