"""Maps of normalizations: in the input a scaled projection, in the weight the normalized input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import NONE, SYMMETRIC, LinearMap
from adjoint.maps.spaces import Space, lead_of, negative_axes


class Normalization(LinearMap):
    """The Jacobian w (I - 1 1ᵀ/n - x̂ x̂ᵀ/n)/σ of a normalization over axes of x, x̂ = (x - μ)/σ.

    `mu` is μ and `scale` 1/σ, size 1 along the axes; where μ is None nothing is centred, and 1 1ᵀ/n is missing.
    `weight` broadcasts with x; without it the map is symmetric. With eps = 0 in σ² = var + eps its kernel is spanned
    by 1 (where centred) and x̂: neither the mean nor the size of x can be seen (Ba et al. 2016, differentiated).

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([1.0, -1.0, 0.0])
    >>> J = aj.jacobian(lambda x: aj.layer_norm(x, eps=0.0), x)
    >>> J.nullity() == 2, abs(J @ np.ones(3)).max() < 1e-15, abs(J @ x).max() < 1e-15
    (True, np.True_, np.True_)
    """

    __slots__ = ("axes", "mu", "scale", "weight", "x")
    fresh = True

    def __init__(
        self, x: Array, mu: Array | None, scale: Array, axes: int | Sequence[int], weight: Array | None = None
    ) -> None:
        self.x = x
        self.mu = mu
        self.scale = scale
        self.axes = negative_axes(axes, len(x.shape))
        self.weight = weight

    @property
    def normal(self) -> Array:
        """x̂, the normalized input."""
        return xp.normalized_entries(self.x, self.mu, self.scale)

    @property
    def in_shape(self) -> Space:
        """The shape of x."""
        return tuple(self.x.shape)

    @property
    def out_shape(self) -> Space:
        """The shape of x."""
        return tuple(self.x.shape)

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """Symmetric without a weight."""
        return SYMMETRIC if self.weight is None else NONE

    def apply(self, v: Any) -> Any:
        """w (v - mean v - x̂ mean(x̂ v))/σ."""
        y = xp.normalization_product(v, self.x, self.mu, self.scale, None, self.axes)
        return y if self.weight is None else y * self.weight

    def adjoint(self, u: Any) -> Any:
        """(w u - mean(w u) - x̂ mean(x̂ w u))/σ."""
        return xp.normalization_product(u, self.x, self.mu, self.scale, self.weight, self.axes)

    @property
    def T(self) -> LinearMap:
        """Itself without a weight."""
        return self if self.weight is None else super().T

    def array(self) -> Array | None:
        """x."""
        return self.x


class Gain(LinearMap):
    """w ↦ w x̂, x̂ = (x - μ)/σ: the Jacobian of a normalization in its weight; the adjoint is Σ u x̂ over `axes`.

    `axes` are those along which the weight is repeated, `shape` is its own shape.

    >>> import numpy as np, adjoint as aj
    >>> x, weight = np.array([[1.0, 3.0], [5.0, 3.0]]), np.ones(2)
    >>> J = aj.jacobian(lambda w: aj.layer_norm(x, w, eps=0.0), weight)
    >>> (J.T @ np.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [-1.0, -1.0]
    """

    __slots__ = ("axes", "in_shape", "mu", "scale", "x")

    def __init__(self, x: Array, mu: Array | None, scale: Array, axes: Sequence[int], shape: Shape) -> None:
        self.x = x
        self.mu = mu
        self.scale = scale
        self.axes = negative_axes(axes, len(x.shape))
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The shape of x."""
        return tuple(self.x.shape)

    def apply(self, v: Any) -> Any:
        """v x̂, v repeated along the axes."""
        shape = self.out_shape
        kept = [1 if a in self.axes else shape[a] for a in range(-len(shape), 0)]
        repeated = xp.reshape(v, (*lead_of(v, self.in_shape), *kept))
        return repeated * xp.normalized_entries(self.x, self.mu, self.scale)

    def adjoint(self, u: Any) -> Any:
        """Σ u x̂."""
        return xp.normalization_gain(u, self.x, self.mu, self.scale, self.axes)

    def array(self) -> Array | None:
        """x."""
        return self.x
