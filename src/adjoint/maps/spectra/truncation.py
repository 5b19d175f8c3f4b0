"""The best approximation of low rank of a matrix, as two factors, with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.maps.spectra.spectrum import EPSILON

WIDEST = 1024  # of the shorter side, from which the Gram matrix is taken: 4 times faster at 2,048


@dataclass(frozen=True)
class Truncated:
    """B A, of all matrices of rank r the nearest to M in Frobenius norm (Eckart & Young 1936): M (m, n).

    `left` is B (m, r), `right` A (r, n), each with √σ of every direction; `values` are all singular values of M,
    `error` ‖M - BA‖_F. The best there is has ‖M - BA‖_F = √Σ_{i>r} σᵢ², the norm of the tail; by "svd" that is it, by
    "gram" the error² is above that by at most bound².

    >>> import numpy as np
    >>> found = truncated(np.diag([4.0, 3.0]), rank=1)
    >>> found.rank, found.error, found.kept
    (1, 3.0, 0.64)
    """

    left: np.ndarray
    right: np.ndarray
    values: np.ndarray
    error: float
    bound: float = 0.0
    method: str = "svd"

    @property
    def rank(self) -> int:
        """The number of directions that are kept."""
        return self.left.shape[1]

    @property
    def kept(self) -> float:
        """The share of the energy Σσ² in the directions that are kept; 1 for a matrix of zeros."""
        return share_kept(self.error**2, float(np.sum(self.values**2)))


def share_kept(lost: float, whole: float) -> float:
    """1 - lost/whole, of energies; 1 where there is none.

    >>> share_kept(1.0, 4.0), share_kept(0.0, 0.0)
    (0.75, 1.0)
    """
    return 1.0 - lost / whole if whole else 1.0


def truncated(matrix: np.ndarray, rank: int | None = None, energy: float | None = None) -> Truncated:
    """The best B A of a rank, or of the least rank that keeps a share of the energy Σσ².

    By LAPACK's SVD in float64; where the shorter side is above 1,024, by the eigenvectors of the Gram matrix, whose
    error is measured. Raises TypeError for a rank that is no integer, ValueError for both or neither, a rank outside 1
    to min(m, n), an energy outside (0, 1], and for what is no matrix of finite numbers.

    >>> import numpy as np
    >>> truncated(np.diag([4.0, 3.0, 0.0]), energy=0.99).rank
    2
    """
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"truncated: a matrix with rows and columns is wanted, not an array of shape {matrix.shape}.")
    check_wish("truncated", rank, energy)
    most = min(matrix.shape)
    if rank is not None and rank > most:
        raise ValueError(f"truncated: the rank of a {matrix.shape} matrix is at most {most}, not {rank}.")
    wide = matrix.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("truncated: the matrix has numbers that are not finite.")
    if most > WIDEST:
        return _by_gram(wide, rank, energy)
    u, s, vh = np.linalg.svd(wide, full_matrices=False)
    r = enough(s, energy) if rank is None else rank
    root = np.sqrt(s[:r])
    return Truncated(u[:, :r] * root, root[:, None] * vh[:r], s, float(np.linalg.norm(s[r:])))


def _by_gram(matrix: np.ndarray, rank: int | None, energy: float | None) -> Truncated:
    """M V Vᵀ for the leading eigenvectors V of MᵀM (of MMᵀ for a wide matrix, turned)."""
    m, n = matrix.shape
    if m < n:
        turned = _by_gram(matrix.T, rank, energy)
        return Truncated(
            turned.right.T, turned.left.T, turned.values, turned.error, turned.bound, turned.method
        )  # fmt: skip
    squares, vectors = np.linalg.eigh(matrix.T @ matrix)
    values = np.sqrt(squares[::-1].clip(0.0))
    r = enough(values, energy) if rank is None else rank
    V = vectors[:, ::-1][:, :r]
    left = matrix @ V
    root = np.sqrt(np.linalg.norm(left, axis=0))
    safe = np.where(root > 0.0, root, 1.0)
    error = np.linalg.norm(matrix - left @ V.T)
    bound = np.sqrt(2.0 * r * n * EPSILON) * values[0]
    return Truncated(left / safe, root[:, None] * V.T, values, float(error), float(bound), "gram")


def enough(values: np.ndarray, energy: float | None) -> int:
    """The least rank, 1 or more, that keeps a share of the energy Σσ²; rounding of the sum is none of it.

    >>> import numpy as np
    >>> enough(np.array([2.0, 1.0, 0.0]), 0.8), enough(np.zeros(2), 0.5)
    (1, 1)
    """
    curve = np.cumsum(values**2)
    slack = len(values) * EPSILON * float(curve[-1])
    return max(1, int(np.searchsorted(curve, float(energy or 1.0) * curve[-1] - slack)) + 1) if curve[-1] else 1


def check_wish(what: str, rank: Any, energy: Any, others: str = "") -> None:
    """Raise TypeError or ValueError unless one of rank (an integer from 1) and energy (a share in (0, 1]) is given.

    >>> check_wish("f", 2, None)
    >>> check_wish("f", 2, 0.9)
    Traceback (most recent call last):
    ValueError: f: give rank or energy, one of the two.
    """
    if (rank is None) == (energy is None):
        raise ValueError(f"{what}: give rank or energy, one of the two.{others}")
    if rank is not None and type(rank) is not int:
        raise TypeError(f"{what}: a rank is an integer, not {rank!r}.")
    if rank is not None and rank < 1:
        raise ValueError(f"{what}: a rank is at least 1, not {rank}.")
    if energy is not None and not (isinstance(energy, (int, float)) and 0.0 < energy <= 1.0):
        raise ValueError(f"{what}: energy is a share above 0 and up to 1, not {energy!r}.")
