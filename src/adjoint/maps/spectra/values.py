"""Which method finds the singular values of a map: structure first, then what costs least."""

from __future__ import annotations

import math

import numpy as np

from adjoint.errors import SpectrumError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, formed
from adjoint.maps.records import Number
from adjoint.maps.spectra import budget, lanczos
from adjoint.maps.spectra.gram import by_gram
from adjoint.maps.spectra.spectrum import Spectrum, rounded, svd_error
from adjoint.maps.spectra.structure import structure


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
