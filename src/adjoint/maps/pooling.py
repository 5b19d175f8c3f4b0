"""The map of max pooling: entries selected at positions, and added back to them."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space


class Selection(LinearMap):
    """Entries picked at positions in the last `ndim` axes flattened: the derivative of max pooling.

    `indices` (…, *out) has the leading axes of `shape`; the adjoint adds entries up that were picked more than once.

    >>> import numpy as np, adjoint as aj
    >>> S = aj.Selection(np.array([[1, 2], [1, 0]]), (2, 3), ndim=1)
    >>> S @ np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    array([[2., 3.],
           [5., 4.]])
    >>> S.T @ np.ones((2, 2))
    array([[0., 1., 1.],
           [1., 1., 0.]])
    """

    __slots__ = ("in_shape", "indices", "ndim")

    def __init__(self, indices: Array, shape: Shape, ndim: int) -> None:
        self.indices = indices
        self.in_shape = shape
        self.ndim = ndim

    @property
    def out_shape(self) -> Space:
        """The indices' shape."""
        return tuple(self.indices.shape)

    def apply(self, v: Any) -> Any:
        """The picked entries of v."""
        return xp.pick(v, self.indices, self.ndim)

    def adjoint(self, u: Any) -> Any:
        """u added to its places."""
        return xp.place(u, self.indices, self.in_shape[-self.ndim :])
