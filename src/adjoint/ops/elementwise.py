"""Element-wise operations: the derivative of each is a diagonal map (in every operand)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjoint import arrays as xp
from adjoint.maps.base import LinearMap
from adjoint.maps.elementary import Diagonal, Gate, Identity, Negate
from adjoint.ops.define import coarse, constant, elementwise, operation

LN2, LN10 = math.log(2.0), math.log(10.0)
SAME, MINUS = Identity(()), Negate(())

# Arithmetic
add = elementwise(xp.add, SAME, SAME)
subtract = elementwise(xp.subtract, SAME, MINUS)
multiply = elementwise(xp.multiply, lambda z, x, y: Diagonal(y), lambda z, x, y: Diagonal(x))
divide = elementwise(xp.divide, lambda z, x, y: Diagonal(lambda: 1.0 / y), lambda z, x, y: Diagonal(lambda: -z / y))
negative = elementwise(xp.negative, MINUS)
abs = elementwise(xp.abs, lambda z, x: Diagonal(lambda: xp.sign(x)))
square = elementwise(xp.square, lambda z, x: Diagonal(lambda: 2.0 * x))
sqrt = elementwise(xp.sqrt, lambda z, x: Diagonal(lambda: 0.5 / z))
reciprocal = elementwise(xp.reciprocal, lambda z, x: Diagonal(lambda: -z * z))
rsqrt = elementwise(xp.rsqrt, lambda z, x: Diagonal(lambda: -0.5 * z * z * z))


def power_of_base(z: Any, x: Any, y: Any) -> LinearMap:
    """y x^(y-1), and 0 where y = 0 even at x = 0."""
    if isinstance(y, (int, float)):
        return Diagonal(lambda: y * x ** (y - 1)) if y else Diagonal(lambda: 0.0 * x)
    return Diagonal(
        lambda: xp.where(xp.equal(y, 0.0), 0.0 * x, y * xp.pow(x, xp.where(xp.equal(y, 0.0), 1.0, y - 1.0)))
    )


def power_of_exponent(z: Any, x: Any, y: Any) -> LinearMap:
    """z log x, and 0 where x = 0."""
    if isinstance(x, (int, float)):
        return Diagonal(lambda: z * float(xp.log(x)) if x else 0.0 * z)
    return Diagonal(lambda: z * xp.log(xp.where(xp.equal(x, 0.0), 1.0, x)))


pow = elementwise(xp.pow, power_of_base, power_of_exponent)


def share(wins: Any, z: Any, x: Any, y: Any) -> LinearMap:
    """1 where x wins, ½ where x and y are equal, 0 elsewhere."""

    def slope() -> Any:
        one = xp.ones_like(z)
        return xp.where(xp.equal(x, y), 0.5 * one, xp.where(wins(x, y), one, 0.0))

    return Diagonal(slope)


maximum = elementwise(
    xp.maximum, lambda z, x, y: share(xp.greater, z, x, y), lambda z, x, y: share(xp.greater, z, y, x)
)
minimum = elementwise(xp.minimum, lambda z, x, y: share(xp.less, z, x, y), lambda z, x, y: share(xp.less, z, y, x))


def chosen(z: Any, where: Callable[[], Any]) -> LinearMap:
    """1 where the truth values say so, 0 elsewhere, in the dtype of z: what is multiplied by it keeps its own."""
    return Diagonal(lambda: xp.astype(where(), z.dtype))


where = elementwise(
    xp.where,
    None,
    lambda z, c, x, y: chosen(z, lambda: xp.not_equal(c, 0)),
    lambda z, c, x, y: chosen(z, lambda: xp.equal(c, 0)),
)


def within(z: Any, x: Any, min: Any = None, max: Any = None) -> LinearMap:
    """1 inside the bounds and on them, 0 outside: where clipping changed nothing."""
    return chosen(z, lambda: xp.equal(z, x))


clip = elementwise(xp.clip, within)


def strictly_within(z: Any, x: Any, min_val: float = -1.0, max_val: float = 1.0) -> LinearMap:
    """1 between the bounds, 0 on them and outside, as PyTorch's saturating activations have it."""
    return chosen(z, lambda: xp.logical_and(xp.greater(x, min_val), xp.less(x, max_val)))


hardtanh = elementwise(xp.hardtanh, strictly_within)
relu6 = elementwise(xp.relu6, lambda z, x: strictly_within(z, x, 0.0, 6.0))

# Exponentials, logarithms
exp = elementwise(xp.exp, lambda z, x: Diagonal(z))
exp2 = elementwise(xp.exp2, lambda z, x: Diagonal(lambda: LN2 * z))
expm1 = elementwise(xp.expm1, lambda z, x: Diagonal(lambda: z + 1.0))
log = elementwise(xp.log, lambda z, x: Diagonal(lambda: 1.0 / x))
log2 = elementwise(xp.log2, lambda z, x: Diagonal(lambda: 1.0 / (LN2 * x)))
log10 = elementwise(xp.log10, lambda z, x: Diagonal(lambda: 1.0 / (LN10 * x)))
log1p = elementwise(xp.log1p, lambda z, x: Diagonal(lambda: 1.0 / (1.0 + x)))
logaddexp = elementwise(
    xp.logaddexp,
    lambda z, x, y: Diagonal(lambda: xp.sigmoid(x - y)),
    lambda z, x, y: Diagonal(lambda: xp.sigmoid(y - x)),
)

# Trigonometry
sin = elementwise(xp.sin, lambda z, x: Diagonal(lambda: xp.cos(x)))
cos = elementwise(xp.cos, lambda z, x: Diagonal(lambda: -xp.sin(x)))
tan = elementwise(xp.tan, lambda z, x: Diagonal(lambda: 1.0 + z * z))
asin = elementwise(xp.asin, lambda z, x: Diagonal(lambda: xp.rsqrt(1.0 - x * x)))
acos = elementwise(xp.acos, lambda z, x: Diagonal(lambda: -xp.rsqrt(1.0 - x * x)))
atan = elementwise(xp.atan, lambda z, x: Diagonal(lambda: 1.0 / (1.0 + x * x)))
atan2 = elementwise(
    xp.atan2,
    lambda z, y, x: Diagonal(lambda: x / (x * x + y * y)),
    lambda z, y, x: Diagonal(lambda: -y / (x * x + y * y)),
)
sinh = elementwise(xp.sinh, lambda z, x: Diagonal(lambda: xp.cosh(x)))
cosh = elementwise(xp.cosh, lambda z, x: Diagonal(lambda: xp.sinh(x)))
tanh = elementwise(xp.tanh, lambda z, x: Diagonal(lambda: 1.0 - z * z))
asinh = elementwise(xp.asinh, lambda z, x: Diagonal(lambda: xp.rsqrt(1.0 + x * x)))
acosh = elementwise(xp.acosh, lambda z, x: Diagonal(lambda: xp.rsqrt(x * x - 1.0)))
atanh = elementwise(xp.atanh, lambda z, x: Diagonal(lambda: 1.0 / (1.0 - x * x)))
erf = elementwise(xp.erf, lambda z, x: Diagonal(lambda: 2.0 / math.sqrt(math.pi) * xp.exp(-x * x)))

# Activations; those without a line here are compositions of these
relu = elementwise(xp.relu, lambda z, x: Gate(z))
gated = operation(xp.gated, lambda y, u, z: Gate(z), None)
leaky_relu = elementwise(
    xp.leaky_relu,
    lambda z, x, negative_slope=0.01: Diagonal(lambda: xp.where(xp.greater(x, 0.0), xp.ones_like(x), negative_slope)),
)
elu = elementwise(
    xp.elu,
    lambda z, x, alpha=1.0: Diagonal(lambda: xp.where(xp.greater(x, 0.0), 1.0, alpha * xp.exp(xp.minimum(x, 0.0)))),
)
celu = elementwise(
    xp.celu,
    lambda z, x, alpha=1.0: Diagonal(lambda: xp.where(xp.greater(x, 0.0), 1.0, xp.exp(xp.minimum(x, 0.0) / alpha))),
)
sigmoid = elementwise(xp.sigmoid, lambda z, x: Diagonal(lambda: z * (1.0 - z)))
softplus = elementwise(xp.softplus, lambda z, x, beta=1.0: Diagonal(lambda: xp.sigmoid(x if beta == 1.0 else beta * x)))


@coarse(xp.gelu)
def gelu(x: Any, approximate: str = "none") -> Any:
    """A diagonal, whose entries share the exponential with the value."""
    z, slope = xp.gelu_residual(x, approximate)
    return z, (Diagonal(slope),)


def silu_slope(z: Any, x: Any) -> LinearMap:
    """σ + z (1 - σ) with σ = σ(x)."""

    def slope() -> Any:
        s = xp.sigmoid(x)
        return s + z * (1.0 - s)

    return Diagonal(slope)


silu = elementwise(xp.silu, silu_slope)

for flat in (
    xp.sign, xp.floor, xp.ceil, xp.round, xp.isfinite, xp.isnan, xp.equal, xp.not_equal, xp.less, xp.less_equal,
    xp.greater, xp.greater_equal, xp.logical_and, xp.logical_or, xp.logical_not,
):  # fmt: skip
    constant(flat)
