"""The seam's convolutions: one n-D convolution, its adjoints in the input and in the weight, and PyTorch's names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from adjoint.arrays import convolution_windows as windows
from adjoint.arrays.convolution_windows import Pairs, Sizes, Window
from adjoint.arrays.dispatch import Array, Shape, composition
from adjoint.arrays.layout import expand_dims, getitem, pad, permute, put, reshape, squeeze, stack
from adjoint.arrays.products import matmul
from adjoint.arrays.reductions import sum
from adjoint.errors import ShapeError

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
    "convolution_input", "convolution_weight", "fold", "unfold",
]  # fmt: skip

# Columns: all that a window sees, position by position


def looks(kernel: Shape, positions: Shape, stride: Shape, dilation: Shape) -> Iterator[tuple[Any, ...]]:
    """For every entry of the kernel, the key of what it sees of the padded array, at all positions."""
    for offset in itertools.product(*map(range, kernel)):
        starts = [k * d for k, d in zip(offset, dilation, strict=True)]
        yield tuple(slice(a, a + s * (t - 1) + 1, s) for a, s, t in zip(starts, stride, positions, strict=True))


def around(x: Array, padding: Pairs) -> Array:
    """x with zeros before and after its last axes; where a number is negative, entries are left out instead."""
    lead = [(0, 0)] * (len(x.shape) - len(padding))
    if min(map(min, padding)) < 0:
        x = getitem(x, (Ellipsis, *(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(
            x.shape[len(lead):], padding, strict=True))))  # fmt: skip
    grown = [(max(a, 0), max(b, 0)) for a, b in padding]
    return pad(x, lead + grown) if max(map(max, grown)) else x


@composition
def unfold(x: Array, /, kernel_size: Sizes, dilation: Sizes = 1, padding: Any = 0, stride: Sizes = 1) -> Array:
    """im2col: the columns that a window sees, x (…, C, *sizes) to (…, C·∏kernel, positions), as PyTorch's F.unfold.

    A tuple `kernel_size` of n numbers slides over the last n axes, one number over the last two. Convolution is then
    a matrix product, weight.reshape(out, -1) @ unfold(x); `fold` is the adjoint.

    >>> import numpy as np, adjoint as aj
    >>> aj.unfold(np.arange(4.0)[None], (3,)).tolist()
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    kernel = kernel_of("unfold", kernel_size)
    n = len(kernel)
    if len(x.shape) <= n:
        few_axes("unfold", tuple(x.shape), kernel)
    *lead, c = x.shape[: len(x.shape) - n]
    sizes = tuple(x.shape)[len(lead) + 1 :]
    w = windows.window("unfold", sizes, kernel, stride, padding, dilation)
    positions = w.positions(sizes, kernel)
    x = around(x, w.padding)
    seen = [getitem(x, (Ellipsis, *key)) for key in looks(kernel, positions, w.stride, w.dilation)]
    return reshape(stack(seen, len(lead) + 1), (*lead, c * math.prod(kernel), math.prod(positions)))


@composition
def fold(
    u: Array, /, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Any = 0, stride: Sizes = 1
) -> Array:
    """col2im, the adjoint of `unfold`: columns (…, C·∏kernel, positions) added into place, (…, C, *output_size).

    >>> import numpy as np, adjoint as aj
    >>> aj.fold(np.ones((3, 2)), (4,), (3,)).tolist()
    [[1.0, 2.0, 2.0, 1.0]]
    """
    kernel, sizes, w, positions = folded("fold", tuple(u.shape), output_size, kernel_size, dilation, padding, stride)
    lead = tuple(u.shape)[:-2]
    c = u.shape[-2] // math.prod(kernel)
    u = reshape(u, (*lead, c, math.prod(kernel), *positions))
    full = tuple(n + a + b for n, (a, b) in zip(sizes, w.padding, strict=True))
    total: Any = None
    for k, key in enumerate(looks(kernel, positions, w.stride, w.dilation)):
        part = put(getitem(u, (Ellipsis, k, *(slice(None),) * len(positions))), (Ellipsis, *key), (*lead, c, *full))
        total = part if total is None else total + part
    return around(total, tuple((-a, -b) for a, b in w.padding))


def kernel_of(name: str, kernel_size: Any, ndim: int = 2) -> Shape:
    """The kernel's sizes: those given, or one number for `ndim` axes."""
    return windows.each(name, "kernel_size", kernel_size, len(kernel_size) if hasattr(kernel_size, "__len__") else ndim)


def few_axes(name: str, shape: Shape, kernel: Shape) -> None:
    """Raise: x has no axis of channels."""
    raise ShapeError(
        f"{name}: the kernel {kernel} slides over the last {len(kernel)} axes, and channels are the one before; "
        f"the input {shape} has {len(shape)}: add an axis, x[None]."
    )


def folded(
    name: str, columns: Shape, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[Shape, Shape, Window, Shape]:
    """(kernel, sizes, window, positions) of columns that go back into an array; raises where they do not."""
    ndim = max([len(x) for x in (kernel_size, output_size) if hasattr(x, "__len__")], default=2)
    kernel = windows.each(name, "kernel_size", kernel_size, ndim)
    sizes = windows.each(name, "output_size", output_size, ndim)
    w = windows.window(name, sizes, kernel, stride, padding, dilation)
    positions = w.positions(sizes, kernel)
    if len(columns) < 2 or columns[-2] % math.prod(kernel) or columns[-1] != math.prod(positions):
        raise ShapeError(
            f"{name}: columns {columns} do not fit: axis -2 holds channels times the {math.prod(kernel)} entries of "
            f"the kernel {kernel}, axis -1 the {math.prod(positions)} positions {positions} in an array of {sizes}."
        )
    return kernel, sizes, w, positions


# One convolution and its two adjoints: ⟨convolution(x, w), u⟩ = ⟨x, convolution_input(u, w)⟩ = ⟨w, …_weight(x, u)⟩


@composition
def convolution(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Shape = (1,), padding: Pairs = ((0, 0),),
    dilation: Shape = (1,), groups: int = 1,
) -> Array:  # fmt: skip
    """Σ over channels and kernel of weight · x, plus bias: x (N, C, *sizes), weight (O, C/groups, *kernel), bias (O,).

    The options are those of an exact `Window`. A matrix product with the columns of x.
    """
    w = Window(stride, padding, dilation)
    n, c, *sizes = x.shape
    out, kernel = weight.shape[0], tuple(weight.shape[2:])
    positions = w.positions(tuple(sizes), kernel)
    seen, count = c // groups * math.prod(kernel), math.prod(positions)
    columns = reshape(unfold(x, kernel, dilation, padding, stride), (n, groups, seen, count))
    y = matmul(by_group(weight, groups), columns)
    y = reshape(y, (n, out, *positions))
    return y if bias is None else y + reshape(bias, (out, *(1,) * len(positions)))


@composition
def convolution_input(
    u: Array, weight: Array, bias: Array | None = None, /, stride: Shape = (1,), padding: Pairs = ((0, 0),),
    dilation: Shape = (1,), groups: int = 1,
) -> Array:  # fmt: skip
    """The adjoint of `convolution` in x, u (N, O, *positions) to (N, C, *sizes), plus bias (C,): a transposed one."""
    w = Window(stride, padding, dilation)
    n, out, *positions = u.shape
    kernel = tuple(weight.shape[2:])
    sizes, c = w.sizes(tuple(positions), kernel), weight.shape[1] * groups
    rows = reshape(u, (n, groups, out // groups, math.prod(positions)))
    columns = matmul(permute(by_group(weight, groups), (0, 2, 1)), rows)
    x = fold(
        reshape(columns, (n, c * math.prod(kernel), math.prod(positions))), sizes, kernel, dilation, padding, stride
    )
    return x if bias is None else x + reshape(bias, (c, *(1,) * len(sizes)))


@composition
def convolution_weight(
    x: Array, u: Array, /, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,), groups: int = 1
) -> Array:
    """The adjoint of `convolution` in the weight: x (N, C, *sizes), u (N, O, *positions) to (O, C/groups, *kernel)."""
    w = Window(stride, padding, dilation)
    n, c, *sizes = x.shape
    out, positions = u.shape[1], tuple(u.shape[2:])
    kernel = w.kernel(tuple(sizes), positions)
    seen, count = c // groups * math.prod(kernel), math.prod(positions)
    columns = reshape(unfold(x, kernel, dilation, padding, stride), (n, groups, seen, count))
    rows = reshape(u, (n, groups, out // groups, count))
    return reshape(sum(matmul(rows, permute(columns, (0, 1, 3, 2))), 0), (out, c // groups, *kernel))


def by_group(weight: Array, groups: int) -> Array:
    """A weight (O, C/groups, *kernel) as one matrix a group, (groups, O/groups, C/groups·∏kernel)."""
    out, *seen = weight.shape
    return reshape(weight, (groups, out // groups, math.prod(seen)))


# PyTorch's names


def convolved(
    name: str, ndim: int, x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Array:  # fmt: skip
    """A convolution by PyTorch's options, of a batch or of a single example."""
    many, w = windows.fitting(name, ndim, x, weight, bias, stride, padding, dilation, groups)
    y = convolution(x if many else expand_dims(x, 0), weight, bias, *w, groups)
    return y if many else squeeze(y, 0)


def transposed(
    name: str, ndim: int, x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Array:  # fmt: skip
    """A transposed convolution by PyTorch's options, of a batch or of a single example."""
    options = (stride, padding, output_padding, dilation)
    many, w = windows.fitting_transposed(name, ndim, x, weight, bias, *options, groups)
    y = convolution_input(x if many else expand_dims(x, 0), weight, bias, *w, groups)
    return y if many else squeeze(y, 0)


@composition
def conv1d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """Convolution along one axis, y[o, t] = Σ weight[o, c, k] · x[c, t·stride + k·dilation - padding] + bias[o].

    x (N, C, L) or (C, L), weight (O, C/groups, K), bias (O,) or None, result (N, O, T) or (O, T). `padding` is a
    number, "same" or "valid". As a matrix it is a Toeplitz matrix. Raises `ShapeError` where the shapes do not fit.

    >>> import numpy as np, adjoint as aj
    >>> aj.conv1d(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([[[1.0, -1.0]]])).tolist()
    [[-1.0, -2.0, -4.0]]
    """
    return convolved("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@composition
def conv2d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """Convolution of images: x (N, C, H, W) or (C, H, W), weight (O, C/groups, K, K'), bias (O,) or None.

    The same sum as `conv1d`'s over two axes; `stride`, `padding`, `dilation` are one number or one an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1).tolist()
    [[[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]]
    """
    return convolved("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


@composition
def conv3d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """Convolution of volumes or videos: x (N, C, D, H, W) or (C, D, H, W), weight (O, C/groups, K, K', K''), bias (O,).

    >>> import numpy as np, adjoint as aj
    >>> aj.conv3d(np.ones((1, 3, 3, 3)), np.ones((2, 1, 3, 3, 3))).shape
    (2, 1, 1, 1)
    """
    return convolved("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


@composition
def conv_transpose1d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """The adjoint of `conv1d` in its input, plus bias: weight[c, o, k] · x[c, t] is added to y[o, t·stride + k·dilation
    - padding].

    x (N, C, L) or (C, L), weight (C, O/groups, K), bias (O,) or None. It is the transpose of the convolution's matrix,
    not its inverse. `output_padding` chooses among the lengths that the convolution takes to L.

    >>> import numpy as np, adjoint as aj
    >>> aj.conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0]]]), stride=2).tolist()
    [[1.0, 10.0, 2.0, 20.0]]
    """
    return transposed("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


@composition
def conv_transpose2d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """The adjoint of `conv2d` in its input, plus bias: x (N, C, H, W) or (C, H, W), weight (C, O/groups, K, K').

    >>> import numpy as np, adjoint as aj
    >>> aj.conv_transpose2d(np.ones((1, 4, 4)), np.ones((1, 3, 2, 2)), stride=2).shape
    (3, 8, 8)
    """
    return transposed("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


@composition
def conv_transpose3d(
    x: Array, weight: Array, bias: Array | None = None, /, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """The adjoint of `conv3d` in its input, plus bias: x (N, C, D, H, W) or (C, D, H, W), weight (C, O/groups, *K).

    >>> import numpy as np, adjoint as aj
    >>> aj.conv_transpose3d(np.ones((1, 2, 2, 2)), np.ones((1, 1, 2, 2, 2)), stride=2).shape
    (1, 4, 4, 4)
    """
    return transposed("conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation)
