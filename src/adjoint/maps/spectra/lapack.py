"""BLAS and LAPACK without the interpreter's lock, which SciPy's wrappers keep: threads run at the same time.

NumPy's own OpenBLAS where its wheel brings it, so that SciPy, a sixth of a second, is not imported; else SciPy's.
Eigenvalues of larger matrices are MKL's where it is installed.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from adjoint.arrays.numpy import mkl
from adjoint.arrays.numpy.threads import blas

PANEL = 16  # columns of a thin or small matrix that are reduced together; LAPACK's own 32 are 6 % slower
IN_CACHE = 1024  # rows of a symmetric matrix up to which this is so
BANDED = 512  # rows of a symmetric matrix from which the way by a band is faster, twice at 1,600


@functools.cache
def numpys() -> Any:
    """NumPy's own OpenBLAS, whose whole numbers have 64 bits; None where NumPy has another library."""
    library = blas()
    if library is None:
        return None
    found = ctypes.CDLL(library.filepath)
    return found if hasattr(found, "scipy_dsyrk_64_") and hasattr(found, "scipy_dgeqrt_64_") else None


@functools.cache
def routine(library: str, name: str, arguments: int) -> Callable[..., None]:
    """A routine, all of whose arguments are places in memory: NumPy's, or that of `cython_blas` or `cython_lapack`."""
    made: Callable[..., None]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)
    if (own := numpys()) is not None:
        made = kind((f"scipy_{name}_64_", own))
        return made
    capsule = import_module(f"scipy.linalg.{library}").__pyx_capi__[name]
    api: Any = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    place_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    made = kind(place_of(capsule, name_of(capsule)))
    return made


def _number(n: int = 0) -> Any:
    return (ctypes.c_int if numpys() is None else ctypes.c_int64)(n)


def _whole(n: int) -> Any:
    return ctypes.byref(_number(n))


def add_gram(gram: np.ndarray, block: np.ndarray) -> None:
    """Add blockᵀ block to the upper triangle of `gram`, both float64 and contiguous, in place.

    >>> gram = np.zeros((2, 2))
    >>> add_gram(gram, np.array([[1.0, 2.0], [0.0, 1.0]]))
    >>> gram.tolist()
    [[1.0, 2.0], [0.0, 5.0]]
    """
    rows, n = block.shape
    turned = block.flags.c_contiguous  # to Fortran a matrix in C's order is its transpose
    one = ctypes.byref(ctypes.c_double(1.0))
    routine("cython_blas", "dsyrk", 10)(
        b"L", b"N" if turned else b"T", _whole(n), _whole(rows), one, block.ctypes.data,
        _whole(max(1, n if turned else rows)), one, gram.ctypes.data, _whole(max(1, n)),
    )  # fmt: skip


def triangles(columns: np.ndarray) -> np.ndarray:
    """Rᵀ (h, n, min(m, n)) of the QR decompositions of h matrices (m, n) of which `columns` (h, n, m) are the columns.

    `columns`, float64 and contiguous, are overwritten. Householder's method as in `numpy.linalg.qr`, but by products of
    matrices within the panels, too (LAPACK's dgeqrt), twice as fast for thin ones. The signs of rows of R are anyone's.

    >>> R = triangles(np.array([[[3.0, 4.0], [3.0, 4.0]]]))[0].T
    >>> abs(R).round(12).tolist()
    [[5.0, 5.0], [0.0, 0.0]]
    """
    _, n, m = columns.shape
    panel, told = min(PANEL, m, n), _number()
    reflectors, room = np.empty((min(m, n), panel)), np.empty(panel * n)
    for one in columns:
        routine("cython_lapack", "dgeqrt", 9)(
            _whole(m), _whole(n), _whole(panel), one.ctypes.data, _whole(m), reflectors.ctypes.data, _whole(panel),
            room.ctypes.data, ctypes.byref(told),
        )  # fmt: skip
    return np.tril(columns[:, :, : min(m, n)])


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """The eigenvalues of a symmetric float64 matrix by its upper triangle, in rising order; it is overwritten.

    What LAPACK's drivers do when no vectors are wanted, without their copies. Raises LinAlgError where they do not
    converge.

    >>> eigenvalues(np.array([[2.0, 1.0], [0.0, 2.0]])).round(12).tolist()
    [1.0, 3.0]
    """
    n = len(matrix)
    values, beside, tau, best = np.empty(n), np.empty(max(1, n - 1)), np.empty(max(1, n - 1)), np.empty(1)
    matrix, told = np.ascontiguousarray(matrix), ctypes.c_int64()
    if n >= BANDED and mkl.path is not None and hasattr(mkl.loaded(), "dsyevd_2stage_"):
        return converged(by_a_band(matrix, values, told), told)
    reduce = routine("cython_lapack", "dsytrd", 10)

    def reduced(room: np.ndarray, size: int) -> None:
        reduce(
            b"L", _whole(n), matrix.ctypes.data, _whole(max(1, n)), values.ctypes.data, beside.ctypes.data,
            tau.ctypes.data, room.ctypes.data, _whole(size), ctypes.byref(told),
        )  # fmt: skip

    reduced(best, -1)  # asks how much room serves best
    most = PANEL * n if n <= IN_CACHE else int(best[0])  # room is for a panel
    reduced(np.empty(most), most)
    routine("cython_lapack", "dsterf", 4)(_whole(n), values.ctypes.data, beside.ctypes.data, ctypes.byref(told))
    return converged(values, told)


def by_a_band(matrix: np.ndarray, values: np.ndarray, told: Any) -> np.ndarray:
    """`eigenvalues` by MKL, whose products of matrices reduce it to a band first, and that to three diagonals."""
    n = _whole(len(values))
    solve = mkl.loaded().dsyevd_2stage_
    solve.argtypes, solve.restype = [ctypes.c_char_p] * 2 + [ctypes.c_void_p] * 9, None
    room, whole = np.empty(1), np.zeros(1, np.int64)

    def solved(size: int, wholes: int) -> None:
        solve(b"N", b"L", n, matrix.ctypes.data, n, values.ctypes.data, room.ctypes.data, _whole(size),
              whole.ctypes.data, _whole(wholes), ctypes.byref(told))  # fmt: skip

    solved(-1, -1)  # asks how much room serves best
    room, whole = np.empty(int(room[0])), np.zeros(max(1, int(whole[0])), np.int64)
    solved(len(room), len(whole))
    return values


def converged(values: np.ndarray, told: Any) -> np.ndarray:
    """The values; raises LinAlgError where LAPACK told that some are none."""
    if told.value:
        raise np.linalg.LinAlgError(f"{told.value} eigenvalues of a matrix of {len(values)} rows did not converge")
    return values
