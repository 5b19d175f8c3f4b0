"""The best approximation of low rank of a matrix, as two factors, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Truncated:
    """B A, of all matrices of rank r the nearest to M in Frobenius norm (Eckart & Young 1936): M (m, n).

    `left` is B (m, r), `right` A (r, n), each with √σ of every direction; `values` are all singular values of M,
    `error` ‖M - BA‖_F, the norm of those left out.

    >>> import numpy as np
    >>> found = truncated(np.diag([4.0, 3.0]), rank=1)
    >>> found.rank, found.error, found.kept
    (1, 3.0, 0.64)
    """

    left: np.ndarray
    right: np.ndarray
    values: np.ndarray

    @property
    def rank(self) -> int:
        """The number of directions that are kept."""
        return self.left.shape[1]

    @property
    def error(self) -> float:
        """‖M - BA‖_F = √Σ_{i>r} σᵢ²."""
        return float(np.linalg.norm(self.values[self.rank :]))

    @property
    def kept(self) -> float:
        """The share of the energy Σσ² in the directions that are kept; 1 for a matrix of zeros."""
        whole = float(np.sum(self.values**2))
        return float(np.sum(self.values[: self.rank] ** 2)) / whole if whole else 1.0


def truncated(matrix: np.ndarray, rank: int | None = None, energy: float | None = None) -> Truncated:
    """The best B A of a rank, or of the least rank that keeps a share of the energy Σσ², by LAPACK's SVD in float64.

    Raises ValueError for both or neither, a rank that is no whole number from 1 to min(m, n), an energy outside
    (0, 1], and for what is no matrix of finite numbers.

    >>> import numpy as np
    >>> truncated(np.diag([4.0, 3.0, 0.0]), energy=0.99).rank
    2
    """
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"truncated: a matrix with rows and columns is wanted, not an array of shape {matrix.shape}.")
    if (rank is None) == (energy is None):
        raise ValueError("truncated: give rank or energy, one of the two.")
    most = min(matrix.shape)
    if rank is not None and (isinstance(rank, bool) or not (rank == int(rank) and 1 <= rank <= most)):
        raise ValueError(f"truncated: the rank of a {matrix.shape} matrix is a whole number 1 to {most}, not {rank!r}.")
    if energy is not None and not 0.0 < energy <= 1.0:
        raise ValueError(f"truncated: energy is a share above 0 and up to 1, not {energy!r}.")
    wide = matrix.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("truncated: the matrix has numbers that are not finite.")
    u, s, vh = np.linalg.svd(wide, full_matrices=False)
    r = _enough(s, energy) if rank is None and energy is not None else int(rank or 0)
    root = np.sqrt(s[:r])
    return Truncated(u[:, :r] * root, root[:, None] * vh[:r], s)


def _enough(values: np.ndarray, energy: float) -> int:
    """The least rank, 1 or more, that keeps a share of the energy; rounding of the sum is none of it."""
    curve = np.cumsum(values**2)
    slack = len(values) * math.ulp(float(curve[-1]))
    return max(1, int(np.searchsorted(curve, energy * curve[-1] - slack)) + 1) if curve[-1] else 1
