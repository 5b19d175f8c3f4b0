"""Singular vectors and eigenvectors, from the matrix or from the parts of a map; kernel and image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from adjoint.maps.algebra import Composition, Kronecker
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.elementary import Diagonal
from adjoint.maps.flat import epsilon, formed, numbers
from adjoint.maps.matrices import LowRank
from adjoint.maps.records import Count, Values
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.spectrum import EPSILON, Factors, Spectrum, product_error, svd_error
from adjoint.maps.spectra.structure import structure, waist
from adjoint.maps.spectra.values import spectrum
from adjoint.program import Trees


def factors(map: LinearMap, what: str) -> Factors:
    """The thin SVD; thinner still for a map with a narrow waist."""
    if isinstance(map, Trees):
        return factors(map.map, what)
    if isinstance(map, Adjoint):
        f = factors(map.map, what)
        return Factors(f.right, f.values, f.left, f.bound, f.method)
    m, n = map.shape
    if isinstance(map, (LowRank, Composition)) and (found := waist(map)) is not None:
        return _narrow(*found)
    if not budget.affordable(m, n, vectors=True):
        raise budget.refusal(map, what)
    if isinstance(map, Kronecker):
        return _kronecker(factors(map.left, what), factors(map.right, what))
    matrix, error = formed(map)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return Factors(u.T, s, v, svd_error((m, n), s) + error, "svd")


def _narrow(left: np.ndarray, right: np.ndarray, error: float) -> Factors:
    (q, r), (p, s) = np.linalg.qr(left), np.linalg.qr(right.T)
    u, values, v = np.linalg.svd(r @ s.T)
    bound = error + svd_error((len(left), right.shape[1]), values)
    return Factors((q @ u).T, values, v @ p.T, bound, "svd of the factors")


def _kronecker(a: Factors, b: Factors) -> Factors:
    values = np.outer(a.values, b.values).ravel()
    bound = product_error(a.values, a.bound, b.values, b.bound).ravel()
    order = np.argsort(-values, kind="stable")
    return Factors(np.kron(a.left, b.left)[order], values[order], np.kron(a.right, b.right)[order], bound[order], "svd of the factors")


class Basis(NamedTuple):
    """Orthonormal rows (d, n), the rank they come from, and how much of the map they let through or miss."""

    rows: np.ndarray
    count: Count
    bound: float


def kernel(map: LinearMap, tol: float | None) -> Basis:
    """The right singular vectors whose values count as zero, and what is orthogonal to all of them."""
    m, n = map.shape
    found = structure(map, lambda part: spectrum(part, "kernel()"))
    if found is not None and (rank := found.rank(tol)) in (0, n):
        return Basis(_units(map, n, np.full(n, rank < n)), rank, found.dropped(rank.tolerance))
    if isinstance(map, Diagonal):
        rank = Spectrum.of(map, np.abs(numbers(map.d)).ravel()).rank(tol)
    ...
