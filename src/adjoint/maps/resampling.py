"""The map of average pooling, adaptive pooling and interpolation: a small matrix along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Shape
from adjoint.arrays.resampling_taps import Taps
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Kronecker
from adjoint.maps.elementary import Identity
from adjoint.maps.matrices import Dense
from adjoint.maps.spaces import Space


class Resampling(LinearMap):
    """I ⊗ W₁ ⊗ W₂ ⊗ …: matrices along the last axes, given by their few taps; average pooling and interpolation.

    `.factors()` are the matrices, `.kronecker()` is the map as their Kronecker product.

    >>> import numpy as np, adjoint as aj
    >>> J = aj.jacobian(lambda x: aj.interpolate(x, size=3, mode="linear", align_corners=True), np.ones((1, 1, 2)))
    >>> J
    Resampling: (1, 1, 2) → (1, 1, 3)
    >>> J.factors()[0].tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """

    __slots__ = ("in_shape", "taps")

    def __init__(self, taps: Sequence[Taps], shape: Shape) -> None:
        self.taps = tuple(taps)
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The resampled shape."""
        return (*self.in_shape[: -len(self.taps)], *[t.count for t in self.taps])

    def apply(self, v: Any) -> Any:
        """v resampled."""
        return xp.resample(v, self.taps)

    def adjoint(self, u: Any) -> Any:
        """u resampled by the transposed matrices."""
        return xp.resample(u, tuple([t.T for t in self.taps]))

    @property
    def T(self) -> LinearMap:
        """The resampling by the transposed matrices."""
        return Resampling([t.T for t in self.taps], self.out_shape)

    def factors(self) -> list[Any]:
        """The matrix along each of the last axes, (out, in), as NumPy arrays."""
        return [t.matrix() for t in self.taps]

    def kronecker(self) -> LinearMap:
        """I ⊗ W₁ ⊗ W₂ ⊗ … with dense factors."""
        product: LinearMap = Identity(self.in_shape[: -len(self.taps)])
        for matrix in self.factors():
            product = Kronecker(product, Dense(matrix))
        return product
