"""The ways in which a layer can become a pair, each with its error at every rank and its cost of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.maps.flat import to_numpy
from adjoint.maps.spectra.spectrum import EPSILON
from adjoint.maps.spectra.truncation import truncated
from adjoint.nn.convolution import Conv, Conv2d
from adjoint.slim import pair
from adjoint.slim.pair import Pair


@dataclass(frozen=True)
class Candidate:
    """A matrix M = B A that makes a pair: `cost` parameters a rank, singular `values`, B in `left`, A in `right`.

    Where inputs count, values and B are those of M L, and A has L⁻¹ behind it.
    """

    kind: str
    cost: int
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    make: Callable[[Any, Any, Any], Pair]

    @property
    def lost(self) -> np.ndarray:
        """The share of the energy that is lost at the ranks 1, 2, …: the tail of the values, by Eckart and Young."""
        squares = self.values**2
        whole = float(np.sum(squares))
        tails = whole - np.cumsum(squares)
        return np.where(tails > len(squares) * EPSILON * whole, tails, 0.0) / (whole or 1.0)

    def pair(self, layer: Any, rank: int) -> Pair:
        """The pair of a rank, with √σ in both layers."""
        W = layer.weight
        factors = (self.left[:, :rank], self.right[:rank])
        return self.make(layer, *(xp.asarray(W, x, W.dtype) for x in factors))


def candidates(layer: Any, root: np.ndarray | None = None) -> list[Candidate]:
    """A linear layer's one, a convolution's by channels and, for images and without inputs, the separable one.

    `root` is the L of `Inputs.root`: then the values are those of W L, whose tail is the error of the outputs (SVD-LLM,
    Wang et al. 2024, arXiv 2403.07378). Raises ValueError for a weight with numbers that are not finite.

    >>> import adjoint as aj
    >>> [(x.kind, x.cost, len(x.values)) for x in candidates(aj.nn.Conv2d(3, 8, 5))]
    [('channels', 83, 8), ('separable', 55, 15)]
    """
    W = np.asarray(to_numpy(layer.weight), np.float64)
    if not np.isfinite(W).all():
        raise ValueError("has numbers that are not finite")
    if not isinstance(layer, Conv):
        return [_candidate("linear", W, pair.linear, root)]
    flat = _candidate("channels", W.reshape(W.shape[0], -1), pair.channels, root)
    if root is not None or not isinstance(layer, Conv2d) or min(layer.kernel_size) < 2:
        return [flat]
    out, into, high, wide = W.shape
    return [flat, _candidate("separable", W.transpose(0, 3, 1, 2).reshape(out * wide, into * high), pair.separable)]


def _candidate(kind: str, M: np.ndarray, make: Any, root: np.ndarray | None = None) -> Candidate:
    found = truncated(M if root is None else M @ root, min(M.shape))
    right = found.right
    if root is not None:
        from scipy.linalg import solve_triangular

        right = solve_triangular(root.T, right.T, lower=False).T
    return Candidate(kind, sum(M.shape), found.left, found.values, right, make)
