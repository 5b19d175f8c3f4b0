"""What a sliding window sees, as columns: im2col and its adjoint col2im, and what the columns cost."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import Window, window
from adjoint.arrays.dispatch import Shape
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space


class Columns(NamedTuple):
    """The column matrix of one example: its `shape` (C·∏kernel, positions), its `nbytes`, and the memory `overhead`,
    its bytes per byte of the input: ∏kernel where the stride is 1 and the padding keeps the size.

    >>> import adjoint as aj
    >>> aj.Unfold((3, 8, 8), (3, 3), padding=1).columns(itemsize=4)
    Columns(shape=(27, 64), nbytes=6912, overhead=9.0)
    """

    shape: tuple[int, int]
    nbytes: int
    overhead: float


class Unfold(LinearMap):
    """im2col: x (C, *sizes) ↦ the columns that a window of size `kernel_size` sees, (C·∏kernel, positions).

    The adjoint, col2im, adds the columns back into place; col2im(im2col(x)) counts how often each entry is seen.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Unfold((1, 4), (3,))
    >>> A, A.T @ (A @ np.ones((1, 4)))
    (Unfold: (1, 4) → (3, 2), array([[1., 2., 2., 1.]]))
    """

    __slots__ = ("in_shape", "kernel_size", "window")

    def __init__(
        self, in_shape: Shape, kernel_size: Shape, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self.in_shape = in_shape
        self.kernel_size = kernel_size
        self.window: Window = window("Unfold", in_shape[1:], kernel_size, stride, padding, dilation)

    @property
    def out_shape(self) -> Space:
        """(C·∏kernel, positions)."""
        c, *sizes = self.in_shape
        positions = self.window.positions(tuple(sizes), self.kernel_size)
        return c * math.prod(self.kernel_size), math.prod(positions)

    def apply(self, v: Any) -> Any:
        """The columns of v."""
        stride, padding, dilation = self.window
        return xp.unfold(v, self.kernel_size, dilation, padding, stride)

    def adjoint(self, u: Any) -> Any:
        """The columns added into place."""
        stride, padding, dilation = self.window
        return xp.fold(u, self.in_shape[1:], self.kernel_size, dilation, padding, stride)

    def columns(self, itemsize: int) -> Columns:
        """What the columns cost where a number has `itemsize` bytes."""
        shape = self.out_shape
        return Columns(shape, math.prod(shape) * itemsize, math.prod(shape) / max(math.prod(self.in_shape), 1))
