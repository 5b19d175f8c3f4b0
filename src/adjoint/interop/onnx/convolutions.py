"""Convolutions of any dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import Window, reach
from adjoint.arrays.convolutions import convolved
from adjoint.errors import ShapeError
from adjoint.interop.onnx.operators import Node, operator, together

Pairs = tuple[tuple[int, int], ...]


def geometry(node: Node, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(strides, dilations), 1 where they are not given."""
    strides, dilations = (tuple(node.get(name) or [1] * ndim) for name in ("strides", "dilations"))
    if len(strides) != ndim or len(dilations) != ndim or min((*strides, *dilations)) < 1:
        raise ShapeError(f"{node.op}: strides {strides} and dilations {dilations} of {ndim} axes: positive, one each.")
    return strides, dilations


def padding(node: Node, sizes: tuple[int, ...], spans: tuple[int, ...], strides: tuple[int, ...]) -> Pairs:
    """Zeros (before, after) each axis: given, or as many as keep ⌈size / stride⌉ positions."""
    auto = node.get("auto_pad", "NOTSET")
    n = len(sizes)
    if auto == "VALID":
        return ((0, 0),) * n
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        missing = [max((-(-m // s) - 1) * s + r - m, 0) for m, r, s in zip(sizes, spans, strides, strict=True)]
        return tuple((k // 2, k - k // 2) if auto == "SAME_UPPER" else (k - k // 2, k // 2) for k in missing)
    pads = node.get("pads") or [0] * 2 * n
    if len(pads) != 2 * n:
        raise ShapeError(f"{node.op}: {len(pads)} numbers of padding for {n} axes: two an axis.")
    return tuple(zip(pads[:n], pads[n:], strict=True))


def named(node: Node, weight: Any) -> None:
    """Raise where the kernel's shape is not what the node says."""
    said = node.get("kernel_shape")
    if said and tuple(said) != tuple(weight.shape[2:]):
        raise ShapeError(f"{node.op}: kernel_shape is {tuple(said)}, the weight {tuple(weight.shape)}.")


@operator("Conv")
def conv(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    """Σ weight · x + bias: x (n, C, *sizes), weight (O, C/group, *kernel)."""
    x, weight, bias = together(x, weight, bias)
    ndim = len(weight.shape) - 2
    if ndim < 1 or len(x.shape) != ndim + 2:
        raise ShapeError(f"Conv: x is (n, C, *sizes), the weight (O, C, *kernel); got {x.shape} and {weight.shape}.")
    named(node, weight)
    strides, dilations = geometry(node, ndim)
    pairs = padding(node, tuple(x.shape[2:]), reach(tuple(weight.shape[2:]), dilations), strides)
    return convolved("Conv", ndim, x, weight, bias, strides, pairs, dilations, node.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    """The transposed convolution: x (n, C, *positions), weight (C, O/group, *kernel)."""
    x, weight, bias = together(x, weight, bias)
    ndim, group = len(weight.shape) - 2, node.get("group", 1)
    if ndim < 1 or len(x.shape) != ndim + 2 or x.shape[1] != weight.shape[0] or x.shape[1] % group:
        raise ShapeError(
            f"ConvTranspose: x is (n, C, *sizes), the weight (C, O, *kernel); got {x.shape}, {weight.shape}."
        )
    named(node, weight)
    strides, dilations = geometry(node, ndim)
    spans = reach(tuple(weight.shape[2:]), dilations)
    more = node.get("output_padding") or [0] * ndim
    sizes = node.get("output_shape")
    whole = [s * (n - 1) + r + o for n, s, r, o in zip(x.shape[2:], strides, spans, more, strict=True)]
    auto = node.get("auto_pad", "NOTSET")
    if sizes is None and auto.startswith("SAME"):
        sizes = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if sizes is not None:
        cut = [w - n for w, n in zip(whole, list(sizes)[-ndim:], strict=True)]
        less = [(k // 2, k - k // 2) if auto == "SAME_UPPER" else (k - k // 2, k // 2) for k in cut]
        pairs = [pair if k > 0 else (0, k) for k, pair in zip(cut, less, strict=True)]
    else:
        pairs = list(padding(node, tuple(x.shape[2:]), spans, strides))
    window = Window(strides, tuple((a, b - o) for (a, b), o in zip(pairs, more, strict=True)), dilations)
    if min(window.sizes(tuple(x.shape[2:]), tuple(weight.shape[2:]))) < 1:
        raise ShapeError(f"ConvTranspose: pads {pairs} leave nothing of {tuple(whole)}.")
    return xp.convolution_input(x, weight, bias, *window, group)


@operator("ConvInteger")
def conv_integer(node: Node, x: Any, weight: Any, x_zero: Any = None, w_zero: Any = None) -> Any:
    """A convolution of integers without their zero points, exact in float64, as 32-bit integers."""
    x, weight, x_zero, w_zero = together(x, weight, x_zero, w_zero)
    a, b = xp.astype(x, "float64"), xp.astype(weight, "float64")
    a = a if x_zero is None else a - xp.astype(x_zero, "float64")
    if w_zero is not None:
        zero = xp.astype(w_zero, "float64")
        b = b - (xp.reshape(zero, (-1,) + (1,) * (len(b.shape) - 1)) if np.ndim(zero) == 1 else zero)
    return xp.astype(xp.round(conv(node, a, b)), "int32")


@operator("CausalConvWithState")
def causal_conv(node: Node, x: Any, weight: Any, bias: Any = None, past: Any = None) -> Any:
    """A convolution of every channel by itself along what came before, and the entries that the next one needs."""
    x, weight, bias, past = together(x, weight, bias, past)
    channels, k = int(x.shape[1]), int(weight.shape[2])
    x = xp.pad(x, [(0, 0), (0, 0), (k - 1, 0)]) if past is None else xp.concatenate([past, x], 2)
    y = xp.conv1d(x, weight, bias, groups=channels)
    y = xp.silu(y) if node.get("activation", "none") in ("silu", "swish") else y
    return y, xp.getitem(x, (..., slice(int(x.shape[2]) - (k - 1), None)))
