"""The seam's linear algebra: systems, factorizations, determinants of matrices (…, n, n); leading axes are a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import Array, composition, is_floating, primitive
from adjoint.arrays.layout import expand_dims, eye, swapaxes, take_along
from adjoint.arrays.products import matmul
from adjoint.arrays.reductions import argmax, max, prod
from adjoint.errors import SpectrumError


class QR(NamedTuple):
    """A = Q R: `Q` (…, m, k) with orthonormal columns, `R` (…, k, n) upper triangular, k = min(m, n)."""

    Q: Array
    R: Array


class Factors(NamedTuple):
    """A = U diag(S) Vh: `U` (…, m, k), `S` (…, k) largest first, `Vh` (…, k, n), k = min(m, n)."""

    U: Array
    S: Array
    Vh: Array


class Eigh(NamedTuple):
    """A = V diag(λ) Vᵀ: `eigenvalues` (…, n) smallest first, `eigenvectors` (…, n, n) the columns of V."""

    eigenvalues: Array
    eigenvectors: Array


class SignedLog(NamedTuple):
    """det A = sign · exp(logabsdet), both (…)."""

    sign: Array
    logabsdet: Array


# Systems


@primitive
def solve(a: Array, b: Array, /) -> Array:
    """A⁻¹ b: the x with A x = b; a (…, n, n), b (n,) or (…, n, k), result of b's kind.

    Raises `SpectrumError` where A is singular (infinity or NaN on JAX and under `jit`).

    >>> import numpy as np, adjoint as aj
    >>> aj.solve(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0])).tolist()
    [1.0, 2.0]
    """


@primitive
def solve_triangular(a: Array, b: Array, /, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    """A⁻¹ B, or B A⁻¹ for left=False, of a triangular A (…, n, n): the other triangle is not read.

    B (…, n, k), or (…, k, n) for left=False; `unitriangular` takes the diagonal for ones.

    >>> import numpy as np, adjoint as aj
    >>> L = np.array([[2.0, 9.0], [1.0, 1.0]])
    >>> aj.solve_triangular(L, np.array([[2.0], [3.0]]), upper=False).tolist()
    [[1.0], [2.0]]
    """


@primitive
def inv(x: Array, /) -> Array:
    """The inverse A⁻¹ of (…, n, n), with derivative dA ↦ -A⁻¹ dA A⁻¹; A⁻¹ b is better asked of `solve`.

    Raises `SpectrumError` where A is singular (infinity or NaN on JAX and under `jit`).

    >>> import numpy as np, adjoint as aj
    >>> aj.inv(np.array([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """


@composition
def pinv(x: Array, /) -> Array:
    """The pseudo-inverse A⁺ (…, n, m) of (…, m, n); A⁺ b is the shortest of the x that make ‖A x - b‖ smallest.

    Singular values up to the largest times max(m, n) times the dtype's spacing at 1 count as zero. The derivative is
    that at constant rank (Golub & Pereyra 1973).

    >>> import numpy as np, adjoint as aj
    >>> np.round(aj.pinv(np.array([[1.0], [1.0]])), 12).tolist()
    [[0.5, 0.5]]
    """
    u, s, vh = svd(x)
    if not math.prod(x.shape[-2:]):
        return matmul(swapaxes(vh, -1, -2), swapaxes(u, -1, -2))
    kept = pw.greater(s, spacing(x) * sorted(x.shape[-2:])[1] * max(s, -1, True))
    inverse = el.where(kept, 1.0 / el.where(kept, s, 1.0), 0.0)
    return matmul(swapaxes(vh, -1, -2) * expand_dims(inverse, -2), swapaxes(u, -1, -2))


# Factorizations


@primitive
def cholesky(x: Array, /) -> Array:
    """The lower triangular L with A = L Lᵀ, of the symmetric part of (…, n, n).

    Raises `SpectrumError` where that is not positive definite (NaN on JAX and under `jit`).

    >>> import numpy as np, adjoint as aj
    >>> aj.cholesky(np.array([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """


@primitive
def qr(x: Array, /) -> Any:
    """(Q, R) with A = Q R, reduced: (…, m, n) gives Q (…, m, k), R (…, k, n), k = min(m, n).

    The derivative asks for linearly independent columns (the first k), else it is infinite or NaN, as in PyTorch.

    >>> import numpy as np, adjoint as aj
    >>> Q, R = aj.qr(np.array([[3.0, 1.0], [4.0, 2.0]]))
    >>> np.round(Q @ R, 12).tolist()
    [[3.0, 1.0], [4.0, 2.0]]
    """


@primitive
def svd(x: Array, /) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh, reduced: (…, m, n) gives (…, m, k), (…, k), (…, k, n), k = min(m, n).

    The first of the (nearly) largest entries of every left singular vector is positive, so that vectors are the same
    on all backends. Where singular values are equal the derivative of the vectors does not exist: infinity or NaN, as
    in PyTorch; that of `svdvals` is finite there (Townsend 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.svd(np.array([[0.0, 2.0], [3.0, 0.0]])).S.tolist()
    [3.0, 2.0]
    """


@composition
def svdvals(x: Array, /) -> Array:
    """The singular values (…, k) of (…, m, n), largest first, with derivatives uᵢᵀ dA vᵢ.

    >>> import numpy as np, adjoint as aj
    >>> aj.svdvals(np.array([[0.0, 2.0], [3.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    return svd(x).S


@primitive
def eigh(x: Array, /) -> Any:
    """(eigenvalues, eigenvectors) of the symmetric part of (…, n, n), smallest first; vectors are orthonormal columns.

    Signs are fixed as in `svd`. Where eigenvalues are equal the derivative of the vectors does not exist: infinity or
    NaN, as in PyTorch; that of `eigvalsh` is finite there (Giles 2008).

    >>> import numpy as np, adjoint as aj
    >>> w, V = aj.eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> w, V
    (array([1., 3.]), array([[ 0.7071,  0.7071],
           [-0.7071,  0.7071]]))
    """


@composition
def eigvalsh(x: Array, /) -> Array:
    """The eigenvalues (…, n) of the symmetric part of (…, n, n), smallest first, with derivatives vᵢᵀ dA vᵢ.

    >>> import numpy as np, adjoint as aj
    >>> aj.eigvalsh(np.array([[2.0, 1.0], [1.0, 2.0]])).tolist()
    [1.0, 3.0]
    """
    return eigh(x).eigenvalues


# Determinants and the exponential


@primitive
def slogdet(x: Array, /) -> Any:
    """(sign, log|det A|) of (…, n, n), both (…); the gradient of log|det A| is A⁻ᵀ.

    >>> import numpy as np, adjoint as aj
    >>> sign, size = aj.slogdet(np.array([[0.0, 2.0], [3.0, 0.0]]))
    >>> float(sign), float(size)
    (-1.0, 1.7918)
    """


@composition
def logdet(x: Array, /) -> Array:
    """log det A of (…, n, n): -inf where A is singular, NaN where det A < 0.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.logdet(np.array([[2.0, 0.0], [0.0, 3.0]])))
    1.7918
    """
    sign, size = slogdet(x)
    return el.where(pw.less(sign, 0.0), math.nan, size)


@primitive
def det(x: Array, /) -> Array:
    """det A of (…, n, n): (…); the gradient is the matrix of cofactors, right where A is singular too.

    >>> import numpy as np, adjoint as aj
    >>> A = np.array([[0.0, 2.0], [0.0, 0.0]])
    >>> float(aj.det(A)), np.round(aj.grad(aj.det)(A), 12).tolist()
    (0.0, [[0.0, 0.0], [-2.0, 0.0]])
    """


@composition
def cofactors(x: Array, /) -> Array:
    """The matrix of cofactors (…, n, n), det(A) A⁻ᵀ where A is regular: det(U Vh) U diag(∏_{j≠i} sⱼ) Vh."""
    u, s, vh = svd(x)
    others = prod(el.where(eye(s, s.shape[-1], "bool"), 1.0, expand_dims(s, -2)), -1)
    turned = slogdet(matmul(u, vh)).sign
    return matmul(u * expand_dims(expand_dims(turned, -1) * others, -2), vh)


@primitive
def matrix_exp(x: Array, /) -> Array:
    """exp A = Σ Aᵏ/k! of (…, n, n) (Al-Mohy & Higham 2009).

    >>> import numpy as np, adjoint as aj
    >>> np.round(aj.matrix_exp(np.array([[0.0, 1.0], [0.0, 0.0]])), 12).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """


# For the backends


def signs(vectors: Array) -> Array:
    """±1 for every column of (…, n, k), (…, 1, k): the sign of the first entry that is nearly its largest."""
    size = el.abs(vectors)
    first = argmax(pw.greater_equal(size, 0.99 * max(size, -2, True)), -2)
    return pw.sign(take_along(vectors, expand_dims(first, -2), -2))


def signed_svd(u: Array, s: Array, vh: Array) -> Factors:
    """The factors with signs fixed."""
    if not math.prod(u.shape):
        return Factors(u, s, vh)
    sign = signs(u)
    return Factors(u * sign, s, vh * swapaxes(sign, -1, -2))


def signed_eigh(values: Array, vectors: Array) -> Eigh:
    """The eigenvectors with signs fixed."""
    return Eigh(values, vectors * signs(vectors) if math.prod(vectors.shape) else vectors)


def symmetric_part(x: Array) -> Array:
    """(A + Aᵀ)/2."""
    return 0.5 * (x + swapaxes(x, -1, -2))


def spacing(x: Array) -> float:
    """The spacing at 1 of x's dtype, or of float64 where x has integers."""
    return float(np.finfo(str(x.dtype).rpartition(".")[2] if is_floating(x.dtype) else "float64").eps)


def failure(name: str, matrices: np.ndarray) -> SpectrumError:
    """The error for square matrices that LAPACK gave up on: which of them, and what is wrong with it."""
    shape = matrices.shape
    if not np.isfinite(matrices).all():
        return SpectrumError(f"{name}: the operand {shape} has NaN or infinite entries: look where they arise.")
    if name == "cholesky":
        least = np.linalg.eigvalsh(0.5 * (matrices + np.swapaxes(matrices, -1, -2)))[..., 0]
        return SpectrumError(
            f"{name}: {_which(shape, least == least.min())} is not positive definite, its smallest eigenvalue is "
            f"{least.min():.2g}: add a multiple of the identity, or use aj.eigh."
        )
    if name in ("svd", "eigh"):
        return SpectrumError(f"{name}: LAPACK's iteration did not converge for the operand {shape}: rescale it.")
    singular = _which(shape, np.linalg.slogdet(matrices)[0] == 0.0)
    return SpectrumError(f"{name}: {singular} is singular: use aj.pinv, or add a multiple of the identity.")


def _which(shape: tuple[int, ...], bad: np.ndarray) -> str:
    place = np.argwhere(bad)[0].tolist() if len(shape) > 2 and bad.any() else None
    return f"the matrix {shape}" if place is None else f"matrix {place} of the batch {shape}"
