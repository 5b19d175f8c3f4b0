"""Element by element: arithmetic, comparisons, logic, casts."""

from __future__ import annotations

import functools
import operator as python
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.shapes import ShapeArray
from adjoint.interop.entries import dtype_of
from adjoint.interop.onnx.operators import Node, beside, dtype_name, hosted, operator, together
from adjoint.interop.onnx.types import SMALL
from adjoint.ops.define import plain

UNARY = {
    "Abs": xp.abs, "Acos": xp.acos, "Acosh": xp.acosh, "Asin": xp.asin, "Asinh": xp.asinh, "Atan": xp.atan,
    "Atanh": xp.atanh, "Ceil": xp.ceil, "Cos": xp.cos, "Cosh": xp.cosh, "Erf": xp.erf, "Exp": xp.exp,
    "Floor": xp.floor, "IsNaN": xp.isnan, "Log": xp.log, "Neg": xp.negative, "Not": xp.logical_not,
    "Round": xp.round, "Sign": xp.sign, "Sin": xp.sin, "Sinh": xp.sinh, "Sqrt": xp.sqrt, "Tan": xp.tan,
    "Tanh": xp.tanh,
}  # fmt: skip
BINARY = {
    "Add": xp.add, "Sub": xp.subtract, "Mul": xp.multiply, "And": xp.logical_and, "Or": xp.logical_or,
    "Xor": xp.not_equal, "Equal": xp.equal, "Less": xp.less, "LessOrEqual": xp.less_equal, "Greater": xp.greater,
    "GreaterOrEqual": xp.greater_equal,
}  # fmt: skip


def unary(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of one array."""
    return lambda node, x: function(x)


def binary(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of two arrays."""
    return lambda node, x, y: function(*together(x, y))


for name, one in UNARY.items():
    operator(name)(unary(one))
for name, two in BINARY.items():
    operator(name)(binary(two))


@operator("Identity")
def identity(node: Node, x: Any) -> Any:
    """x itself."""
    return x


@operator("Reciprocal")
def reciprocal(node: Node, x: Any) -> Any:
    """1/x."""
    return 1.0 / x


@operator("Div")
def div(node: Node, x: Any, y: Any) -> Any:
    """x / y; integers are rounded towards zero."""
    x, y = together(x, y)
    return xp.divide(x, y) if is_floating(x.dtype) else whole(quotient, x, y)


def quotient(x: Any, y: Any) -> Any:
    """Integers divided and rounded towards zero."""
    down = x // y
    return down + ((x % y != 0) & ((x < 0) != (y < 0)))


def whole(function: Callable[..., Any], x: Any, y: Any) -> Any:
    """A function of integers that the seam lacks, by the operators that arrays of every backend have."""
    x, y = plain(x), plain(y)
    if isinstance(x, ShapeArray) or isinstance(y, ShapeArray):
        return xp.add(x, y)  # its shape is all that counts
    found = function(x, y)
    return found if found.dtype == x.dtype else xp.astype(found, x.dtype)


@operator("Mod")
def mod(node: Node, x: Any, y: Any) -> Any:
    """The remainder: of y's sign, or of x's where `fmod` is set."""
    x, y = together(x, y)
    if not is_floating(x.dtype):
        return whole((lambda a, b: a - b * quotient(a, b)) if node.get("fmod", 0) else python.mod, x, y)
    if plain(x) is x and plain(y) is y and not node.get("fmod", 0) and not isinstance(x, ShapeArray):
        return x % y
    ratio = x / y
    size = xp.floor(xp.abs(ratio))
    return x - y * (xp.sign(ratio) * size if node.get("fmod", 0) else xp.floor(ratio))


@operator("Pow")
def power(node: Node, x: Any, y: Any) -> Any:
    """x ** y in the dtype of x."""
    dtype = x.dtype
    floating = is_floating(dtype)
    if isinstance(y, (np.ndarray, np.generic)) and y.size == 1 and y.ndim == 0 and floating:
        y = float(y)  # its slope has a form of its own
    elif hosted(plain(y)) and not hosted(plain(x)):
        y = beside(x, y)
    elif hosted(plain(x)) and not hosted(plain(y)):
        x = beside(y, x)
    z = xp.pow(x, y if isinstance(y, float) or not floating or is_floating(y.dtype) else xp.astype(y, dtype))
    return z if z.dtype == dtype else xp.astype(z, dtype)


def variadic(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operator that takes any number of arrays, two at a time."""
    return lambda node, *xs: functools.reduce(function, together(*xs))


for name, two in {"Max": xp.maximum, "Min": xp.minimum, "Sum": xp.add}.items():
    operator(name)(variadic(two))


@operator("Mean")
def mean(node: Node, *xs: Any) -> Any:
    """The mean of arrays."""
    return functools.reduce(xp.add, together(*xs)) * (1.0 / len(xs))


@operator("Clip", fixed=(1, 2))
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    """x limited; the bounds are attributes before version 11."""
    low, high = (node.get(name) if bound is None else bound for name, bound in (("min", low), ("max", high)))
    if is_floating(x.dtype) and all(b is None or hosted(b) for b in (low, high)):
        if low is not None and high is not None and not np.ndim(low) and not np.ndim(high) and low > high:
            return xp.full(x, tuple(x.shape), float(high))
        return xp.clip(x, *(None if b is None else float(np.asarray(b).reshape(())) for b in (low, high)))
    x, low, high = together(x, low, high)
    if low is not None:
        x = xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


@operator("Where")
def where(node: Node, condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, y elsewhere."""
    x, y = together(x, y)
    if not hosted(plain(condition)):
        condition, x, y = together(condition, x, y) if hosted(plain(x)) else (condition, x, y)
    elif not hosted(plain(x)):
        condition = beside(x, condition)
    return xp.where(condition, x, y)


@operator("IsInf")
def is_infinite(node: Node, x: Any) -> Any:
    """Whether x is infinite, of the signs that count."""
    above, below = node.get("detect_positive", 1), node.get("detect_negative", 1)
    wide = plain(x)
    found = xp.less(wide, wide) if not (above or below) else None
    for wanted, bound in ((above, np.inf), (below, -np.inf)):
        if wanted:
            hit = xp.equal(wide, bound)
            found = hit if found is None else xp.logical_or(found, hit)
    return found


BITS = {"BitwiseAnd": python.and_, "BitwiseOr": python.or_, "BitwiseXor": python.xor}
for name, bits in BITS.items():
    operator(name)(binary(functools.partial(whole, bits)))


@operator("BitwiseNot")
def bitwise_not(node: Node, x: Any) -> Any:
    """Every bit turned."""
    return whole(lambda a, _: ~a, x, x)


@operator("BitShift")
def bit_shift(node: Node, x: Any, y: Any) -> Any:
    """x with its bits moved by y places."""
    return whole(python.lshift if node.get("direction") == "LEFT" else python.rshift, *together(x, y))


@operator("Cast")
def cast(node: Node, x: Any) -> Any:
    """x in another dtype."""
    return converted(x, node.dtype("to"), bool(node.get("saturate", 1)), node.get("round_mode", "up"))


@operator("CastLike")
def cast_like(node: Node, x: Any, like: Any) -> Any:
    """x in the dtype of another array."""
    return converted(x, dtype_of(dtype_name(like)), bool(node.get("saturate", 1)), node.get("round_mode", "up"))


def converted(x: Any, dtype: Any, saturate: bool = True, round_mode: str = "up") -> Any:
    """x in another dtype; what is too large for eight floating bits becomes the largest number, unless not wanted."""
    value = plain(x)
    if not isinstance(value, (np.ndarray, np.generic)):
        if dtype.itemsize < 2 and dtype.name in SMALL.values() and not isinstance(value, ShapeArray):
            raise NotImplementedError(f"casts to {dtype.name} are those of NumPy's arrays alone: net.to('numpy').")
        return xp.astype(x, dtype)
    if dtype.name.startswith("float8") and value.dtype != dtype:
        from onnx import numpy_helper

        value = np.asarray(value)
        if dtype.name == "float8_e8m0fnu":
            return numpy_helper.to_float8e8m0(value, saturate, round_mode).astype(dtype)
        return numpy_helper.saturate_cast(value, dtype) if saturate else value.astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        return xp.astype(x, dtype)


@operator("BitCast")
def bit_cast(node: Node, x: Any) -> Any:
    """The bits of x read as numbers of another dtype."""
    if not isinstance(plain(x), (np.ndarray, np.generic)):
        raise TypeError("BitCast: the bits of NumPy's arrays alone can be read as another dtype.")
    return np.asarray(plain(x)).view(node.types.dtype(node.get("to")))
