"""LAPACK through NumPy, and through SciPy what NumPy lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.arrays import linalg

det = np.linalg.det


def checked(name: str, f: Callable[..., Any], x: Any, *rest: Any) -> Any:
    """f, its failure on a matrix that fits explained."""
    try:
        return f(x, *rest)
    except np.linalg.LinAlgError:
        if x.ndim < 2 or (x.shape[-1] != x.shape[-2] and name != "svd"):
            raise
        raise linalg.failure(name, x) from None


def solve(a: Any, b: Any) -> Any:
    return checked("solve", np.linalg.solve, a, b)


def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    if not left:
        x = solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular)
        return x.mT
    if a.ndim == b.ndim == 2 and a.size and b.size:
        from scipy.linalg import solve_triangular as one

        return checked(
            "solve_triangular", lambda a: one(a, b, lower=not upper, unit_diagonal=unitriangular, check_finite=False), a
        )
    triangle = np.triu(a, int(unitriangular)) if upper else np.tril(a, -int(unitriangular))
    if unitriangular:
        triangle = triangle + np.eye(a.shape[-1], dtype=a.dtype)
    return checked("solve_triangular", np.linalg.solve, triangle, b)


def inv(x: Any) -> Any:
    return checked("inv", np.linalg.inv, x)


def cholesky(x: Any) -> Any:
    return checked("cholesky", np.linalg.cholesky, linalg.symmetric_part(x))


def qr(x: Any) -> Any:
    return linalg.QR(*np.linalg.qr(x))


def svd(x: Any) -> Any:
    return linalg.signed_svd(*checked("svd", lambda x: np.linalg.svd(x, full_matrices=False), x))


def svdvals(x: Any) -> Any:
    return checked("svd", lambda x: np.linalg.svd(x, compute_uv=False), x)


def eigh(x: Any) -> Any:
    return linalg.signed_eigh(*checked("eigh", np.linalg.eigh, linalg.symmetric_part(x)))


def eigvalsh(x: Any) -> Any:
    return checked("eigh", np.linalg.eigvalsh, linalg.symmetric_part(x))


def slogdet(x: Any) -> Any:
    return linalg.SignedLog(*np.linalg.slogdet(x))


def matrix_exp(x: Any) -> Any:
    from scipy.linalg import expm

    return expm(x) if x.size else np.array(x)
