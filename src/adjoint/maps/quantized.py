"""The map of a matrix that is stored in 4 or 8 bits."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.quantized import Packed, scales, unpacked
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space


class QuantizedDense(LinearMap):
    """x ↦ W x with W (out, in) packed, unpacked a panel at a time in both directions (`aj.quantized_linear`).

    >>> import numpy as np, adjoint as aj
    >>> aj.QuantizedDense(aj.quantize(np.diag([1.0, -1.0, 0.0]), "nf4")).rank()
    2 (tolerance 3.6e-07, svd)
    """

    __slots__ = ("weight",)

    def __init__(self, weight: Packed) -> None:
        self.weight = weight

    @property
    def in_shape(self) -> Space:
        """(in,)."""
        return (int(self.weight.shape[1]),)

    @property
    def out_shape(self) -> Space:
        """(out,)."""
        return (int(self.weight.shape[0]),)

    def apply(self, v: Any) -> Any:
        """W v: (…, in) to (…, out)."""
        return xp.quantized_linear(v, self.weight)

    def adjoint(self, u: Any) -> Any:
        """Wᵀ u: (…, out) to (…, in)."""
        return xp.quantized_linear(u, self.weight, transposed=True)

    def array(self) -> Array | None:
        """The scales, in float32."""
        return self.weight.absmax if self.weight.nested_absmax is None else self.weight.nested_absmax

    def matrix(self) -> Array:
        """W itself, unpacked."""
        rows, columns = self.shape
        every = unpacked(self.weight, 0, rows * columns, scales(self.weight, self.array()))
        return xp.reshape(every, (rows, columns))
