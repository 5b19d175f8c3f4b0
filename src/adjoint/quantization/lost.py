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


def lost(x: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
    """‖x - x̂‖/‖x‖ of a matrix of finite numbers whose rows have these least and largest entries, in NF4 and in int8.

    They are `quantize(x, "nf4").error(x)` and `quantize(x, "int8").error(x)` but for the rounding of sums.

    >>> import adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((257, 129)).astype("float32")
    >>> both = lost(x, x.min(1), x.max(1))
    >>> [math.isclose(a, aj.quantize(x, name).error(x), rel_tol=1e-12) for a, name in zip(both, ("nf4", "int8"))]
    [True, True]
    """
    from adjoint.arrays.numpy import storage_kernels as kernels

    tops = np.empty(-(-x.size // BLOCK), np.float32)
    for start, exact in _pieces(x):
        part = single(exact.reshape(-1))
        kernels.largest(part, BLOCK, tops[start // BLOCK :][: -(-part.size // BLOCK)])
    absmax, nested_absmax, offset = nested(tops)
    scale = scales(Quantized("nf4", x.shape, BLOCK, absmax=absmax, nested_absmax=nested_absmax, offset=offset), tops)
    bounds, order = between("nf4")
    levels = format_named("nf4").levels[order]
    low, high = (single(f(ends, 0.0)) for f, ends in ((np.minimum, lows), (np.maximum, highs)))
    nf4 = int8 = total = 0.0
    for start, exact in _pieces(x):
        part, own, rows = single(exact), slice(start // BLOCK, None), slice(start // x.shape[1], None)
        blocks = -(-part.size // BLOCK)
        nf4 += kernels.lost_to_levels(
            part.reshape(-1), exact.reshape(-1), BLOCK, tuple(bounds), tuple(levels), tops[own][:blocks], scale[own]
        )
        off, whole = kernels.lost_to_steps(part, exact, low[rows], high[rows], 255)
        int8, total = int8 + off, total + whole
    return math.sqrt(nf4 / total), math.sqrt(int8 / total)


def _pieces(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows that whole blocks of NF4 are made of, in float32 or float64, and the place of their first entry."""
    m, n = x.shape
    least = BLOCK // math.gcd(BLOCK, n)
    step = least * max(1, PIECE // (least * n))
    for start in range(0, m, step):
        part = x[start : start + step]
        yield start * n, np.ascontiguousarray(part) if part.dtype.char in "fd" else single(part)
