"""Products with packed matrices on NumPy: panels unpacked into the cache and multiplied, a thread a core."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays import quantized
from adjoint.arrays.numpy.gemm import matmul
from adjoint.arrays.numpy.threads import shared
from adjoint.arrays.numpy.updates import COMPILED, composed

PANEL = 1 << 18  # entries that are unpacked at a time: a core's cache has room for them


def quantized_linear(x: Any, weight: Any, transposed: bool = False) -> Any:
    n_out, n_in = quantized.fitting(x, weight, transposed)
    kernels_serve = isinstance(weight.codes, np.ndarray) and x.dtype.name in ("float32", "float64")
    if n_out * n_in < COMPILED or not kernels_serve:
        return composed(quantized.quantized_linear)(x, weight, transposed)
    unpack, flat = unpacking(weight), x.reshape(-1, x.shape[-1])
    inner, outer = (n_out, n_in) if transposed else (n_in, n_out)
    y = np.empty((len(flat), outer), x.dtype)

    def strips(start: int, stop: int) -> None:
        """Columns start to stop of y, from as many rows of W, or columns of it where it is transposed."""
        step = min(max(1, PANEL // inner), stop - start)
        room = np.empty(step * inner, np.float32)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            panel = room[: (b - a) * inner].reshape((inner, b - a) if transposed else (b - a, inner))
            unpack(a if transposed else a * n_in, panel, n_in)
            panel = panel.astype(x.dtype, copy=False)
            y[:, a:b] = matmul(flat, panel if transposed else panel.T)

    shared(strips, outer)
    return y.reshape(*x.shape[:-1], outer)


def unpacking(weight: Any) -> Any:
    """unpack(start, out, pitch): rows of a packed array's entries, in float32, written into the rows of `out`.

    Row r begins with entry start + r · pitch.
    """
    from adjoint.arrays.numpy import quantized_kernels as kernels

    form = quantized.format_named(weight.format)
    scale = quantized.scales(weight, weight.codes)
    zeros = np.zeros(len(scale), np.float32) if weight.zeros is None else weight.zeros.astype(np.float32)
    kernel = kernels.unpack4 if form.bits == 4 else kernels.unpack8

    def unpack(start: int, out: np.ndarray, pitch: int = 0) -> None:
        kernel(weight.codes, form.levels, zeros, scale, weight.width, weight.block, start, pitch, out)

    return unpack
