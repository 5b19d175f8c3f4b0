"""The seam, element by element: every function takes any shape and gives the broadcast shape of its operands."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays.dispatch import Array, composition, primitive

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)

# Arithmetic


@primitive
def add(x: Array, y: Array, /) -> Array:
    """x + y."""
    raise NotImplementedError


@primitive
def subtract(x: Array, y: Array, /) -> Array:
    """x - y."""
    raise NotImplementedError


@primitive
def multiply(x: Array, y: Array, /) -> Array:
    """x · y, the Hadamard product."""
    raise NotImplementedError


@primitive
def divide(x: Array, y: Array, /) -> Array:
    """x / y."""
    raise NotImplementedError


@primitive
def pow(x: Array, y: Array, /) -> Array:
    """x ** y; the derivative with respect to y exists for x > 0 and is 0 where x = 0."""
    raise NotImplementedError


@primitive
def negative(x: Array, /) -> Array:
    """-x."""
    raise NotImplementedError


@primitive
def abs(x: Array, /) -> Array:
    """|x|; the slope at the kink x = 0 is 0."""
    raise NotImplementedError


@primitive
def square(x: Array, /) -> Array:
    """x²."""
    raise NotImplementedError


@primitive
def sqrt(x: Array, /) -> Array:
    """√x."""
    raise NotImplementedError


@primitive
def reciprocal(x: Array, /) -> Array:
    """1 / x."""
    raise NotImplementedError


@composition
def rsqrt(x: Array, /) -> Array:
    """1 / √x."""
    return reciprocal(sqrt(x))


@primitive
def maximum(x: Array, y: Array, /) -> Array:
    """The larger of x and y; where they are equal each has slope ½."""
    raise NotImplementedError


@primitive
def minimum(x: Array, y: Array, /) -> Array:
    """The smaller of x and y; where they are equal each has slope ½."""
    raise NotImplementedError


@primitive
def where(condition: Array, x: Array, y: Array, /) -> Array:
    """x where the condition holds, y elsewhere."""
    raise NotImplementedError


@composition
def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max] (numbers or None); the slope is 1 inside and on the bounds, 0 outside."""
    lower = x if min is None else maximum(x, min)
    return lower if max is None else minimum(lower, max)


# Exponentials, logarithms, trigonometry


@primitive
def exp(x: Array, /) -> Array:
    """eˣ."""
    raise NotImplementedError


@primitive
def exp2(x: Array, /) -> Array:
    """2ˣ."""
    raise NotImplementedError


@primitive
def expm1(x: Array, /) -> Array:
    """eˣ - 1, exact near 0."""
    raise NotImplementedError


@primitive
def log(x: Array, /) -> Array:
    """The natural logarithm."""
    raise NotImplementedError


@primitive
def log2(x: Array, /) -> Array:
    """The logarithm to base 2."""
    raise NotImplementedError


@primitive
def log10(x: Array, /) -> Array:
    """The logarithm to base 10."""
    raise NotImplementedError


@primitive
def log1p(x: Array, /) -> Array:
    """log(1 + x), exact near 0."""
    raise NotImplementedError


@primitive
def logaddexp(x: Array, y: Array, /) -> Array:
    """log(eˣ + eʸ) without overflow."""
    raise NotImplementedError


@primitive
def sin(x: Array, /) -> Array:
    """The sine, x in radians."""
    raise NotImplementedError


@primitive
def cos(x: Array, /) -> Array:
    """The cosine, x in radians."""
    raise NotImplementedError


@primitive
def tan(x: Array, /) -> Array:
    """The tangent, x in radians."""
    raise NotImplementedError


@primitive
def asin(x: Array, /) -> Array:
    """The inverse sine, in radians."""
    raise NotImplementedError


@primitive
def acos(x: Array, /) -> Array:
    """The inverse cosine, in radians."""
    raise NotImplementedError


@primitive
def atan(x: Array, /) -> Array:
    """The inverse tangent, in radians."""
    raise NotImplementedError


@primitive
def atan2(y: Array, x: Array, /) -> Array:
    """The angle of the point (x, y), in radians."""
    raise NotImplementedError


@primitive
def sinh(x: Array, /) -> Array:
    """The hyperbolic sine."""
    raise NotImplementedError


@primitive
def cosh(x: Array, /) -> Array:
    """The hyperbolic cosine."""
    raise NotImplementedError


@primitive
def tanh(x: Array, /) -> Array:
    """The hyperbolic tangent."""
    raise NotImplementedError


@primitive
def asinh(x: Array, /) -> Array:
    """The inverse hyperbolic sine."""
    raise NotImplementedError


@primitive
def acosh(x: Array, /) -> Array:
    """The inverse hyperbolic cosine."""
    raise NotImplementedError


@primitive
def atanh(x: Array, /) -> Array:
    """The inverse hyperbolic tangent."""
    raise NotImplementedError


@primitive
def erf(x: Array, /) -> Array:
    """The error function 2/√π ∫₀ˣ e^(-t²) dt."""
    raise NotImplementedError


# Activations


@primitive
def relu(x: Array, /) -> Array:
    """max(x, 0); the slope at 0 is 0, as in PyTorch."""
    raise NotImplementedError


@composition
def relu6(x: Array, /) -> Array:
    """min(max(x, 0), 6)."""
    return clip(x, 0.0, 6.0)


@composition
def leaky_relu(x: Array, /, negative_slope: float = 0.01) -> Array:
    """x where x > 0, negative_slope · x elsewhere."""
    return where(greater(x, 0.0), x, negative_slope * x)


@composition
def elu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (eˣ - 1) elsewhere (Clevert et al. 2016)."""
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0)))


@composition
def selu(x: Array, /) -> Array:
    """The self-normalizing λ · elu(x, α) (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@composition
def celu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (e^(x/α) - 1) elsewhere (Barron 2017)."""
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0) / alpha))


@primitive
def sigmoid(x: Array, /) -> Array:
    """1 / (1 + e⁻ˣ)."""
    raise NotImplementedError


@composition
def logsigmoid(x: Array, /) -> Array:
    """log σ(x) = -softplus(-x)."""
    return negative(softplus(negative(x)))


@composition
def softplus(x: Array, /, beta: float = 1.0) -> Array:
    """log(1 + e^(βx)) / β."""
    return logaddexp(x, 0.0) if beta == 1.0 else logaddexp(beta * x, 0.0) / beta


@composition
def softsign(x: Array, /) -> Array:
    """x / (1 + |x|)."""
    return x / (1.0 + abs(x))


@composition
def tanhshrink(x: Array, /) -> Array:
    """x - tanh x."""
    return x - tanh(x)


@composition
def silu(x: Array, /) -> Array:
    """x σ(x), also called swish."""
    return x * sigmoid(x)


@composition
def mish(x: Array, /) -> Array:
    """x tanh(softplus(x)) (Misra 2019)."""
    return x * tanh(softplus(x))


@composition
def hardtanh(x: Array, /, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val]."""
    return clip(x, min_val, max_val)


@composition
def hardsigmoid(x: Array, /) -> Array:
    """min(max(x + 3, 0), 6) / 6."""
    return relu6(x + 3.0) / 6.0


@composition
def hardswish(x: Array, /) -> Array:
    """x · hardsigmoid(x) (Howard et al. 2019)."""
    return x * hardsigmoid(x)


@composition
def gelu(x: Array, /, approximate: str = "none") -> Array:
    """x Φ(x), Φ the normal distribution function; approximate="tanh" is Hendrycks & Gimpel's formula (2016)."""
    if approximate == "tanh":
        return 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    if approximate != "none":
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}.")
    return 0.5 * x * (1.0 + erf(SQRT_HALF * x))


@composition
def gelu_slope(x: Array, /, approximate: str = "none") -> Array:
    """The derivative of `gelu` at x: Φ(x) + x φ(x), or that of its tanh formula."""
    if approximate == "tanh":
        t = tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
        return 0.5 * (1.0 + t) + 0.5 * SQRT_2_OVER_PI * x * (1.0 - t * t) * (1.0 + 3 * 0.044715 * x * x)
    return 0.5 * (1.0 + erf(SQRT_HALF * x)) + x * (INV_SQRT_2PI * exp(-0.5 * x * x))


# Without derivative: piecewise constant, or truth values


@primitive
def sign(x: Array, /) -> Array:
    """-1, 0 or 1."""
    raise NotImplementedError


@primitive
def floor(x: Array, /) -> Array:
    """The largest integer not above x."""
    raise NotImplementedError


@primitive
def ceil(x: Array, /) -> Array:
    """The smallest integer not below x."""
    raise NotImplementedError


@primitive
def round(x: Array, /) -> Array:
    """The nearest integer, halves to the even one."""
    raise NotImplementedError


@primitive
def isfinite(x: Array, /) -> Array:
    """Whether x is neither infinite nor NaN."""
    raise NotImplementedError


@primitive
def isnan(x: Array, /) -> Array:
    """Whether x is NaN."""
    raise NotImplementedError


@primitive
def equal(x: Array, y: Array, /) -> Array:
    """x == y."""
    raise NotImplementedError


@primitive
def not_equal(x: Array, y: Array, /) -> Array:
    """x != y."""
    raise NotImplementedError


@primitive
def less(x: Array, y: Array, /) -> Array:
    """x < y."""
    raise NotImplementedError


@primitive
def less_equal(x: Array, y: Array, /) -> Array:
    """x <= y."""
    raise NotImplementedError


@primitive
def greater(x: Array, y: Array, /) -> Array:
    """x > y."""
    raise NotImplementedError


@primitive
def greater_equal(x: Array, y: Array, /) -> Array:
    """x >= y."""
    raise NotImplementedError


@primitive
def logical_and(x: Array, y: Array, /) -> Array:
    """Whether both hold."""
    raise NotImplementedError


@primitive
def logical_or(x: Array, y: Array, /) -> Array:
    """Whether one holds at least."""
    raise NotImplementedError


@primitive
def logical_not(x: Array, /) -> Array:
    """Whether it does not hold."""
    raise NotImplementedError
