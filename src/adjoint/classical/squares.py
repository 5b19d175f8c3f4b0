"""Least squares and ridge: the point where the gradient Aᵀ(A x - b) + α x vanishes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from adjoint.classical.design import as_map, back, element, forth, target
from adjoint.maps.base import LinearMap
from adjoint.maps.elementary import Scale
from adjoint.maps.flat import epsilon, formed
from adjoint.maps.spectra import budget

MACHINE = 2.0**-52
METHODS = ("svd", "cholesky", "lsqr", "cg")


class Minimum(NamedTuple):
    """Where a convex function is smallest: `x`, of the design's input space, how it was found, and how certain it is.

    `gradient` is the norm of the gradient that is left at x, `tolerance` the one that was asked for; `bound` is how far
    x may be from the minimum (for `lasso`: the objective from the smallest), infinite where no bound is known;
    `iterations` is 0 for closed forms.

    >>> import numpy as np, adjoint as aj
    >>> aj.least_squares(np.array([[1.0], [1.0]]), np.array([1.0, 3.0])).x
    array([2.])
    """

    x: Any
    method: str
    gradient: float
    tolerance: float
    bound: float
    iterations: int


def least_squares(A: Any, b: Any, method: str | None = None) -> Minimum:
    """The shortest x that makes ‖A x - b‖² smallest, where Aᵀ(A x - b) = 0 (the normal equations).

    A is a matrix (examples, features), a SciPy matrix, or any `LinearMap`; b an element of its output space. `method`
    is "svd" or "lsqr" (matrix-free; Paige & Saunders 1982), chosen by the cost of forming A where None. Singular
    values up to σ₁·max(m, n) times the spacing of the design's numbers count as zero.

    >>> import numpy as np, adjoint as aj
    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> fit = aj.least_squares(A, np.array([1.0, 3.0, 5.0]))
    >>> np.round(fit.x, 12).tolist(), fit.method
    ([1.0, 2.0], 'svd')
    """
    return _squares("least_squares", A, b, 0.0, method, ("svd", "lsqr"))


def ridge(A: Any, b: Any, alpha: float, method: str | None = None) -> Minimum:
    """The x that makes ‖A x - b‖² + α‖x‖² smallest, where Aᵀ(A x - b) + α x = 0; α > 0.

    `method` is "cholesky" (of AᵀA + αI, or of AAᵀ + αI where that is smaller), "svd", "lsqr" or "cg" (both
    matrix-free); None takes Cholesky where it keeps half the digits, SVD elsewhere, LSQR where A is too large to form.
    The function is α-convex, so that ‖x - x*‖ ≤ ‖gradient‖/α.

    >>> import numpy as np, adjoint as aj
    >>> fit = aj.ridge(np.eye(2), np.array([2.0, 4.0]), alpha=1.0)
    >>> fit.x.tolist(), fit.method
    ([1.0, 2.0], 'cholesky')
    """
    if not alpha > 0.0 or not math.isfinite(alpha):
        raise ValueError(f"ridge: alpha is a positive number, not {alpha}; for none use aj.least_squares.")
    return _squares("ridge", A, b, float(alpha), method, METHODS)


def _squares(name: str, A: Any, b: Any, alpha: float, method: str | None, methods: tuple[str, ...]) -> Minimum:
    A = as_map(name, A)
    y = target(name, A, b)
    if method is not None and method not in methods:
        raise ValueError(f"{name}: method is one of {', '.join(map(repr, methods))}, not {method!r}.")
    if method is None and not budget.affordable(A.shape[0], A.shape[1], vectors=True):
        method = "lsqr"
    solved = _iterated(A, y, alpha, method) if method in ("lsqr", "cg") else _closed(A, y, alpha, method)
    x, how, tolerance, least, iterations = solved
    residual = forth(A, x) - y
    gradient = float(np.linalg.norm(back(A, residual) + alpha * x))
    bound = gradient / least if least else math.inf
    return Minimum(element(A, x), how, gradient, tolerance, bound, iterations)


def _closed(A: LinearMap, y: np.ndarray, alpha: float, method: str | None) -> tuple[np.ndarray, str, float, float, int]:
    """x, the method, 0.0, the least curvature of the function where x may lie, and 0 iterations."""
    matrix, _ = formed(A)
    m, n = matrix.shape
    if method is None:
        condition = 1.0 + float(np.linalg.norm(matrix)) ** 2 / alpha if alpha else math.inf
        method = "cholesky" if condition * MACHINE < MACHINE**0.5 else "svd"
    if method == "cholesky":
        return _normal_equations(matrix, y, alpha), method, 0.0, alpha, 0
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    rank = len(s) if alpha else int(np.sum(s > max(m, n) * epsilon(A) * s.max(initial=0.0)))
    u, s, vh = u[:, :rank], s[:rank], vh[:rank]
    x = ((y @ u) * s / (s * s + alpha)) @ vh
    return x, method, 0.0, alpha + (float(s[-1]) ** 2 if rank else 0.0), 0


def _normal_equations(matrix: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    m, n = matrix.shape
    wide = m < n
    gram = matrix @ matrix.T if wide else matrix.T @ matrix
    gram[np.diag_indices_from(gram)] += alpha
    factor = cho_factor(gram, overwrite_a=True)
    return matrix.T @ cho_solve(factor, y) if wide else np.asarray(cho_solve(factor, matrix.T @ y))


def _iterated(A: LinearMap, y: np.ndarray, alpha: float, method: str) -> tuple[np.ndarray, str, float, float, int]:
    """x, the method, the tolerance on the gradient, the least curvature that is known, and the iterations."""
    from scipy.sparse.linalg import cg, lsqr

    digits = max(epsilon(A), 1e-14)
    operator, limit = A.to_scipy(), 10 * min(A.shape) + 100
    if method == "lsqr":
        x, _, iterations, _, residual, norm, *_ = lsqr(operator, y, alpha**0.5, digits, digits, 0.0, limit)
        return x, method, digits * float(norm) * float(residual), alpha, int(iterations)
    count = 0

    def counted(_: np.ndarray) -> None:
        nonlocal count
        count += 1

    right = back(A, y)
    equations = (A.T @ A + Scale(alpha, A.in_shape)).to_scipy()
    x, _ = cg(equations, right, rtol=digits, maxiter=limit, callback=counted)
    return np.asarray(x, float), method, digits * float(np.linalg.norm(right)), alpha, count
