"""Principal components: the rank-k orthogonal projection that keeps most of the variance."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.classical.design import as_map
from adjoint.errors import ShapeError
from adjoint.maps.algebra import add
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import moved, numbers, pull
from adjoint.maps.matrices import Dense, Outer
from adjoint.maps.records import Values
from adjoint.maps.subspaces import Projection, Subspace


class Components:
    """The k directions along which centred data vary most.

    `subspace` is the isometry V from coefficients (k,) into the data's space, orthonormal: `transform` is
    Vᵀ(x - mean), `reconstruct` V c + mean. `projection()` is V Vᵀ; its kernel is the orthogonal complement. V keeps
    norms, so that a gradient that comes back through it keeps its own. `explained_variance` holds σᵢ²/(n - 1) with
    error bounds, `explained_variance_ratio` their shares of the whole variance.

    >>> import numpy as np, adjoint as aj
    >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    >>> found = aj.pca(X, 1)
    >>> found.components.tolist(), found.explained_variance.values.tolist()
    ([[1.0, 0.0]], [4.0])
    >>> found.reconstruct(found.transform(X)).tolist() == X.tolist()
    True
    """

    __slots__ = ("explained_variance", "explained_variance_ratio", "mean", "subspace")

    def __init__(self, mean: Any, subspace: Subspace, explained_variance: Values, ratio: np.ndarray) -> None:
        self.mean = mean
        self.subspace = subspace
        self.explained_variance = explained_variance
        self.explained_variance_ratio = ratio

    @property
    def components(self) -> Any:
        """The directions (k, d), orthonormal, that of the largest variance first."""
        return self.subspace.vectors

    @property
    def method(self) -> str:
        """How they were computed."""
        return self.explained_variance.method

    def transform(self, x: Any) -> Any:
        """The coefficients Vᵀ(x - mean): (…, d) to (…, k)."""
        return self.subspace.adjoint(x - self.mean)

    def reconstruct(self, c: Any) -> Any:
        """V c + mean: (…, k) to (…, d)."""
        return self.subspace.apply(c) + self.mean

    def projection(self) -> Projection:
        """The orthogonal projection V Vᵀ of centred data."""
        return self.subspace.projection()

    def __repr__(self) -> str:
        share = float(self.explained_variance_ratio.sum())
        k, d = self.components.shape
        return f"Components: {k} of {d}, {share:.1%} of the variance ({self.method})"


def pca(X: Any, k: int | None = None) -> Components:
    """The k principal components of data X (n, d), n examples in rows: all min(n, d) for None.

    They are the right singular vectors of the centred data X - 1 meanᵀ, the maximizers of ‖(X - 1 meanᵀ) V‖ among
    orthonormal V (Pearson 1901). X is a matrix or a `LinearMap` from (d,) to (n,), which is not formed where it is
    large and k small. The first of the (nearly) largest entries of every component is positive.

    >>> import numpy as np, adjoint as aj
    >>> aj.pca(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 1)
    Components: 1 of 2, 100.0% of the variance (svd)
    """
    A = as_map("pca", X)
    n, d = A.shape
    if A.in_shape != (d,) or A.out_shape != (n,):
        raise ShapeError(
            f"pca: data are a map from (features,) to (examples,), not from {A.in_shape} to {A.out_shape}."
        )
    if n < 2:
        raise ShapeError(f"pca: a variance needs two examples, the data {(n, d)} have {n}.")
    if k is not None and not 1 <= k <= min(n, d):
        raise ShapeError(f"pca: k is 1 to {min(n, d)} for data {(n, d)}, not {k}.")
    mean = pull(A, np.full((1, n), 1.0 / n))[0]
    centred = _centred(A, mean)
    _, S, Vh = centred.svd(k)
    turned = numbers(Vh)
    turned = turned * numbers(xp.signs(turned.T)).T
    variance = Values(S.values**2 / (n - 1), 2.0 * S.values * S.bound / (n - 1), S.method, S.tolerance**2 / (n - 1))
    whole = float(centred.frobenius()) ** 2 / (n - 1)
    ratio = variance.values / whole if whole else np.zeros(len(variance))
    like = A.array()
    subspace = Subspace(moved(A, turned, (d,)), (d,), S.tolerance, S.method, float(np.max(S.bound, initial=0.0)))
    return Components(mean if like is None else xp.asarray(like, mean, A.dtype), subspace, variance, ratio)


def _centred(A: LinearMap, mean: np.ndarray) -> LinearMap:
    """The map with the mean taken off every row."""
    ones = np.ones(A.shape[0])
    like = A.array()
    if like is not None:
        ones, mean = xp.asarray(like, ones, A.dtype), xp.asarray(like, mean, A.dtype)
    if isinstance(A, Dense):
        return Dense(A.weight - mean)
    return add(A, Outer(-ones, mean))
