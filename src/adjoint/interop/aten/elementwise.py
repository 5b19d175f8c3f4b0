"""Element by element: arithmetic, comparisons, elementary functions, activations."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import FUNCTIONS, Array
from adjoint.interop.aten.promotion import (
    FLOATING,
    NUMBERS,
    cast,
    category,
    floating,
    is_integral,
    name_of,
    promoted,
)  # fmt: skip
from adjoint.ops.define import plain

Entry = Callable[..., Any]


def shared(f: Entry) -> Entry:
    """f of two operands in the dtype that they share."""
    return lambda self, other: f(*promoted(self, other))


def real(f: Entry) -> Entry:
    """f of one operand, integers as floating numbers."""
    return lambda self: f(floating(self))


def whole(f: Entry) -> Entry:
    """f of one operand, which leaves integers as they are."""
    return lambda self: self if is_integral(self) else f(self)


def _add(self: Any, other: Any, alpha: Any = 1) -> Array:
    x, y = promoted(self, other)
    if alpha == 1:
        return xp.add(x, y)
    return xp.add(x, y * alpha if type(y) in NUMBERS else xp.multiply(y, alpha))


def _sub(self: Any, other: Any, alpha: Any = 1) -> Array:
    x, y = promoted(self, other)
    if alpha == 1:
        return xp.subtract(x, y)
    return xp.subtract(x, y * alpha if type(y) in NUMBERS else xp.multiply(y, alpha))


def _div(self: Any, other: Any, rounding_mode: str | None = None) -> Array:
    x, y = promoted(self, other)
    if rounding_mode is None:
        return xp.divide(floating(x), floating(y))
    if is_integral(x) and is_integral(y):
        floor = _on_integers(operator.floordiv, x, y)
        if rounding_mode == "floor":
            return floor
        ragged = xp.not_equal(xp.multiply(floor, y), x)
        opposite = xp.not_equal(xp.less(x, 0), xp.less(y, 0))
        return xp.add(floor, cast(xp.logical_and(ragged, opposite), name_of(floor.dtype)))
    quotient = xp.divide(x, y)
    return xp.floor(quotient) if rounding_mode == "floor" else _trunc(quotient)


def _on_integers(f: Callable[[Any, Any], Any], x: Any, y: Any) -> Array:
    """Python's operator of integer arrays, which every backend has; only the shape where there are no values."""
    from adjoint.arrays.shapes import ShapeArray

    x, y = plain(x), plain(y)
    return xp.add(x, y) if ShapeArray in (type(x), type(y)) else f(x, y)


def _bitwise(f: Callable[[Any, Any], Any], of_truth: Entry) -> Entry:
    def entry(self: Any, other: Any) -> Array:
        x, y = promoted(self, other)
        array = y if type(x) in NUMBERS else x
        return of_truth(x, y) if name_of(array.dtype) == "bool" else _on_integers(f, x, y)

    return entry


def _shift(f: Callable[[Any, Any], Any]) -> Entry:
    return lambda self, other: _on_integers(f, *promoted(self, other))


def _not(self: Array) -> Array:
    return xp.logical_not(self) if name_of(self.dtype) == "bool" else xp.subtract(-1, self)


def _trunc(x: Array) -> Array:
    return xp.multiply(xp.sign(x), xp.floor(xp.abs(x)))


def _remainder(self: Any, other: Any) -> Array:
    x, y = promoted(self, other)
    if is_integral(x) and is_integral(y):
        return _on_integers(operator.mod, x, y)
    return xp.subtract(x, xp.multiply(xp.floor(xp.divide(x, y)), y))


def _fmod(self: Any, other: Any) -> Array:
    x, y = promoted(self, other)
    return xp.subtract(x, xp.multiply(_div(x, y, "trunc"), y))


def _pow(self: Any, exponent: Any) -> Array:
    x, y = promoted(self, exponent)
    if type(y) in NUMBERS:
        if y == 2:
            return xp.square(x)
        if y == 3:
            return xp.multiply(xp.square(x), x)
        if y == 1:
            return x
        if y == 0.5:
            return xp.sqrt(x)
        if y == -0.5:
            return xp.rsqrt(x)
        if y == -1 and not is_integral(x):
            return xp.reciprocal(x)
    return xp.pow(x, y)


def _where(condition: Array, self: Any, other: Any) -> Array:
    return xp.where(condition, *promoted(self, other))


def _masked_fill(self: Array, mask: Array, value: Any) -> Array:
    if type(value) in NUMBERS:
        return xp.where(mask, bool(value) if name_of(self.dtype) == "bool" else value, self)
    return xp.where(mask, cast(value, name_of(self.dtype)), self)


def _clamp(self: Array, min: Any = None, max: Any = None) -> Array:
    """Numbers as bounds have slope 1 at the bound; arrays share it, as `maximum` does."""
    if all(bound is None or type(bound) in NUMBERS for bound in (min, max)):
        dtypes = [bound for bound in (min, max) if bound is not None]
        return xp.clip(promoted(self, *dtypes)[0], min, max)
    for bound, limit, reached in ((min, xp.greater_equal, xp.maximum), (max, xp.less_equal, xp.minimum)):
        if bound is not None:
            x, bound = promoted(self, bound)
            self = reached(x, bound) if type(bound) in NUMBERS else xp.where(limit(x, bound), x, bound)
    return self


def _round(self: Array, decimals: int = 0) -> Array:
    if is_integral(self):
        return self
    return xp.round(self) if decimals == 0 else xp.round(self * 10.0**decimals) / 10.0**decimals


def _elu(self: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    y = xp.elu(self, alpha) if input_scale == 1.0 else _scaled_elu(self, alpha, input_scale)
    return y if scale == 1.0 else scale * y


def _scaled_elu(x: Array, alpha: float, input_scale: float) -> Array:
    below = alpha * xp.expm1(xp.minimum(x, 0.0) * input_scale)
    return xp.where(xp.greater(x, 0.0), x, below)


def _softplus(self: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    y = xp.softplus(self, beta)
    return y if threshold >= 20.0 else xp.where(xp.greater(self * beta, threshold), self, y)


def _prelu(self: Array, weight: Array) -> Array:
    if len(weight.shape) == 1 and weight.shape[0] > 1 and len(self.shape) > 1:
        weight = xp.reshape(weight, (weight.shape[0], *(1,) * (len(self.shape) - 2)))
    return xp.where(xp.greater(self, 0.0), self, xp.multiply(weight, self))


def _logit(self: Array, eps: float | None = None) -> Array:
    x = floating(self) if eps is None else xp.clip(floating(self), eps, 1.0 - eps)
    return xp.log(x / (1.0 - x))


def _xlogy(self: Any, other: Any) -> Array:
    x, y = (floating(part) for part in promoted(self, other))
    nothing = xp.equal(x, 0.0)
    return xp.where(nothing, 0.0, xp.multiply(x, xp.log(xp.where(nothing, 1.0, y))))


def _nan_to_num(
    self: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    if is_integral(self):
        return self
    top = {"float64": 1.7976931348623157e308, "float16": 65504.0, "bfloat16": 3.3895313892515355e38}
    most = top.get(name_of(self.dtype), 3.4028234663852886e38)
    x = xp.where(xp.isnan(self), nan or 0.0, self)
    x = xp.where(xp.equal(x, math.inf), most if posinf is None else posinf, x)
    return xp.where(xp.equal(x, -math.inf), -most if neginf is None else neginf, x)


def _isinf(self: Array) -> Array:
    return xp.equal(xp.abs(self), math.inf)


def _copysign(self: Any, other: Any) -> Array:
    x, y = _arrays(*(floating(part) for part in promoted(self, other)))
    negative = xp.logical_or(xp.less(y, 0.0), xp.less(1.0 / y, 0.0))  # -0 is known by its reciprocal
    size = xp.abs(x)
    return xp.where(negative, xp.negative(size), size)


def _arrays(x: Any, y: Any) -> tuple[Array, Array]:
    """Both as arrays, where one is a number."""
    if type(y) in NUMBERS:
        y = xp.full(plain(x), (), y)
    return x, y


def _relu(self: Array) -> Array:
    return xp.relu(self) if category(name_of(self.dtype)) == FLOATING else xp.maximum(self, 0)


def _lerp(self: Array, end: Array, weight: Any) -> Array:
    return xp.add(self, xp.multiply(weight, xp.subtract(end, self)))


def _logical(f: Entry) -> Entry:
    return lambda self, other: f(xp.not_equal(self, 0), xp.not_equal(other, 0))


def _erfc(self: Array) -> Array:
    return 1.0 - xp.erf(floating(self))


def _to(self: Array, dtype: Any = None, copy: bool = False) -> Array:
    return self if dtype is None else cast(self, dtype)


def same(text: str, wrap: Callable[[Entry], Entry]) -> dict[str, Entry]:
    """The seam's functions of these names ("theirs=ours" where they differ), each wrapped."""
    pairs = (word.partition("=") for word in text.split())
    return {theirs: wrap(FUNCTIONS[ours or theirs]) for theirs, _, ours in pairs}


def plainly(f: Entry) -> Entry:
    """f as it is."""
    return f


ELEMENTWISE: dict[str, Entry] = {
    **same(
        "sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh "
        "acosh atanh erf special_erf=erf sigmoid special_expit=sigmoid log_sigmoid=logsigmoid hardsigmoid mish silu "
        "selu",
        real,
    ),
    "sign": lambda self: self if name_of(self.dtype) == "bool" else xp.sign(self),
    "sgn": lambda self: self if name_of(self.dtype) == "bool" else xp.sign(self),
    **same("abs neg=negative square logical_not isfinite isnan", plainly),
    **same("floor ceil", whole),
    **same("hardswish relu6 leaky_relu gelu hardshrink softshrink celu threshold glu", plainly),
    "hardtanh": lambda self, min_val=-1.0, max_val=1.0: cast(xp.hardtanh(self, min_val, max_val), name_of(self.dtype)),
    **same(
        "mul=multiply maximum minimum fmax=maximum fmin=minimum eq=equal ne=not_equal lt=less le=less_equal "
        "gt=greater ge=greater_equal",
        shared,
    ),
    **{
        name: lambda self, other, f=f: f(*(floating(x) for x in promoted(self, other)))
        for name, f in (("atan2", xp.atan2), ("logaddexp", xp.logaddexp), ("hypot", names.UFUNCS["hypot"]))
    },
    "logical_and": _logical(xp.logical_and),
    "logical_or": _logical(xp.logical_or),
    "logical_xor": _logical(xp.not_equal),
    "bitwise_and": _bitwise(operator.and_, xp.logical_and),
    "bitwise_or": _bitwise(operator.or_, xp.logical_or),
    "bitwise_xor": _bitwise(operator.xor, xp.not_equal),
    "bitwise_not": _not,
    "bitwise_left_shift": _shift(operator.lshift),
    "bitwise_right_shift": _shift(operator.rshift),
    "__and__": _bitwise(operator.and_, xp.logical_and),
    "__or__": _bitwise(operator.or_, xp.logical_or),
    "__lshift__": _shift(operator.lshift),
    "__rshift__": _shift(operator.rshift),
    "add": _add,
    "sub": _sub,
    "rsub": lambda self, other, alpha=1: _sub(other, self, alpha),
    "div": _div,
    "true_divide": _div,
    "divide": _div,
    "floor_divide": lambda self, other: _div(self, other, "floor"),
    "remainder": _remainder,
    "fmod": _fmod,
    "pow": _pow,
    "trunc": whole(_trunc),
    "fix": whole(_trunc),
    "frac": lambda self: xp.subtract(self, _trunc(self)),
    "round": _round,
    "isinf": _isinf,
    "isposinf": lambda self: xp.equal(self, math.inf),
    "isneginf": lambda self: xp.equal(self, -math.inf),
    "signbit": lambda self: xp.less(self, 0),
    "heaviside": lambda self, values: xp.where(
        xp.equal(self, 0), values, cast(xp.greater(self, 0), name_of(self.dtype))
    ),
    "deg2rad": lambda self: floating(self) * (math.pi / 180.0),
    "rad2deg": lambda self: floating(self) * (180.0 / math.pi),
    "erfc": _erfc,
    "special_erfc": _erfc,
    "sinc": real(lambda x: _sinc(x)),
    "logit": _logit,
    "special_logit": _logit,
    "xlogy": _xlogy,
    "special_xlogy": _xlogy,
    "copysign": _copysign,
    "nan_to_num": _nan_to_num,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda self, min: _clamp(self, min, None),
    "clamp_max": lambda self, max: _clamp(self, None, max),
    "lerp": _lerp,
    "addcmul": lambda self, tensor1, tensor2, value=1: _add(self, _product(tensor1, tensor2), value),
    "addcdiv": lambda self, tensor1, tensor2, value=1: _add(self, _div(tensor1, tensor2), value),
    "relu": _relu,
    "elu": _elu,
    "prelu": _prelu,
    "_prelu_kernel": lambda self, weight: xp.where(xp.greater(self, 0.0), self, xp.multiply(weight, self)),
    "softplus": _softplus,
    "log_sigmoid_forward": lambda self: (xp.logsigmoid(self), self),
    "rrelu": lambda self, lower=0.125, upper=1 / 3, training=False: xp.leaky_relu(self, (lower + upper) / 2),
    "rrelu_with_noise": lambda self, noise, lower=0.125, upper=1 / 3, training=False: xp.leaky_relu(
        self, (lower + upper) / 2
    ),
    "_to_copy": _to,
    "to": lambda self, dtype=None, copy=False: _to(self, dtype),
    "type_as": lambda self, other: cast(self, name_of(other.dtype)),
    "copy": lambda self, src: xp.broadcast_to(cast(src, name_of(self.dtype)), tuple(self.shape)),
    "prims.convert_element_type": lambda a, dtype: cast(a, dtype),
}  # fmt: skip


def _product(x: Any, y: Any) -> Array:
    return xp.multiply(*promoted(x, y))


def _sinc(x: Array) -> Array:
    at_zero = xp.equal(x, 0.0)
    angle = math.pi * xp.where(at_zero, 1.0, x)
    return xp.where(at_zero, 1.0, xp.sin(angle) / angle)
