"""Pooling of any dimension, by the largest entry, the mean, or a norm."""

from __future__ import annotations

import functools
import math
import operator as python
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.pooling_windows import Windows
from adjoint.arrays.resampling_taps import Taps
from adjoint.errors import ShapeError
from adjoint.interop.onnx.convolutions import geometry, padding
from adjoint.interop.onnx.elementwise import whole as whole_numbers
from adjoint.interop.onnx.indexing import placed
from adjoint.interop.onnx.operators import Node, beside, operator
from adjoint.ops.define import plain


class Axis:
    """One axis that windows slide along: sizes, and how many windows there are."""

    def __init__(self, size: int, kernel: int, stride: int, dilation: int, before: int, after: int, up: bool) -> None:
        self.size, self.kernel, self.stride, self.dilation = size, kernel, stride, dilation
        self.before, self.after = before, after
        room = size + before + after - ((kernel - 1) * dilation + 1)
        self.count = (-(-room // stride) if up else room // stride) + 1
        if up and (self.count - 1) * stride >= size + before:
            self.count -= 1  # the last window would start in the padding behind
        if self.count < 1:
            raise ShapeError(
                f"pooling: a window of {kernel} entries, {dilation} apart, is wider than an axis of {size}."
            )

    def entries(self) -> Any:
        """(windows, kernel): what each sees, counted from the first entry of the axis."""
        return (np.arange(self.count) * self.stride - self.before)[:, None] + np.arange(self.kernel) * self.dilation


def axes_of(node: Node, x: Any) -> list[Axis]:
    """The axes of a node's windows."""
    kernel = tuple(node.get("kernel_shape") or ())
    n = len(kernel)
    if len(x.shape) != n + 2 or not n or min(kernel) < 1:
        raise ShapeError(f"{node.op}: kernel_shape {kernel} needs x (n, C) and as many axes, got {tuple(x.shape)}.")
    strides, dilations = geometry(node, n)
    sizes = tuple(int(m) for m in x.shape[2:])
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pairs = padding(node, sizes, spans, strides)
    up = bool(node.get("ceil_mode", 0))
    return [
        Axis(n, k, s, d, before, after, up)
        for n, k, s, d, (before, after) in zip(sizes, kernel, strides, dilations, pairs, strict=True)
    ]


@functools.lru_cache(1024)
def windows(size: int, count: int, kernel: int, stride: int, dilation: int) -> Windows:
    """Windows without padding."""
    return Windows(size, count, kernel, stride, 0, dilation)


@operator("MaxPool")
def max_pool(node: Node, x: Any) -> Any:
    """The largest entry of every window, and its place in all of x."""
    axes = axes_of(node, x)
    whole = [max((a.count - 1) * a.stride + (a.kernel - 1) * a.dilation + 1, 1) for a in axes]
    before = [a.before for a in axes]
    after = [n - a.size - a.before for n, a in zip(whole, axes, strict=True)]
    lowest = -math.inf if is_floating(x.dtype) else int(np.iinfo(str(x.dtype).removeprefix("torch.")).min)
    fitted = xp.getitem(x, (..., *(slice(0, a.size + min(k, 0)) for a, k in zip(axes, after, strict=True))))
    grown = [(b, max(k, 0)) for b, k in zip(before, after, strict=True)]
    padded = xp.pad(fitted, [(0, 0), (0, 0), *grown], lowest) if any(map(any, grown)) else fitted
    own = [windows(n, a.count, a.kernel, a.stride, a.dilation) for n, a in zip(whole, axes, strict=True)]
    y, at = xp.max_pool(padded, own)
    return (y, indices(node, plain(x), at, axes, whole)) if node.count > 1 else y


def indices(node: Node, x: Any, at: Any, axes: list[Axis], whole: list[int]) -> Any:
    """Positions in the padded axes as positions in all of x."""
    parts, at = [], plain(at)
    for a, n in zip(axes[::-1], whole[::-1], strict=True):
        parts.append(whole_numbers(python.mod, at, n) - a.before)
        at = whole_numbers(python.floordiv, at, n)
    flat: Any = None
    order = parts[::-1] if not node.get("storage_order", 0) else parts
    sizes = [a.size for a in axes] if not node.get("storage_order", 0) else [a.size for a in axes[::-1]]
    for part, n in zip(order, sizes, strict=True):
        flat = part if flat is None else flat * n + part
    n, c = int(x.shape[0]), int(x.shape[1])
    first = np.arange(n * c).reshape(n, c, *(1,) * len(axes)) * math.prod(a.size for a in axes)
    return xp.astype(flat + beside(flat, first), "int64")


@operator("AveragePool")
def average_pool(node: Node, x: Any) -> Any:
    """The mean of every window, of its entries alone or with the padding."""
    return xp.resample(x, tuple(means(a, bool(node.get("count_include_pad", 0))) for a in axes_of(node, x)))


def means(axis: Axis, padded: bool) -> Taps:
    """The matrix of means along an axis; those along several axes are its Kronecker products."""
    entries = axis.entries()
    inside = (entries >= 0) & (entries < axis.size)
    counted = (entries >= -axis.before) & (entries < axis.size + axis.after) if padded else inside
    weights = inside / np.maximum(counted.sum(1, keepdims=True), 1)
    return Taps(np.where(inside, entries, axis.size), weights, axis.size)


@operator("LpPool")
def lp_pool(node: Node, x: Any) -> Any:
    """The p-norm of every window."""
    p = node.get("p", 2)
    sums = []
    for axis in axes_of(node, x):
        entries = axis.entries()
        inside = (entries >= 0) & (entries < axis.size)
        sums.append(Taps(np.where(inside, entries, axis.size), inside * 1.0, axis.size))
    total = xp.resample(xp.pow(xp.abs(x), float(p)), tuple(sums))
    return xp.sqrt(total) if p == 2 else xp.pow(total, 1.0 / p)


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(node: Node, x: Any) -> Any:
    """One window over all positions."""
    axes = tuple(range(2, len(x.shape)))
    if node.op == "GlobalAveragePool":
        return xp.mean(x, axes, True)
    if node.op == "GlobalMaxPool":
        return xp.max(x, axes, True)
    p = node.get("p", 2)
    return xp.norm(x, axes, True) if p == 2 else xp.pow(xp.sum(xp.pow(xp.abs(x), float(p)), axes, True), 1.0 / p)


@operator("MaxUnpool", static=(2,))
def max_unpool(node: Node, x: Any, at: Any, output_shape: Any = None) -> Any:
    """Zeros with the entries of x at the positions that `MaxPool` gave."""
    x, at = placed(x, at)
    kernel = node.get("kernel_shape")
    n = len(kernel)
    strides, _ = geometry(node, n)
    pads = node.get("pads") or [0] * 2 * n
    sizes = [
        (m - 1) * s + k - a - b for m, s, k, a, b in zip(x.shape[2:], strides, kernel, pads[:n], pads[n:], strict=True)
    ]
    inferred = (int(x.shape[0]), int(x.shape[1]), *sizes)
    wanted = inferred if output_shape is None else tuple(int(m) for m in output_shape)
    flat = xp.put_along(xp.reshape(x, (-1,)), xp.reshape(plain(at), (-1,)), 0, math.prod(inferred))
    y = xp.reshape(flat, inferred)
    return xp.pad(y, [(0, m - k) for m, k in zip(wanted, inferred, strict=True)]) if wanted != inferred else y
