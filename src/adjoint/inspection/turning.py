"""How a change turns a weight: its rank, image and kernel before and after, and new leading directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adjoint.inspection.weight import tolerance
from adjoint.maps.spectra.spectrum import EPSILON, Spectrum

LEADING = 10  # directions of the tuned weight that are looked up among those of the base
STRANGE = 0.6  # |cos| to all of them below which one is an intruder


@dataclass(frozen=True)
class Turning:
    """Ranks of W and W + ΔW (rows, columns), the angles by which image and kernel turned, and `intruders`.

    An angle is the largest principal one between the subspaces before and after, in degrees: 0 where the image is
    everything, or the kernel nothing, both times. `intruders`: how many of the ten leading singular vectors of W + ΔW,
    on the shorter side, have |cos| < 0.6 to all of W's (Shuttleworth et al. 2024, arXiv 2410.21228).

    >>> found = turning(np.diag([2.0, 1.0, 0.0]), np.diag([2.0, 0.0, 1.0]), 2.0**-52)
    >>> found.ranks, found.nullities, round(found.image), round(found.kernel)
    ((2, 2), (1, 1), 90, 90)
    """

    matrix: tuple[int, int]
    ranks: tuple[int, int]
    image: float
    kernel: float
    intruders: int

    @property
    def nullities(self) -> tuple[int, int]:
        """The dimensions of the kernel before and after."""
        return self.matrix[1] - self.ranks[0], self.matrix[1] - self.ranks[1]


def turning(w: np.ndarray, after: np.ndarray, eps: float) -> Turning:
    """What became of a matrix in float64 whose numbers have the spacing `eps`; see `Turning`."""
    m, n = w.shape
    wide = m < n
    both = [w, after] if wide else [w.T, after.T]  # the shorter side first
    found = [_decomposed(x, eps) for x in both]
    ranks = (found[0].rank, found[1].rank)
    known, leading = found[0].vectors, found[1].vectors[:, :LEADING]
    strange = int(np.sum(np.max(np.abs(known.T @ leading), axis=0) < STRANGE))
    short = _angle(*(x.vectors[:, : x.rank] for x in found))
    trivial = ranks == (max(m, n), max(m, n))
    long = 0.0 if trivial else _angle(*(_other_side(x, part) for x, part in zip(both, found, strict=True)))
    image, kernel = (short, long) if wide else (long, short)
    return Turning((m, n), ranks, image, kernel, strange)


@dataclass(frozen=True)
class Side:
    """Singular vectors of the shorter side, the leading ones first, and how many have a value that is not zero."""

    vectors: np.ndarray
    rank: int


def _decomposed(x: np.ndarray, eps: float) -> Side:
    """Of a matrix that is not taller than wide: by its Gram matrix, unless its numbers are finer than that sees."""
    from scipy.linalg import eigh

    if eps > 1e3 * EPSILON:
        squares, vectors = eigh(x @ x.T, overwrite_a=True, check_finite=False)
        values, vectors = np.sqrt(squares[::-1].clip(0.0)), vectors[:, ::-1]
    else:
        vectors, values, _ = np.linalg.svd(x, full_matrices=False)
    threshold = tolerance(Spectrum(x.shape, eps, values, method="gram"))
    return Side(vectors, int(np.sum(values > threshold)))


def _other_side(x: np.ndarray, side: Side) -> np.ndarray:
    """An orthonormal basis of the row space of x: xᵀu, orthogonal but for rounding, which a Cholesky factor mends."""
    from scipy.linalg import solve_triangular

    basis = x.T @ side.vectors[:, : side.rank]
    basis /= np.linalg.norm(basis, axis=0)
    factor = np.linalg.cholesky(basis.T @ basis)
    return np.asarray(solve_triangular(factor, basis.T, lower=True, check_finite=False)).T


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """The largest principal angle between the spans of orthonormal columns, in degrees; that of their complements.

    From the sine, ‖(I - P)S‖ of the smaller one, which tells small angles apart.
    """
    large, small = (a, b) if a.shape[1] >= b.shape[1] else (b, a)
    if not small.shape[1] or large.shape[1] == large.shape[0]:
        return 0.0
    rest = small - large @ (large.T @ small)
    sine = math.sqrt(max(float(np.linalg.eigvalsh(rest.T @ rest)[-1]), 0.0))
    return math.degrees(math.asin(min(1.0, sine)))
