"""Rotations: pairs of coordinates turned by angles."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import ORTHOGONAL, LinearMap
from adjoint.maps.spaces import Space


class Rotation(LinearMap):
    """x ↦ x with every pair (a, b) of coordinates on the last axis turned by its angle φ (see `aj.rotate`).

    Angles are (…, d/2) for x (…, d): rotary encodings turn by position times frequency (Su et al. 2021), and so do
    sinusoidal encodings when all positions are shifted.

    >>> import numpy as np, adjoint as aj
    >>> aj.Rotation(np.array([np.pi / 2]), (2,)).dense().round(3) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """

    __slots__ = ("angles", "in_shape", "interleaved")
    properties = ORTHOGONAL

    def __init__(self, angles: Array, shape: Shape, interleaved: bool = False) -> None:
        self.angles = angles
        self.in_shape = shape
        self.interleaved = interleaved

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v turned."""
        return xp.rotate(v, self.angles, self.interleaved)

    def adjoint(self, u: Any) -> Any:
        """u turned back."""
        return xp.rotate(u, -self.angles, self.interleaved)

    @property
    def T(self) -> LinearMap:
        """The rotation back."""
        return Rotation(-self.angles, self.in_shape, self.interleaved)

    def array(self) -> Array | None:
        """The angles."""
        return self.angles
