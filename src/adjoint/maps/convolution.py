"""Convolution as a linear map of its input, and transposed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import convolution_windows as windows
from adjoint.arrays.convolution_windows import Window, reach, window
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import Adjoint, LinearMap, kept
from adjoint.maps.columns import Columns, Unfold
from adjoint.maps.layout import Slice
from adjoint.maps.matrices import Dense
from adjoint.maps.records import Number
from adjoint.maps.spaces import Space, lead_of


def one_batch(v: Array, shape: Shape, f: Callable[[Array], Array]) -> Array:
    """f, which takes one batch axis, on v with any leading axes before `shape`."""
    lead = lead_of(v, shape)
    if len(lead) == 1:
        return f(v)
    y = f(xp.reshape(v, (math.prod(lead), *shape)))
    return xp.reshape(y, (*lead, *y.shape[1:]))


class Convolution(LinearMap):
    """x ↦ the convolution of x (C, *sizes) with `weight` (O, C/groups, *kernel), as PyTorch's conv1d, conv2d, conv3d.

    y[o, t] = Σ weight[o, c, k] · x[c, t·stride + k·dilation - padding], in any number of dimensions; options are one
    number, or one an axis; `padding` also "same", "valid", or (before, after) an axis. Its matrix is a Toeplitz matrix
    for every pair of channels, blocked once more for every further dimension: `toeplitz()`.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Convolution(np.array([[[1.0, -1.0]]]), (1, 4))
    >>> A, A @ np.array([[1.0, 2.0, 4.0, 8.0]])
    (Convolution: (1, 4) → (1, 3), array([[-1., -2., -4.]]))
    >>> A.T
    ConvolutionTranspose: (1, 3) → (1, 4)
    """

    __slots__ = ("groups", "in_shape", "weight", "window")

    def __init__(
        self,
        weight: Array,
        in_shape: Shape,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        windows.batched("Convolution", len(in_shape) - 1, (1, *in_shape), tuple(weight.shape))
        windows.channels("Convolution", tuple(in_shape), tuple(weight.shape), None, groups)
        self.weight = weight
        self.in_shape = tuple(in_shape)
        self.window: Window = window("Convolution", self.in_shape[1:], self.kernel_size, stride, padding, dilation)
        self.groups = groups

    @property
    def kernel_size(self) -> Shape:
        """The kernel's size on every axis."""
        return tuple(self.weight.shape[2:])

    @property
    def out_shape(self) -> Space:
        """(O, *positions)."""
        return (int(self.weight.shape[0]), *self.window.positions(self.in_shape[1:], self.kernel_size))

    def apply(self, v: Any) -> Any:
        """The convolution."""
        return one_batch(v, self.in_shape, lambda x: xp.convolution(x, self.weight, None, *self.window, self.groups))

    def adjoint(self, u: Any) -> Any:
        """The transposed convolution: every entry of u spreads the kernel over the input."""
        return one_batch(
            u, self.out_shape, lambda u: xp.convolution_input(u, self.weight, None, *self.window, self.groups)
        )

    @property
    def T(self) -> LinearMap:
        """The transposed convolution."""
        return kept(ConvolutionTranspose(self), self)

    def array(self) -> Array | None:
        """The weight."""
        return self.weight

    # Its two matrices

    def toeplitz(self) -> Any:
        """The matrix as a `scipy.sparse.csr_array` (m, n): Toeplitz in 1-D, doubly blocked Toeplitz in 2-D, and so on.

        >>> import numpy as np, adjoint as aj
        >>> aj.Convolution(np.array([[[1.0, 2.0]]]), (1, 3)).toeplitz().toarray()
        array([[1., 2., 0.],
               [0., 1., 2.]])
        """
        from adjoint.maps.toeplitz import toeplitz

        return toeplitz(self)

    @property
    def unfold(self) -> Unfold:
        """im2col as a map: with one group, A x = weight.reshape(O, -1) @ (unfold @ x)."""
        stride, padding, dilation = self.window
        return Unfold(self.in_shape, self.kernel_size, dilation, padding, stride)

    def im2col(self, x: Array) -> Array:
        """The columns of x (…, C, *sizes), (…, C·∏kernel, positions): one for every place of the kernel."""
        return self.unfold(x)

    def col2im(self, columns: Array) -> Array:
        """Columns added back into place, the adjoint of `im2col`."""
        return self.unfold.T(columns)

    @property
    def columns(self) -> Columns:
        """The column matrix's shape, bytes, and bytes per byte of the input.

        >>> import numpy as np, adjoint as aj
        >>> aj.Convolution(np.ones((64, 32, 3, 3), "float32"), (32, 14, 14), padding=1).columns
        Columns(shape=(288, 196), nbytes=225792, overhead=9.0)
        """
        return self.unfold.columns(xp.zeros(self.weight, (0,)).dtype.itemsize)

    # Its norm, and what is often taken for it

    def reshaped_norm(self) -> Number:
        """σ₁ of weight.reshape(O, -1), which spectral normalization elsewhere takes for the norm (pytorch#13505).

        The map's own norm, `norm()`, is often larger: up to √∏kernel times this one, for so often may the columns
        repeat an entry (Tsuzuku et al. 2018).

        >>> import numpy as np, adjoint as aj
        >>> A = aj.Convolution(np.ones((1, 1, 3, 3)), (1, 8, 8), padding=1)
        >>> float(A.norm()), float(A.reshaped_norm())
        (8.2909, 3.0)
        """
        out, *seen = self.weight.shape
        found = Dense(xp.reshape(self.weight, (out, math.prod(seen)))).norm()
        return Number(float(found), found.bound, f"{found.method} of the reshaped kernel")


class ConvolutionTranspose(Adjoint):
    """The transposed convolution, Aᵀ of a `Convolution` A, as PyTorch's conv_transpose1d, conv_transpose2d …

    Its matrix is the transpose of A's, which is not the inverse. In PyTorch's terms A's weight (O, C/groups, *kernel)
    is this map's weight (in, out/groups, *kernel), and `output_padding` picks A's input among those of one output size.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Convolution(np.array([[[1.0, 10.0]]]), (1, 4), stride=2)
    >>> aj.ConvolutionTranspose(A) @ np.array([[1.0, 2.0]])
    array([[ 1., 10.,  2., 20.]])
    """

    __slots__ = ()
    map: Convolution

    def describe(self) -> str:
        """Its own word."""
        return type(self).__name__

    def toeplitz(self) -> Any:
        """The transpose of A's sparse matrix."""
        return self.map.toeplitz().T.tocsr()

    def flipped(self) -> LinearMap:
        """The same map as a convolution with the flipped kernel, channels exchanged; for strides, after zeros between.

        >>> import numpy as np, adjoint as aj
        >>> A = aj.Convolution(np.array([[[1.0, 2.0, 3.0]]]), (1, 5))
        >>> B = A.T.flipped()
        >>> B, B.weight.tolist()
        (Convolution: (1, 3) → (1, 5), [[[3.0, 2.0, 1.0]]])
        """
        A = self.map
        (out, per, *kernel), groups, n = A.weight.shape, A.groups, len(A.kernel_size)
        blocks = xp.swapaxes(xp.reshape(A.weight, (groups, out // groups, per, *kernel)), 1, 2)
        weight = xp.flip(xp.reshape(blocks, (groups * per, out // groups, *kernel)), tuple(range(2, n + 2)))
        stride, padding, dilation = A.window
        spread = tuple((t - 1) * s + 1 for t, s in zip(self.in_shape[1:], stride, strict=True))
        around = tuple(
            (r - 1 - a, r - 1 - b) for r, (a, b) in zip(reach(A.kernel_size, dilation), padding, strict=True)
        )
        back = Convolution(weight, (out, *spread), 1, around, dilation, groups)
        if max(stride) == 1:
            return back
        return back @ Slice((slice(None), *(slice(None, None, s) for s in stride)), (out, *spread)).T
