"""What a matrix loses in NF4 and int8, found without storing its codes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from adjoint.arrays.quantized import format_named, scales
from adjoint.quantization.encoding import between, nested, single
from adjoint.quantization.packing import Quantized

BLOCK = 64  # of NF4
PIECE = 1 << 18  # entries that are looked at at a time
LEAST, LARGEST = 1e-15, 1e15  # between which squares neither overflow nor vanish


def lost(x: np.ndarray) -> tuple[float, float] | None:
    """‖x - x̂‖/‖x‖ of a matrix in NF4 and in int8; None where an entry is not finite, or the largest far from 1.

    They are `quantize(x, "nf4").error(x)` and `quantize(x, "int8").error(x)` but for the rounding of sums.

    >>> import adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((257, 129)).astype("float32")
    >>> [math.isclose(a, aj.quantize(x, name).error(x), rel_tol=1e-12) for a, name in zip(lost(x), ("nf4", "int8"))]
    [True, True]
    >>> lost(0.0 * x) is lost(1e200 * x.astype("float64")) is None
    True
    """
    from adjoint.arrays.numpy import storage_kernels as kernels

    m, n = x.shape
    lows, highs = np.empty((2, -(-x.size // BLOCK)), np.float32)
    low, high = np.empty((2, m), np.float32)
    for start, exact in _pieces(x):
        part, own = single(exact.reshape(-1)), slice(start // BLOCK, -(-(start + exact.size) // BLOCK))
        kernels.extremes(part, BLOCK, lows[own], highs[own])
        if n % BLOCK:
            rows = slice(start // n, start // n + len(exact))
            kernels.extremes(part, n, low[rows], high[rows])
    if n % BLOCK == 0:
        low, high = np.min(lows.reshape(m, -1), 1), np.max(highs.reshape(m, -1), 1)
    tops = np.maximum(-lows, highs)
    if not LEAST < float(np.max(tops)) < LARGEST:
        return None
    absmax, nested_absmax, offset = nested(tops)
    scale = scales(Quantized("nf4", x.shape, BLOCK, absmax=absmax, nested_absmax=nested_absmax, offset=offset), tops)
    bounds, order = between("nf4")
    levels = format_named("nf4").levels[order]
    nf4 = int8 = total = 0.0
    for start, exact in _pieces(x):
        part, own = single(exact), slice(start // BLOCK, -(-(start + exact.size) // BLOCK))
        nf4 += kernels.lost_to_levels(
            part.reshape(-1), exact.reshape(-1), BLOCK, tuple(bounds), tuple(levels), tops[own], scale[own]
        )
        off, whole = kernels.lost_to_steps(part, exact, low[start // n :], high[start // n :], 255)
        int8, total = int8 + off, total + whole
    return (math.sqrt(nf4 / total), math.sqrt(int8 / total)) if math.isfinite(total) else None


def _pieces(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows that whole blocks of NF4 are made of, in float32 or float64, and the place of their first entry."""
    m, n = x.shape
    least = BLOCK // math.gcd(BLOCK, n)
    step = least * max(1, PIECE // (least * n))
    for start in range(0, m, step):
        part = x[start : start + step]
        yield start * n, np.ascontiguousarray(part) if part.dtype.char in "fd" else single(part)
