"""What explicit linear algebra costs, and how much of it is done without being told to."""

from __future__ import annotations

import math

from adjoint.errors import SpectrumError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon
from adjoint.maps.matrices import Dense

MATRIX_BYTES = 1 << 30  # the largest float64 array that is formed: 11,585 × 11,585 numbers
MATRIX_FLOPS = 1e12  # about a minute of LAPACK's decompositions on two cores
VECTOR_PENALTY = 8.0  # a product with one vector runs at an eighth of a matrix product's speed
NARROW = 1e-8  # the spacing of numbers above which a Gram matrix in float64 serves; float32's is 1.2e-7
GRAM_SIZE = 64  # below this an SVD takes no longer than its call
LARGEST = "norm(), svdvals(k), svd(k), frobenius() and stable_rank() work without it"


def svd_flops(m: int, n: int, vectors: bool = False) -> float:
    """Of LAPACK's SVD of an m×n matrix (Golub & Van Loan, Matrix Computations, 8.6)."""
    k, big = min(m, n), max(m, n)
    return (6.0 * big * k + 20.0 * k * k) * k if vectors else 4.0 * big * k * k - 4.0 / 3.0 * k**3


def gram_serves(map: LinearMap) -> bool:
    """Whether the Gram matrix in float64 sees all that the map's own, coarser numbers can tell."""
    return epsilon(map) > NARROW and min(map.shape) > GRAM_SIZE


def values_flops(map: LinearMap) -> float:
    """Of the singular values alone, by the eigenvalues of AᵀA or AAᵀ where they serve."""
    k, big = min(map.shape), max(map.shape)
    return big * k**2 + 4.0 / 3.0 * k**3 if gram_serves(map) else svd_flops(k, big)


def forming_flops(map: LinearMap) -> float:
    """Of forming the matrix by applying the map to a basis, as if it were dense."""
    m, n = map.shape
    return 0.0 if isinstance(map, Dense) else 2.0 * m * n * min(m, n)


def lanczos_flops(m: int, n: int, k: int) -> float:
    """Of k singular triplets without the matrix: both directions on some 60 vectors and 20 more for each."""
    return (60.0 + 20.0 * k) * 4.0 * m * n * VECTOR_PENALTY


def affordable(m: int, n: int, vectors: bool = False, count: int = 1) -> bool:
    """Whether `count` m×n matrices may be formed and decomposed."""
    numbers = m * n + (min(m, n) * (m + n) if vectors else 0)
    return 8.0 * count * numbers <= MATRIX_BYTES and count * svd_flops(m, n, vectors) <= MATRIX_FLOPS


def refusal(map: LinearMap, what: str, remedy: str = LARGEST) -> SpectrumError:
    """The error for a question that only a matrix too large to form could answer for certain."""
    m, n = map.shape
    return SpectrumError(
        f"{what} of {map!r} cannot be certified without its matrix; {m:,} × {n:,}, it would take "
        f"{in_words(8.0 * m * n)} and {svd_flops(m, n):.1e} FLOPs, above the limits in adjoint.maps.spectra.budget "
        f"({in_words(MATRIX_BYTES)}, {MATRIX_FLOPS:.1e}); {remedy}."
    )


def in_words(count: float) -> str:
    """A number of bytes with its unit.

    >>> in_words(3 * 2**30)
    '3 GiB'
    """
    power = min(int(math.log2(max(count, 1.0)) // 10), 4)
    return f"{count / 1024.0**power:.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
