"""Without the matrix: the largest singular values and eigenvalues by Lanczos, ‖A‖_F by random products."""

from __future__ import annotations

import numpy as np

from adjoint.errors import SpectrumError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, pull, push
from adjoint.maps.records import Number, Values
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.spectrum import Factors

SKETCH, PROBES = 16, 48


def cheaper(map: LinearMap, k: int, vectors: bool = False) -> bool:
    """Whether k values cost less without the matrix, or the matrix cannot be had."""
    m, n = map.shape
    if k >= min(m, n):
        return False
    explicit = budget.svd_flops(m, n, vectors) if vectors else budget.values_flops(map)
    cost = budget.lanczos_flops(m, n, k)
    return not budget.affordable(m, n, vectors) or cost < budget.forming_flops(map) + explicit


def triplets(map: LinearMap, k: int) -> Factors:
    """The k largest singular triplets by Golub and Kahan's method: Lanczos on AᵀA or AAᵀ (ARPACK, by SciPy).

    U and V being orthonormal, k singular values lie within √(‖AV - UΣ‖² + ‖AᵀU - VΣ‖²) / √2 of those found (Parlett,
    The Symmetric Eigenvalue Problem, 11.5). That no larger one was missed is as good as certain: the start is random.
    """
    from scipy.sparse.linalg import ArpackError, svds

    m, n = map.shape
    eps = epsilon(map)
    if not np.any(_answer(map)):
        return Factors(np.eye(k, m), np.zeros(k), np.eye(k, n), np.zeros(k), "golub-kahan")
    try:
        u, s, v = svds(map.to_scipy(), k, tol=eps**0.75, rng=np.random.default_rng(0))
    except ArpackError as error:
        raise _unfinished(map, k, error) from None
    order = np.argsort(-s)
    left, values, right = u.T[order].astype(np.float64), s[order].astype(np.float64), v[order].astype(np.float64)
    forth = np.linalg.norm(push(map, right) - values[:, None] * left)
    back = np.linalg.norm(pull(map, left) - values[:, None] * right)
    bound = np.hypot(forth, back) / 2**0.5 + max(m, n) ** 0.5 * eps * values[0]
    return Factors(left, values, right, np.full(k, bound), "golub-kahan")


def eigenpairs(map: LinearMap, k: int) -> tuple[Values, np.ndarray]:
    """The k eigenvalues of a symmetric map that are largest in magnitude, by Lanczos, with vectors (k, n).

    There are k eigenvalues within ‖AV - VΛ‖ of those found, V being orthonormal.
    """
    from scipy.sparse.linalg import ArpackError, eigsh

    n, eps = map.shape[1], epsilon(map)
    if not np.any(_answer(map)):
        return Values(np.zeros(k), np.zeros(k), "lanczos", 0.0), np.eye(k, n)
    start = np.random.default_rng(0).standard_normal(n)
    try:
        found, v = eigsh(map.to_scipy(), k, v0=start, tol=eps**0.75)
    except ArpackError as error:
        raise _unfinished(map, k, error) from None
    order = np.argsort(-np.abs(found), kind="stable")
    values, rows = found[order].astype(np.float64), v.T[order].astype(np.float64)
    top = float(np.max(np.abs(values)))
    bound = float(np.linalg.norm(push(map, rows) - values[:, None] * rows)) + n**0.5 * eps * top
    return Values(values, np.full(k, bound), "lanczos", n * eps * top), rows


def frobenius(map: LinearMap) -> Number:
    """‖A‖_F by Hutch++ (Meyer et al. 2021): exact on a sketched part of the space, random signs on the rest."""
    _answer(map)
    n, rng = map.shape[1], np.random.default_rng(0)
    sketch = pull(map, push(map, rng.choice([-1.0, 1.0], (SKETCH, n))))
    basis = np.linalg.qr(sketch.T)[0].T
    signs = rng.choice([-1.0, 1.0], (PROBES, n))
    rest = signs - signs @ basis.T @ basis
    samples = np.sum(push(map, rest) ** 2, -1)
    square = float(np.sum(push(map, basis) ** 2) + np.mean(samples))
    error = 3.0 * float(np.std(samples, ddof=1)) / PROBES**0.5 + max(map.shape) ** 0.5 * epsilon(map) * square
    value = square**0.5
    return Number(value, value - max(square - error, 0.0) ** 0.5, "hutch++, 3 standard errors")


def _answer(map: LinearMap) -> np.ndarray:
    """The map's answer to a random vector; refuses NaN and infinity."""
    y = push(map, np.random.default_rng(0).standard_normal((1, map.shape[1])))
    if not np.isfinite(y).all():
        raise SpectrumError(f"{map!r} gives NaN or infinity, so it has no singular values: look where they arise.")
    return y


def _unfinished(map: LinearMap, k: int, error: Exception) -> SpectrumError:
    return SpectrumError(
        f"{map!r}: Lanczos did not find {k} values ({error}): ask for fewer, or raise budget's limits."
    )
