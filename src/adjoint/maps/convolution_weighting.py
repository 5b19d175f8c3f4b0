"""Convolution and transposed convolution as linear maps of their weight."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import Window, window
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space, lead_of


class ConvolutionWeighting(LinearMap):
    """w ↦ the convolution of a held batch x (N, C, *sizes) with w: the derivative of a convolution in its weight.

    The adjoint correlates x with the cotangent.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.ConvolutionWeighting(np.array([[[1.0, 2.0, 4.0]]]), (1, 1, 2))
    >>> A.T @ np.array([[[1.0, 1.0]]])
    array([[[3., 6.]]])
    """

    __slots__ = ("groups", "in_shape", "window", "x")

    def __init__(
        self,
        x: Array,
        in_shape: Shape,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        self.x = x
        self.in_shape = in_shape
        self.window: Window = window(
            "ConvolutionWeighting", tuple(x.shape[2:]), in_shape[2:], stride, padding, dilation
        )
        self.groups = groups

    @property
    def out_shape(self) -> Space:
        """(N, O, *positions)."""
        positions = self.window.positions(tuple(self.x.shape[2:]), self.in_shape[2:])
        return (int(self.x.shape[0]), self.in_shape[0], *positions)

    def apply(self, v: Any) -> Any:
        """The convolution of x with every kernel of the batch: their output channels side by side."""
        lead = lead_of(v, self.in_shape)
        if not lead:
            return xp.convolution(self.x, v, None, *self.window, self.groups)
        weights = joined(v, self.in_shape, 0, self.groups)
        y = xp.convolution(self.x, weights, None, *self.window, self.groups)
        return parted(y, lead, self.out_shape, 1, self.groups)

    def adjoint(self, u: Any) -> Any:
        """x correlated with u."""
        lead = lead_of(u, self.out_shape)
        if not lead:
            return xp.convolution_weight(self.x, u, *self.window, self.groups)
        found = xp.convolution_weight(self.x, joined(u, self.out_shape, 1, self.groups), *self.window, self.groups)
        return parted(found, lead, self.in_shape, 0, self.groups)

    def array(self) -> Array | None:
        """x."""
        return self.x


class TransposedWeighting(LinearMap):
    """w ↦ the transposed convolution of a held batch u (N, O, *positions) with w (O, C/groups, *kernel).

    The derivative of a transposed convolution in its weight; `sizes` are those of its output.

    >>> import numpy as np, adjoint as aj
    >>> aj.TransposedWeighting(np.array([[[1.0, 10.0]]]), (1, 1, 2), (3,)) @ np.array([[[1.0, 2.0]]])
    array([[[ 1., 12., 20.]]])
    """

    __slots__ = ("groups", "in_shape", "sizes", "u", "window")

    def __init__(
        self,
        u: Array,
        in_shape: Shape,
        sizes: Shape,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        self.u = u
        self.in_shape = in_shape
        self.sizes = sizes
        self.window: Window = window("TransposedWeighting", sizes, in_shape[2:], stride, padding, dilation)
        self.groups = groups

    @property
    def out_shape(self) -> Space:
        """(N, C, *sizes)."""
        return (int(self.u.shape[0]), self.in_shape[1] * self.groups, *self.sizes)

    def apply(self, v: Any) -> Any:
        """The transposed convolution of u with every kernel of the batch: their output channels side by side."""
        lead = lead_of(v, self.in_shape)
        if not lead:
            return xp.convolution_input(self.u, v, None, *self.window, self.groups)
        weights = joined(v, self.in_shape, 1, 1)
        y = xp.convolution_input(self.u, weights, None, *self.window, self.groups)
        return parted(y, lead, self.out_shape, 1, self.groups)

    def adjoint(self, u: Any) -> Any:
        """The cotangent of the output correlated with the held u."""
        lead = lead_of(u, self.out_shape)
        if not lead:
            return xp.convolution_weight(u, self.u, *self.window, self.groups)
        found = xp.convolution_weight(joined(u, self.out_shape, 1, self.groups), self.u, *self.window, self.groups)
        return parted(found, lead, self.in_shape, 1, 1)

    def array(self) -> Array | None:
        """u."""
        return self.u


def joined(v: Array, shape: Shape, axis: int, groups: int) -> Array:
    """A batch (…, *shape) as one element whose `axis` holds, for each group, the channels of all of the batch."""
    count = math.prod(lead_of(v, shape))
    v = xp.reshape(v, (count, *shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :]))
    v = xp.moveaxis(v, 0, axis + 1)
    return xp.reshape(v, (*shape[:axis], count * shape[axis], *shape[axis + 1 :]))


def parted(y: Array, lead: Shape, shape: Shape, axis: int, groups: int) -> Array:
    """The inverse of `joined`."""
    count = math.prod(lead)
    y = xp.reshape(y, (*shape[:axis], groups, count, shape[axis] // groups, *shape[axis + 1 :]))
    return xp.reshape(xp.moveaxis(y, axis + 1, 0), (*lead, *shape))
