"""Subspaces as isometries: an orthonormal basis is a linear map from its coefficients into the space."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, flat
from adjoint.maps.spaces import Space, add, ravel, scaled, unravel


class Subspace(LinearMap):
    """An orthonormal basis b₁ … b_d of a part of a space, as the map c ↦ Σ cᵢ bᵢ from (d,) into the space.

    `vectors` (d, n) are the basis vectors, flattened. For a kernel `bound` says how much of it the map may still see,
    ‖A x‖ ≤ bound · ‖x‖; for an image how much of the map it may miss, ‖(I - P) A‖ ≤ bound. `tolerance` is the
    threshold of the rank, `method` says how it was computed.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Dense(np.array([[1.0, 1.0], [1.0, 1.0]]))
    >>> K = A.kernel()
    >>> K
    Subspace: dimension 1 of (2,) (tolerance 8.9e-16, svd)
    >>> K.contains(np.array([2.0, -2.0])), K.basis.shape
    (True, (1, 2))
    >>> (A @ K).norm() < 1e-15
    True
    """

    __slots__ = ("bound", "method", "out_shape", "out_tree", "tolerance", "vectors")

    def __init__(
        self, vectors: Array, space: Space, tolerance: float, method: str, bound: float, tree: Any = None
    ) -> None:
        self.vectors = vectors
        self.out_shape = space
        self.tolerance = tolerance
        self.method = method
        self.bound = bound
        self.out_tree = tree

    @property
    def in_shape(self) -> Space:
        """(d,)."""
        return (self.dim,)

    @property
    def dim(self) -> int:
        """The number of basis vectors."""
        return int(self.vectors.shape[0])

    @property
    def basis(self) -> Any:
        """The basis vectors (d, *out_shape), a tuple or tree of such arrays in a product of spaces."""
        return self._given(unravel(self.vectors, self.out_shape))

    def apply(self, v: Any) -> Any:
        """Σ vᵢ bᵢ."""
        return unravel(v @ self.vectors, self.out_shape)

    def adjoint(self, u: Any) -> Any:
        """The coefficients ⟨bᵢ, u⟩."""
        return ravel(u, self.out_shape) @ self.vectors.mT

    def array(self) -> Array | None:
        """The basis vectors."""
        return self.vectors

    def projection(self) -> Projection:
        """The orthogonal projection of the space onto this part of it."""
        return Projection(self)

    def contains(self, x: Any, tol: float | None = None) -> bool:
        """Whether x, an element of the space, lies in this part: ‖x - P x‖ ≤ tol · ‖x‖ (default √ε of the basis)."""
        c = self.T @ x
        x = self.T._taken(x)
        rest = flat(add(x, scaled(-1.0, self.apply(c))), self.out_shape)
        limit = epsilon(self) ** 0.5 if tol is None else tol
        return bool(np.linalg.norm(rest) <= limit * np.linalg.norm(flat(x, self.out_shape)))

    def __repr__(self) -> str:
        sure = f"tolerance {self.tolerance:.2g}" if self.tolerance else "exact"
        return f"Subspace: dimension {self.dim} of {self.out_shape} ({sure}, {self.method})"


class Projection(LinearMap):
    """The orthogonal projection P = B Bᵀ onto a subspace with orthonormal basis B: P² = P = Pᵀ.

    >>> import numpy as np, adjoint as aj
    >>> P = aj.Dense(np.array([[1.0, 1.0]])).kernel().projection()
    >>> np.round(P @ np.array([1.0, 0.0]), 12)
    array([ 0.5, -0.5])
    """

    __slots__ = ("subspace",)
    properties = frozenset({"symmetric", "projection", "positive"})

    def __init__(self, subspace: Subspace) -> None:
        self.subspace = subspace

    @property
    def in_shape(self) -> Space:
        """The space."""
        return self.subspace.out_shape

    @property
    def out_shape(self) -> Space:
        """The space."""
        return self.subspace.out_shape

    @property
    def in_tree(self) -> Any:
        """The space's structure."""
        return self.subspace.out_tree

    @property
    def out_tree(self) -> Any:
        """The space's structure."""
        return self.subspace.out_tree

    def apply(self, v: Any) -> Any:
        """B Bᵀ v."""
        return self.subspace.apply(self.subspace.adjoint(v))

    adjoint = apply

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def array(self) -> Array | None:
        """The basis vectors."""
        return self.subspace.vectors

    def matrix(self) -> Array:
        """B Bᵀ."""
        return xp.matmul(self.subspace.vectors.mT, self.subspace.vectors)
