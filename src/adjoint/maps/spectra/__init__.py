"""Spectral questions on any map: by structure, by the matrix, or without it; each answer says which, and how certain.

| method | what is done | error |
|---|---|---|
| structure | closed forms: identity, diagonal, gather, Kronecker product, block diagonal … | none, or rounding |
| svd | LAPACK's SVD of the matrix in float64 | √max(m, n) · ε · σ₁, and the rounding of the matrix |
| fft | one small matrix a frequency, of a convolution with circular padding (Sedghi et al. 2018) | rounding |
| svd of the factors, of the blocks | the same of narrow factors or of diagonal blocks | the same |
| gram | eigenvalues of AᵀA in float64, for narrower numbers: nothing below √ε · σ₁ is seen | value by value |
| golub-kahan | Lanczos on products with A and Aᵀ, for the largest values | ‖Av - σu‖ and ‖Aᵀu - σv‖ |
| hutch++ | products with random vectors, for ‖A‖_F | three standard errors |

What needs a matrix that is too large (see `budget`) is refused with `SpectrumError`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.errors import ShapeError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import moved
from adjoint.maps.records import SVD, Count, Eigen, Number, Values
from adjoint.maps.spaces import Space
from adjoint.maps.spectra import lanczos, values, vectors
from adjoint.maps.spectra.inversion import inverse as inverse
from adjoint.maps.spectra.spectrum import stable_rank_of
from adjoint.maps.subspaces import Subspace


def rank(map: LinearMap, tol: float | None = None) -> Count:
    """The number of singular values above the tolerance."""
    return values.spectrum(map, "rank()").rank(tol)


def nullity(map: LinearMap, tol: float | None = None) -> Count:
    """n - rank."""
    r = values.spectrum(map, "nullity()").rank(tol)
    return Count(map.shape[1] - r, r.tolerance, r.method, r.bound)


def svdvals(map: LinearMap, k: int | None = None) -> Values:
    """All singular values, or the k largest."""
    k = wanted(k)
    return (values.spectrum(map, "svdvals()") if k is None else values.leading(map, k)).listed(k)


def norm(map: LinearMap) -> Number:
    """σ₁."""
    return values.leading(map, 1).norm()


def frobenius(map: LinearMap) -> Number:
    """‖A‖_F."""
    return values.frobenius(map)


def stable_rank(map: LinearMap) -> Number:
    """‖A‖_F² / σ₁²."""
    return stable_rank_of(frobenius(map), norm(map))


def cond(map: LinearMap) -> Number:
    """σ₁ / σ_min."""
    return values.spectrum(map, "cond()", gram=False).cond()


def effective_rank(map: LinearMap) -> Number:
    """exp of the entropy of the singular values' shares."""
    return values.spectrum(map, "effective_rank()").effective_rank()


def svd(map: LinearMap, k: int | None = None) -> SVD:
    """Singular triplets, all or the k largest."""
    k = wanted(k)
    without = k is not None and lanczos.cheaper(map, k, vectors=True)
    found = lanczos.triplets(map, k) if k is not None and without else vectors.factors(map, "svd()")
    k = min(len(found.values), len(found.values) if k is None else k)
    S = found.spectrum(map).listed(k)
    return SVD(_elements(map, found.left[:k], False), S, _elements(map, found.right[:k], True))


def kernel(map: LinearMap, tol: float | None = None) -> Subspace:
    """An orthonormal basis of what the map sends to zero."""
    return _subspace(map, vectors.kernel(map, tol), map.in_shape, map.in_tree)


def image(map: LinearMap, tol: float | None = None) -> Subspace:
    """An orthonormal basis of what the map reaches."""
    return _subspace(map, vectors.image(map, tol), map.out_shape, map.out_tree)


def eig(map: LinearMap, k: int | None = None) -> Eigen:
    """Eigenvalues and eigenvectors, all or the k largest in magnitude."""
    if map.in_shape != map.out_shape:
        raise ShapeError(f"eig: only a map from a space to itself has eigenvectors, not {map!r}; see svd().")
    k = wanted(k)
    without = k is not None and "symmetric" in map.properties and lanczos.cheaper(map, k, vectors=True)
    record, rows = lanczos.eigenpairs(map, k) if k is not None and without else vectors.eigenpairs(map, k)
    return Eigen(record, _elements(map, rows, True))


def wanted(k: Any) -> int | None:
    """k, a positive whole number or None for all."""
    if k is not None and (not isinstance(k, (int, np.integer)) or k < 1):
        raise ValueError(f"k, the number of singular values or eigenvalues, is a whole number ≥ 1, not {k!r}.")
    return None if k is None else int(k)


def _elements(map: LinearMap, rows: Any, inputs: bool) -> Any:
    space, tree = (map.in_shape, map.in_tree) if inputs else (map.out_shape, map.out_tree)
    elements = moved(map, rows, space)
    return elements if tree is None else tree.tree(elements)


def _subspace(map: LinearMap, found: vectors.Basis, space: Space, tree: Any) -> Subspace:
    rows = moved(map, found.rows, (found.rows.shape[1],))
    return Subspace(rows, space, found.rank.tolerance, found.rank.method, found.bound, tree)
