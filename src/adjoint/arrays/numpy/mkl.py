"""Intel's MKL for the products of a thread that has a core to itself, where it is installed and the processor Intel's.

Its kernels run 10 to 20 % faster there than OpenBLAS's on operands that are not in the cache. `pip install
'adjoint[mkl]'` brings it; `ADJOINT_BLAS=default` leaves it alone. Products of all cores together stay NumPy's.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adjoint.arrays.numpy import threads

ROWS, PLAIN, TRANSPOSED, SEQUENTIAL = 101, 111, 112, 1  # CBLAS's and MKL's own numbers
WORTH = 1 << 15  # multiply-adds from which the way there is repaid


def library(prefix: str = sys.prefix) -> Path | None:
    """Where pip puts MKL; None where it is not, or not to be used."""
    if sys.platform != "linux" or os.environ.get("ADJOINT_BLAS") == "default" or not intel():
        return None
    return next(iter(sorted(Path(prefix, "lib").glob("libmkl_rt.so*"))), None)


def intel(path: str = "/proc/cpuinfo") -> bool:
    """Whether the processor is Intel's."""
    try:
        with open(path, "rb") as lines:
            return any(b"GenuineIntel" in line for line, _ in zip(lines, range(8), strict=False))
    except OSError:
        return False


@functools.cache
def products(path: Path) -> dict[type, tuple[Callable[..., None], int]]:
    """CBLAS's product for float32 and float64, and the bytes of a number."""
    mkl = ctypes.CDLL(str(path))
    mkl.MKL_Set_Threading_Layer(SEQUENTIAL)
    found: dict[type, tuple[Callable[..., None], int]] = {}
    for gemm, dtype, number in (
        (mkl.cblas_sgemm, np.float32, ctypes.c_float),
        (mkl.cblas_dgemm, np.float64, ctypes.c_double),
    ):
        whole, place = ctypes.c_int, ctypes.c_void_p
        gemm.argtypes = [whole] * 6 + [number, place, whole, place, whole, number, place, whole]
        gemm.restype = None
        found[dtype] = gemm, np.dtype(dtype).itemsize
    return found


def matmul_by(path: Path) -> Callable[[Any, Any], Any]:
    """NumPy's matmul, in which a thread with a core to itself takes MKL for large products of two matrices."""
    own = threads._own

    def matmul(x: Any, y: Any) -> Any:
        if not getattr(own, "share", False) or x.ndim != 2 or y.ndim != 2 or x.dtype != y.dtype:
            return np.matmul(x, y)
        (n, k), (inner, m) = x.shape, y.shape
        if n * k * m < WORTH or k != inner or x.dtype.type not in (known := products(path)):
            return np.matmul(x, y)
        gemm, itemsize = known[x.dtype.type]
        left, right = stride(x, itemsize), stride(y, itemsize)
        if left is None or right is None:
            return np.matmul(x, y)
        out = np.empty((n, m), x.dtype)
        gemm(ROWS, left[0], right[0], n, m, k, 1.0, x.ctypes.data, left[1], y.ctypes.data, right[1], 0.0,
             out.ctypes.data, m)  # fmt: skip
        return out

    return matmul


def stride(x: Any, itemsize: int) -> tuple[int, int] | None:
    """How CBLAS is told where a matrix's numbers lie; None where neither rows nor columns are in one piece."""
    (n, m), (down, along) = x.shape, x.strides
    if along == itemsize and down >= m * itemsize and not down % itemsize:
        return PLAIN, down // itemsize
    if down == itemsize and along >= n * itemsize and not along % itemsize:
        return TRANSPOSED, along // itemsize
    return None


_path = library()
matmul: Callable[[Any, Any], Any] = np.matmul if _path is None else matmul_by(_path)
