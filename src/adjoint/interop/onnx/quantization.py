"""Numbers as small integers. Rounding has no derivative; what is multiplied by a scale has one."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.convolutions import conv
from adjoint.interop.onnx.elementwise import converted
from adjoint.interop.onnx.operators import Node, dtype_name, operator, together
from adjoint.ops.define import plain

RANGES = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767), "uint4": (0, 15),
    "int4": (-8, 7), "uint2": (0, 3), "int2": (-2, 1),
}  # fmt: skip


def fitted(node: Node, value: Any, x: Any) -> Any:
    """A scale or zero point beside x: one for all, one an index of an axis, or one a block along it."""
    shape = tuple(value.shape)
    if not shape or shape == (1,):
        return xp.reshape(value, ())
    axis = node.get("axis", 1) % len(x.shape)
    block = node.get("block_size", 0)
    if block:
        value = xp.repeat(value, block, axis)
        return xp.getitem(value, (*(slice(None),) * axis, slice(int(x.shape[axis]))))
    return xp.reshape(value, (-1, *(1,) * (len(x.shape) - axis - 1)))


def floating(x: Any, dtype: Any = "float32") -> Any:
    """Integers, or small floating numbers, as floating numbers."""
    return xp.astype(x, dtype)


@operator("DequantizeLinear")
def dequantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    """(x - zero) · scale."""
    x, scale, zero = placed(x, scale, zero)
    dtype = node.dtype("output_dtype") if node.get("output_dtype", 0) else None
    wide = "float64" if dtype_name(scale) == "float64" else "float32"
    y = floating(x, wide)
    if zero is not None and not dtype_name(x).startswith("float"):
        y = y - floating(fitted(node, zero, x), wide)
    y = y * fitted(node, scale, x)
    wanted = scale.dtype if dtype is None else dtype
    return y if y.dtype == wanted else xp.astype(y, wanted)


def placed(x: Any, scale: Any, zero: Any) -> tuple[Any, Any, Any]:
    """The three on one backend."""
    if isinstance(plain(scale), (np.ndarray, np.generic)) and isinstance(plain(x), (np.ndarray, np.generic)):
        return x, scale, zero
    if isinstance(plain(scale), (np.ndarray, np.generic)):
        x, zero = together(x, zero)
        return x, xp.asarray(plain(x), np.asarray(scale)), zero
    x, scale, zero = together(x, scale, zero)
    return x, scale, zero


@operator("QuantizeLinear")
def quantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    """x / scale rounded to the even integer, plus zero, limited to what the dtype holds."""
    x, scale = together(plain(x), plain(scale))
    zero = plain(zero)
    code = node.get("output_dtype", 0)
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if zero is None and code:
        dtype = node.types.dtype(code)
    name = str(dtype).removeprefix("torch.")
    scale = fitted(node, scale, x)
    precision = node.dtype("precision") if node.get("precision", 0) else None
    if precision is not None:
        x, scale = xp.astype(x, precision), xp.astype(scale, precision)
    y = x / scale
    if name not in RANGES:
        return converted(y, np.dtype(dtype), bool(node.get("saturate", 1)))
    y = xp.round(floating(y))
    if zero is not None:
        y = y + floating(fitted(node, together(x, zero)[1], x))
    return xp.astype(xp.clip(y, *map(float, RANGES[name])), dtype if isinstance(dtype, np.dtype) else name)


@operator("DynamicQuantizeLinear")
def dynamic_quantize(node: Node, x: Any) -> Any:
    """(x as eight bits, their scale, their zero point), the range being that of x."""
    x = plain(x)
    low, high = xp.minimum(xp.min(x), 0.0), xp.maximum(xp.max(x), 0.0)
    span = high - low
    scale = xp.where(xp.equal(span, 0.0), xp.ones_like(span), span) / 255.0
    scale = xp.astype(scale, x.dtype)
    zero = xp.round(xp.clip(-low / scale, 0.0, 255.0))
    y = xp.clip(xp.round(x / scale) + zero, 0.0, 255.0)
    return xp.astype(y, "uint8"), scale, xp.astype(zero, "uint8")


def requantized(y: Any, scale: Any, zero: Any, like: Any) -> Any:
    """Exact sums times a scale, rounded and limited to eight bits."""
    dtype = like.dtype if zero is None else zero.dtype
    y = xp.round(y * scale + 0.0)
    y = y if zero is None else y + xp.astype(zero, "float64")
    low, high = RANGES[str(dtype).removeprefix("torch.")]
    return xp.astype(xp.clip(y, float(low), float(high)), dtype)


def centred(x: Any, zero: Any) -> Any:
    """x - zero, exact in float64."""
    x = floating(x, "float64")
    return x if zero is None else x - floating(zero, "float64")


@operator("QLinearMatMul")
def qlinear_matmul(
    node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:  # fmt: skip
    """A product of matrices of eight bits, in eight bits."""
    a, a_zero, b, b_zero, y_zero = together(*(plain(x) for x in (a, a_zero, b, b_zero, y_zero)))
    scale = factor(a, a_scale, b_scale, y_scale)
    return requantized(xp.matmul(centred(a, a_zero), centred(b, b_zero)), scale, y_zero, a)


def factor(like: Any, a: Any, b: Any, y: Any) -> Any:
    """The scale of sums of products."""
    a, b, y = (together(like, plain(x))[1] for x in (a, b, y))
    a, b, y = (xp.astype(x, "float64") for x in (a, b, y))
    return a * b / y


@operator("QLinearConv")
def qlinear_conv(
    node: Node, x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, y_scale: Any, y_zero: Any,
    bias: Any = None,
) -> Any:  # fmt: skip
    """A convolution of eight bits, in eight bits."""
    x, x_zero, w, w_zero, y_zero, bias = together(*(plain(k) for k in (x, x_zero, w, w_zero, y_zero, bias)))
    by_channel = tuple(w_scale.shape) not in ((), (1,))
    line = (-1, *(1,) * (len(w.shape) - 2))
    zero = w_zero if tuple(w_zero.shape) in ((), (1,)) else xp.reshape(w_zero, (-1, *(1,) * (len(w.shape) - 1)))
    sums = conv(node, centred(x, x_zero), centred(w, zero), None if bias is None else floating(bias, "float64"))
    scale = factor(x, x_scale, xp.reshape(plain(w_scale), line) if by_channel else w_scale, y_scale)
    return requantized(sums, scale, y_zero, x)
