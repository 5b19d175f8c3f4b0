"""Singular vectors and eigenvectors, from the matrix or from the parts of a map; kernel and image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from adjoint.errors import SpectrumError
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.combinations import Composition, Kronecker
from adjoint.maps.elementary import Diagonal
from adjoint.maps.flat import epsilon, formed, numbers
from adjoint.maps.matrices import LowRank
from adjoint.maps.records import Count, Values
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.spectrum import EPSILON, Factors, Spectrum, product_error, svd_error
from adjoint.maps.spectra.structure import structure, waist
from adjoint.maps.spectra.values import spectrum
from adjoint.program import Door


def factors(map: LinearMap, what: str) -> Factors:
    """The thin SVD; thinner still for a map with a narrow waist."""
    if isinstance(map, Door):
        return factors(map.verified(), what)
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
    left, right = np.kron(a.left, b.left)[order], np.kron(a.right, b.right)[order]
    return Factors(left, values[order], right, bound[order], "svd of the factors")


class Basis(NamedTuple):
    """Orthonormal rows (d, n), the rank they come from, and how much of the map they let through or miss."""

    rows: np.ndarray
    rank: Count
    bound: float


def kernel(map: LinearMap, tol: float | None) -> Basis:
    """The right singular vectors whose values count as zero, and what is orthogonal to all right ones."""
    n = map.shape[1]
    if (known := _coordinates(map, n, tol, "kernel()")) is not None:
        seen, rank, bound = known
        return Basis(_units(map, ~seen, "kernel()"), rank, bound)
    f = factors(map, "kernel()")
    s = f.spectrum(map)
    rank = s.rank(tol)
    rows = f.right[rank:]
    if len(f.right) < n:
        _room(map, n - rank, n, "kernel()")
        rest = np.linalg.qr(f.right.T, mode="complete")[0][:, len(f.right) :].T
        rows = np.concatenate([rows, rest])
    return Basis(rows, rank, s.dropped(rank.tolerance) + _blur(map, s))


def image(map: LinearMap, tol: float | None) -> Basis:
    """The left singular vectors whose values do not count as zero."""
    if (known := _coordinates(map, map.shape[0], tol, "image()")) is not None:
        reached, rank, bound = known
        return Basis(_units(map, reached, "image()"), rank, bound)
    f = factors(map, "image()")
    s = f.spectrum(map)
    rank = s.rank(tol)
    return Basis(f.left[:rank], rank, s.dropped(rank.tolerance) + _blur(map, s))


def _blur(map: LinearMap, s: Spectrum) -> float:
    """How much of the map the rounding of orthonormal vectors, kept in the map's own dtype, lets through."""
    return float((1.0 + max(map.shape) ** 0.5) * epsilon(map) * s.largest)


def _coordinates(map: LinearMap, size: int, tol: float | None, what: str) -> tuple[np.ndarray, Count, float] | None:
    """Which of the space's coordinates are not sent to zero, or are reached, where the structure tells."""
    s = structure(map, lambda part: spectrum(part, what))
    if s is None:
        return None
    rank = s.rank(tol)
    if isinstance(map, Diagonal):
        used = np.abs(numbers(map.d)).ravel() > rank.tolerance
    elif rank in (0, size):
        used = np.full(size, rank > 0)
    else:
        return None
    return used, rank, s.dropped(rank.tolerance)


def _units(map: LinearMap, chosen: np.ndarray, what: str) -> np.ndarray:
    """The unit vectors of the chosen coordinates, as rows."""
    places = np.flatnonzero(chosen)
    _room(map, len(places), len(chosen), what)
    rows = np.zeros((len(places), len(chosen)))
    rows[np.arange(len(places)), places] = 1.0
    return rows


def _room(map: LinearMap, k: int, n: int, what: str) -> None:
    if 8.0 * k * n > budget.MATRIX_BYTES:
        raise SpectrumError(
            f"{what} of {map!r} has dimension {k:,}: a basis of it, {k:,} × {n:,}, would take "
            f"{budget.in_words(8.0 * k * n)}, above the limit in adjoint.maps.spectra.budget "
            f"({budget.in_words(budget.MATRIX_BYTES)}); rank() and nullity() need no basis."
        )


def eigenpairs(map: LinearMap, k: int | None) -> tuple[Values, np.ndarray]:
    """(values, vectors (k, n)) from the matrix; the error is Weyl's, or Bauer and Fike's if it is not symmetric.

    A matrix whose skew part is within the rounding of forming it counts as symmetric, and that part as an error.
    """
    n = map.shape[1]
    if not budget.affordable(n, n, vectors=True):
        raise budget.refusal(map, "eig()", "eig(k) of a symmetric map works without it")
    matrix, error = formed(map)
    backward = EPSILON * (4.0 + n**0.5) * float(np.linalg.norm(matrix)) + error
    values: np.ndarray
    skew = float(np.linalg.norm(matrix - matrix.T)) / 2.0
    if "symmetric" in map.properties or skew <= error:
        values, columns = np.linalg.eigh((matrix + matrix.T) / 2.0)
        bound, method = backward + skew, "eigh"
    else:
        values, columns = (x.astype(np.complex128) for x in np.linalg.eig(matrix))
        s = np.linalg.svd(columns, compute_uv=False)
        bound, method = float(backward * s[0] / s[-1]) if s[-1] > n * EPSILON * s[0] else math.inf, "eig"
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    top = float(np.max(np.abs(values), initial=0.0))
    return Values(values[order], np.full(len(order), bound), method, n * epsilon(map) * top), columns.T[order]
