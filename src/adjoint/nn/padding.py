"""Padding layers with PyTorch's names: images extended by a constant or by entries of their own; less than none crops.

`padding` is a number for all sides, or (left, right), (left, right, top, bottom), … from the last axis on.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.pooling_windows import along_axes, spatial_shape
from adjoint.nn.convolution import extended
from adjoint.nn.module import Module

Sides = int | Sequence[int]


class _Pad(Module):
    ndim: int

    def __init__(self, padding: Sides) -> None:
        self.padding = along_axes(type(self).__name__, "padding", padding, 2 * self.ndim)

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(before, after) for each of the last axes, in their order."""
        return tuple(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]


class _ConstantPad(_Pad):
    def __init__(self, padding: Sides, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def __call__(self, x: Array) -> Array:
        """x with the value around it."""
        n, pairs = len(x.shape) - self.ndim, self.pairs()
        kept = tuple(slice(max(-a, 0), size - max(-b, 0)) for size, (a, b) in zip(x.shape[n:], pairs, strict=True))
        inner = x if min(self.padding) >= 0 else xp.getitem(x, (Ellipsis, *kept))
        return xp.pad(inner, [(0, 0)] * n + [(max(a, 0), max(b, 0)) for a, b in pairs], self.value)


class ConstantPad1d(_ConstantPad):
    """`value` added before and after the last axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ConstantPad1d((1, 2), 7.0)(np.ones((1, 2))).tolist()
    [[7.0, 1.0, 1.0, 7.0, 7.0]]
    """

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """`value` added around images.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ConstantPad2d((1, -1, 0, 1), 7.0)(np.ones((1, 1, 2))).tolist()
    [[[7.0, 1.0], [7.0, 7.0]]]
    """

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """`value` added around volumes.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ConstantPad3d(1, 7.0)(np.ones((1, 2, 2, 2))).shape
    (1, 4, 4, 4)
    """

    ndim = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Sides) -> None:
        super().__init__(padding, 0.0)


class ZeroPad1d(_ZeroPad):
    """Zeros added before and after the last axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ZeroPad1d(1)(np.ones((1, 2))).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    ndim = 1


class ZeroPad2d(_ZeroPad):
    """Zeros added around images.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ZeroPad2d((0, 0, 1, 2))(np.ones((5, 3, 4, 4))).shape
    (5, 3, 7, 4)
    """

    ndim = 2


class ZeroPad3d(_ZeroPad):
    """Zeros added around volumes.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ZeroPad3d(1)(np.ones((1, 2, 2, 2))).shape
    (1, 4, 4, 4)
    """

    ndim = 3


class _OwnPad(_Pad):
    mode: str

    def __call__(self, x: Array) -> Array:
        """x extended by its own entries."""
        spatial_shape(type(self).__name__, x, self.ndim)
        return extended(type(self).__name__, x, self.pairs(), self.mode)


class ReflectionPad1d(_OwnPad):
    """The last axis extended by entries mirrored at the border, which is not repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReflectionPad1d(1)(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[2.0, 1.0, 2.0, 3.0, 2.0]]
    """

    ndim, mode = 1, "reflect"


class ReflectionPad2d(_OwnPad):
    """Images extended by entries mirrored at the border, which is not repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReflectionPad2d(1)(np.ones((5, 3, 4, 4))).shape
    (5, 3, 6, 6)
    """

    ndim, mode = 2, "reflect"


class ReflectionPad3d(_OwnPad):
    """Volumes extended by entries mirrored at the border, which is not repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReflectionPad3d(1)(np.ones((3, 4, 4, 4))).shape
    (3, 6, 6, 6)
    """

    ndim, mode = 3, "reflect"


class ReplicationPad1d(_OwnPad):
    """The last axis extended by the entry at the border repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReplicationPad1d(1)(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[1.0, 1.0, 2.0, 3.0, 3.0]]
    """

    ndim, mode = 1, "replicate"


class ReplicationPad2d(_OwnPad):
    """Images extended by the entry at the border repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReplicationPad2d(1)(np.ones((5, 3, 4, 4))).shape
    (5, 3, 6, 6)
    """

    ndim, mode = 2, "replicate"


class ReplicationPad3d(_OwnPad):
    """Volumes extended by the entry at the border repeated.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReplicationPad3d(1)(np.ones((3, 4, 4, 4))).shape
    (3, 6, 6, 6)
    """

    ndim, mode = 3, "replicate"


class CircularPad1d(_OwnPad):
    """The last axis extended by entries from the opposite side.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.CircularPad1d(1)(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 1.0, 2.0, 3.0, 1.0]]
    """

    ndim, mode = 1, "circular"


class CircularPad2d(_OwnPad):
    """Images extended by entries from the opposite side.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.CircularPad2d(1)(np.ones((5, 3, 4, 4))).shape
    (5, 3, 6, 6)
    """

    ndim, mode = 2, "circular"


class CircularPad3d(_OwnPad):
    """Volumes extended by entries from the opposite side.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.CircularPad3d(1)(np.ones((3, 4, 4, 4))).shape
    (3, 6, 6, 6)
    """

    ndim, mode = 3, "circular"
