"""The seam's pooling: windows along the last axes, one number each, by their largest entry, their mean or their norm.

Arguments are PyTorch's: x is (batch, channels, …) or (channels, …); `kernel_size`, `stride` (None: the kernel's),
`padding` on either side and `dilation` are an integer or one for each axis; with `ceil_mode` a last window may reach
over the end. The window over everything (global pooling) is the adaptive one of output_size 1. All of them share three
linear maps: `pick` and its adjoint `place` at the positions that `max_pool` finds, and for means `resample`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays.dispatch import Array, Shape, composition
from adjoint.arrays.layout import asarray, broadcast_to, ones_like, put_along, reshape, take, take_along
from adjoint.arrays.pooling_windows import (
    Ints,
    Windows,
    adaptive_windows_of,
    along_axes,
    flat_entries,
    spatial_shape,
    windows_of,
)
from adjoint.arrays.reductions import argmax
from adjoint.arrays.resampling import check_floating, resample
from adjoint.arrays.resampling_taps import averaging
from adjoint.errors import ShapeError

# What the others are made of


@composition
def max_pool(x: Array, /, windows: Sequence[Windows]) -> Any:
    """(largest entries, their positions) of windows along the last axes; positions count in these axes flattened.

    Of equal entries the first counts; NaN is larger than any number.
    """
    entries = flat_entries(tuple(windows))
    count, k = entries.shape
    lead = tuple(x.shape)[: -len(windows)]
    values = take(reshape(x, (*lead, math.prod(w.size for w in windows))), entries, -1)
    start = asarray(x, np.arange(count) * k)
    indices = take(asarray(x, entries.reshape(-1)), argmax(values, -1) + start, 0)
    indices = reshape(indices, (*lead, *[w.count for w in windows]))
    return pick(x, indices, len(windows)), indices


@composition
def pick(x: Array, /, indices: Array, ndim: int) -> Array:
    """Entries of x at positions in its last `ndim` axes flattened; leading axes that indices lack are repeated."""
    shape = tuple(x.shape)
    lead, size = shape[:-ndim], math.prod(shape[-ndim:])
    picked = take_along(reshape(x, (*lead, size)), _flat(indices, lead, ndim), -1)
    return reshape(picked, (*lead, *indices.shape[-ndim:]))


@composition
def place(u: Array, /, indices: Array, shape: Shape) -> Array:
    """The adjoint of `pick`: u added into zeros (…, *shape) at positions in these axes flattened."""
    ndim = len(shape)
    lead, count = tuple(u.shape)[:-ndim], math.prod(u.shape[-ndim:])
    placed = put_along(reshape(u, (*lead, count)), _flat(indices, lead, ndim), -1, math.prod(shape))
    return reshape(placed, (*lead, *shape))


def _flat(indices: Array, lead: Shape, ndim: int) -> Array:
    own, count = tuple(indices.shape)[:-ndim], math.prod(indices.shape[-ndim:])
    flat = reshape(indices, (*(1,) * (len(lead) - len(own)), *own, count))
    return flat if len(own) == len(lead) else broadcast_to(flat, (*lead, count))


def _max_pooled(x: Array, windows: Sequence[Windows], return_indices: bool) -> Any:
    y, indices = max_pool(x, windows)
    if not return_indices:
        return y
    return y, indices + asarray(indices, np.zeros((), np.int64))  # PyTorch's int64, or what JAX has


def _averaged(
    name: str, x: Array, windows: Sequence[Windows], count_include_pad: bool = True, divisor: float | None = None
) -> Array:
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override is not zero.")
    shares = [divisor, *[None if divisor is None else 1] * (len(windows) - 1)]
    taps = tuple([averaging(w, bool(count_include_pad), share) for w, share in zip(windows, shares, strict=True)])
    check_floating(name, x, taps)
    return resample(x, taps)


# The largest entry


@composition
def max_pool1d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest entry of every window along the last axis; with return_indices also its position there.

    x (…, channels, length). The derivative picks these entries, of equal ones the first. Raises `ShapeError`.

    >>> import numpy as np, adjoint as aj
    >>> aj.max_pool1d(np.array([[1.0, 3.0, 2.0, 2.0]]), 2).tolist()
    [[3.0, 2.0]]
    >>> aj.jacobian(lambda x: aj.max_pool1d(x, 2), np.array([[1.0, 3.0, 2.0, 2.0]]))
    Selection: (1, 4) → (1, 2)
    """
    w = windows_of("max_pool1d", x, 1, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pooled(x, w, return_indices)


@composition
def max_pool2d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest entry of every window of the last two axes; with return_indices its flat position too.

    x (…, channels, height, width). The derivative picks these entries, of equal ones the first. Raises `ShapeError`.

    >>> import numpy as np, adjoint as aj
    >>> y, indices = aj.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2, return_indices=True)
    >>> y.tolist(), indices.tolist()
    ([[[5.0, 7.0], [13.0, 15.0]]], [[[5, 7], [13, 15]]])
    """
    w = windows_of("max_pool2d", x, 2, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pooled(x, w, return_indices)


@composition
def max_pool3d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest entry of every window of the last three axes; with return_indices also its flat position.

    x (…, channels, depth, height, width). The derivative picks these entries, of equal ones the first.

    >>> import numpy as np, adjoint as aj
    >>> aj.max_pool3d(np.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[7.0]]]]
    """
    w = windows_of("max_pool3d", x, 3, kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pooled(x, w, return_indices)


@composition
def adaptive_max_pool1d(x: Array, /, output_size: Any, return_indices: bool = False) -> Any:
    """The largest entry of each of `output_size` windows that cover the last axis, some overlapping if need be.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_max_pool1d(np.array([[1.0, 3.0, 2.0]]), 2).tolist()
    [[3.0, 3.0]]
    """
    return _max_pooled(x, adaptive_windows_of("adaptive_max_pool1d", x, 1, output_size), return_indices)


@composition
def adaptive_max_pool2d(x: Array, /, output_size: Any, return_indices: bool = False) -> Any:
    """The largest entry of each window, so many along the last two axes as `output_size` says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_max_pool2d(np.arange(6.0).reshape(1, 2, 3), (1, None)).tolist()
    [[[3.0, 4.0, 5.0]]]
    """
    return _max_pooled(x, adaptive_windows_of("adaptive_max_pool2d", x, 2, output_size), return_indices)


@composition
def adaptive_max_pool3d(x: Array, /, output_size: Any, return_indices: bool = False) -> Any:
    """The largest entry of each window, so many along the last three axes as `output_size` says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_max_pool3d(np.arange(8.0).reshape(1, 2, 2, 2), 1).tolist()
    [[[[7.0]]]]
    """
    return _max_pooled(x, adaptive_windows_of("adaptive_max_pool3d", x, 3, output_size), return_indices)


# Back to where the largest entries were


def _unpooled(
    name: str, x: Array, indices: Array, ndim: int, kernel_size: Ints, stride: Ints | None, padding: Ints, wanted: Any
) -> Array:
    if tuple(x.shape) != tuple(indices.shape):
        raise ShapeError(f"{name}: x {tuple(x.shape)} and indices {tuple(indices.shape)} must have one shape.")
    kernels = along_axes(name, "kernel_size", kernel_size, ndim)
    strides = kernels if stride is None else along_axes(name, "stride", stride, ndim)
    pads = along_axes(name, "padding", padding, ndim)
    pooled = spatial_shape(name, x, ndim)
    shape = tuple([(n - 1) * s + k - 2 * p for n, k, s, p in zip(pooled, kernels, strides, pads, strict=True)])
    if wanted is not None:
        given = tuple(wanted)[-ndim:]
        if len(wanted) not in (ndim, ndim + 2) or any(
            abs(m - n) >= s for m, n, s in zip(given, shape, strides, strict=False)
        ):
            raise ShapeError(
                f"{name}: output_size {tuple(wanted)} cannot have been pooled to {pooled}: {shape} can, and what "
                f"differs from it by less than the stride {strides}."
            )
        shape = given
    if math.prod(shape) <= 0 < math.prod(pooled):
        raise ShapeError(f"{name}: the result would have the shape {shape}: padding {pads} is too much.")
    many = place(ones_like(x), indices, shape)
    return place(x, indices, shape) / el.maximum(many, 1.0)


@composition
def max_unpool1d(
    x: Array, indices: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """Zeros with the entries of x at the positions of `max_pool1d`; `output_size` where the stride leaves a choice.

    Where a position occurs more than once, the mean of its entries. Raises `ShapeError`, and IndexError for a position
    outside.

    >>> import numpy as np, adjoint as aj
    >>> aj.max_unpool1d(np.array([[3.0, 2.0]]), np.array([[1, 2]]), 2).tolist()
    [[0.0, 3.0, 2.0, 0.0]]
    """
    return _unpooled("max_unpool1d", x, indices, 1, kernel_size, stride, padding, output_size)


@composition
def max_unpool2d(
    x: Array, indices: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """Zeros with the entries of x at the positions that `max_pool2d` gave; see `max_unpool1d`.

    >>> import numpy as np, adjoint as aj
    >>> aj.max_unpool2d(np.array([[[5.0]]]), np.array([[[3]]]), 2).tolist()
    [[[0.0, 0.0], [0.0, 5.0]]]
    """
    return _unpooled("max_unpool2d", x, indices, 2, kernel_size, stride, padding, output_size)


@composition
def max_unpool3d(
    x: Array, indices: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """Zeros with the entries of x at the positions that `max_pool3d` gave; see `max_unpool1d`.

    >>> import numpy as np, adjoint as aj
    >>> aj.max_unpool3d(np.ones((1, 1, 1, 1)), np.array([[[[7]]]]), 2).ravel().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    return _unpooled("max_unpool3d", x, indices, 3, kernel_size, stride, padding, output_size)


# The mean


@composition
def avg_pool1d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:  # fmt: skip
    """The mean of every window along the last axis, zeros of the padding counted where count_include_pad.

    >>> import numpy as np, adjoint as aj
    >>> aj.avg_pool1d(np.array([[1.0, 3.0, 2.0, 6.0]]), 2).tolist()
    [[2.0, 4.0]]
    >>> aj.jacobian(lambda x: aj.avg_pool1d(x, 2), np.ones((1, 4)))
    Resampling: (1, 4) → (1, 2)
    """
    w = windows_of("avg_pool1d", x, 1, kernel_size, stride, padding, 1, ceil_mode)
    return _averaged("avg_pool1d", x, w, count_include_pad)


@composition
def avg_pool2d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """The mean of every window of the last two axes, or its sum over divisor_override.

    >>> import numpy as np, adjoint as aj
    >>> aj.avg_pool2d(np.array([[[1.0, 3.0], [2.0, 6.0]]]), 2).tolist()
    [[[3.0]]]
    """
    w = windows_of("avg_pool2d", x, 2, kernel_size, stride, padding, 1, ceil_mode)
    return _averaged("avg_pool2d", x, w, count_include_pad, divisor_override)


@composition
def avg_pool3d(
    x: Array, /, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """The mean of every window of the last three axes, or its sum over divisor_override.

    >>> import numpy as np, adjoint as aj
    >>> aj.avg_pool3d(np.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[3.5]]]]
    """
    w = windows_of("avg_pool3d", x, 3, kernel_size, stride, padding, 1, ceil_mode)
    return _averaged("avg_pool3d", x, w, count_include_pad, divisor_override)


@composition
def adaptive_avg_pool1d(x: Array, /, output_size: Any) -> Array:
    """The mean of each of `output_size` windows that cover the last axis, overlapping where it does not divide.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_avg_pool1d(np.array([[1.0, 3.0, 2.0]]), 2).tolist()
    [[2.0, 2.5]]
    """
    return _averaged("adaptive_avg_pool1d", x, adaptive_windows_of("adaptive_avg_pool1d", x, 1, output_size))


@composition
def adaptive_avg_pool2d(x: Array, /, output_size: Any) -> Array:
    """The mean of each window, so many along the last two axes as `output_size` says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_avg_pool2d(np.ones((5, 8, 7, 7)), 1).shape
    (5, 8, 1, 1)
    """
    return _averaged("adaptive_avg_pool2d", x, adaptive_windows_of("adaptive_avg_pool2d", x, 2, output_size))


@composition
def adaptive_avg_pool3d(x: Array, /, output_size: Any) -> Array:
    """The mean of each window, so many along the last three axes as `output_size` says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.adaptive_avg_pool3d(np.ones((1, 4, 4, 4)), (1, None, 2)).shape
    (1, 1, 4, 2)
    """
    return _averaged("adaptive_avg_pool3d", x, adaptive_windows_of("adaptive_avg_pool3d", x, 3, output_size))


# The norm


def _normed(
    name: str, x: Array, ndim: int, norm_type: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool
) -> Array:
    means = _averaged(name, x**norm_type, windows_of(name, x, ndim, kernel_size, stride, 0, 1, ceil_mode))
    return (means * float(math.prod(along_axes(name, "kernel_size", kernel_size, ndim)))) ** (1.0 / norm_type)


@composition
def lp_pool1d(
    x: Array, /, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    """(k · mean xᵖ)^(1/p) of every window along the last axis, p = norm_type, k = kernel_size: the p-norm.

    >>> import numpy as np, adjoint as aj
    >>> aj.lp_pool1d(np.array([[3.0, 4.0]]), 2.0, 2).tolist()
    [[5.0]]
    """
    return _normed("lp_pool1d", x, 1, norm_type, kernel_size, stride, ceil_mode)


@composition
def lp_pool2d(
    x: Array, /, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    """(Σ xᵖ)^(1/p) of every window of the last two axes; see `lp_pool1d`.

    >>> import numpy as np, adjoint as aj
    >>> aj.lp_pool2d(np.ones((1, 2, 2)), 2.0, 2).tolist()
    [[[2.0]]]
    """
    return _normed("lp_pool2d", x, 2, norm_type, kernel_size, stride, ceil_mode)


@composition
def lp_pool3d(
    x: Array, /, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Array:
    """(Σ xᵖ)^(1/p) of every window of the last three axes; see `lp_pool1d`.

    >>> import numpy as np, adjoint as aj
    >>> aj.lp_pool3d(np.ones((1, 1, 2, 2)), 2.0, (1, 2, 2)).tolist()
    [[[[2.0]]]]
    """
    return _normed("lp_pool3d", x, 3, norm_type, kernel_size, stride, ceil_mode)
