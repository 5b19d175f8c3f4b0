"""Which method finds the singular values of a map: structure first, then what costs least."""

from __future__ import annotations

import math

import numpy as np

from adjoint.errors import SpectrumError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, formed
from adjoint.maps.records import Number
from adjoint.maps.spectra import budget, lanczos
from adjoint.maps.spectra.spectrum import EPSILON, Spectrum, rounded, svd_error
from adjoint.maps.spectra.structure import structure

IN_PLACE = 2048  # rows of a Gram matrix above which no copy of it is made


def spectrum(map: LinearMap, what: str, gram: bool = True) -> Spectrum:
    """All singular values; `gram` allows the Gram matrix where it serves, `what` is the question for the error."""
    found = structure(map, lambda part: spectrum(part, what, gram))
    if found is not None:
        return found
    m, n = map.shape
    if not budget.affordable(m, n):
        raise budget.refusal(map, what)
    matrix, error = formed(map)
    eps = epsilon(map)
    if gram and budget.gram_serves(map):
        values, bound = by_gram(matrix)
        return Spectrum((m, n), eps, values, bound + error, "gram in float64")
    values = np.linalg.svd(matrix, compute_uv=False)
    return Spectrum((m, n), eps, values, svd_error((m, n), values) + error, "svd")


def by_gram(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values, bound) from the eigenvalues of AᵀA or AAᵀ."""
    m, n = matrix.shape
    return of_gram(matrix.T @ matrix if n < m else matrix @ matrix.T, max(m, n))


def of_gram(gram: np.ndarray, longer: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, bound) of A from its smaller Gram matrix in float64, a sum of `longer` products; a large one is lost.

    An error d of σ² is one of d / σ, but at most √d, of σ.
    """
    if len(gram) > IN_PLACE:
        from scipy.linalg import eigvalsh

        squares = eigvalsh(gram.T, overwrite_a=True, check_finite=False)[::-1].clip(0.0)
    else:
        squares = np.linalg.eigvalsh(gram)[::-1].clip(0.0)
    values = np.sqrt(squares)
    off = longer**0.5 * EPSILON * float(np.sum(squares))
    return values, np.minimum(off**0.5, off / np.maximum(values, np.finfo(np.float64).tiny))


def leading(map: LinearMap, k: int) -> Spectrum:
    """A spectrum whose k largest values are right, the others may be missing."""
    found = structure(map, lambda part: leading(part, k))
    if found is not None:
        return found
    return lanczos.triplets(map, k).spectrum(map) if lanczos.cheaper(map, k) else spectrum(map, f"svdvals({k})")


def frobenius(map: LinearMap) -> Number:
    """‖A‖_F by structure, from the entries, or estimated where the matrix is too large."""
    try:
        found = structure(map, lambda part: spectrum(part, "frobenius()"))
    except SpectrumError:
        found = None
    if found is not None:
        return found.frobenius()
    m, n = map.shape
    if 8.0 * m * n > budget.MATRIX_BYTES or budget.forming_flops(map) > budget.MATRIX_FLOPS:
        return lanczos.frobenius(map)
    matrix, error = formed(map)
    top = float(np.max(np.abs(matrix), initial=0.0))
    value = top * math.sqrt(float(np.sum((matrix / top) ** 2))) if top else 0.0
    return Number(value, rounded(m * n) * value + error, "entries")
