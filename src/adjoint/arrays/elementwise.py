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
    """x + y; raises `ShapeError` where the shapes do not broadcast, as every function of two arrays here.

    >>> import numpy as np, adjoint as aj
    >>> aj.add(np.ones((2, 1)), np.array([1.0, 2.0])).tolist()
    [[2.0, 3.0], [2.0, 3.0]]
    """
    raise NotImplementedError


@primitive
def subtract(x: Array, y: Array, /) -> Array:
    """x - y.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.subtract, (0, 1))(5.0, 3.0)]
    [1.0, -1.0]
    """
    raise NotImplementedError


@primitive
def multiply(x: Array, y: Array, /) -> Array:
    """x · y, the Hadamard product: its slopes are y and x.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.multiply, (0, 1))(2.0, 3.0)]
    [3.0, 2.0]
    """
    raise NotImplementedError


@primitive
def divide(x: Array, y: Array, /) -> Array:
    """x / y: its slopes are 1/y and -x/y².

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.divide, (0, 1))(1.0, 2.0)]
    [0.5, -0.25]
    """
    raise NotImplementedError


@primitive
def pow(x: Array, y: Array, /) -> Array:
    """x ** y; the derivative with respect to y exists for x > 0 and is 0 where x = 0.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.pow, (0, 1))(1.0, 3.0)]
    [3.0, 0.0]
    """
    raise NotImplementedError


@primitive
def negative(x: Array, /) -> Array:
    """-x.

    >>> import adjoint as aj
    >>> float(aj.negative(3.0)), float(aj.grad(aj.negative)(3.0))
    (-3.0, -1.0)
    """
    raise NotImplementedError


@primitive
def abs(x: Array, /) -> Array:
    """|x|; the slope at the kink x = 0 is 0.

    >>> import adjoint as aj
    >>> [float(aj.grad(aj.abs)(x)) for x in (-2.0, 0.0, 2.0)]
    [-1.0, 0.0, 1.0]
    """
    raise NotImplementedError


@primitive
def square(x: Array, /) -> Array:
    """x².

    >>> import adjoint as aj
    >>> float(aj.square(3.0)), float(aj.grad(aj.square)(3.0))
    (9.0, 6.0)
    """
    raise NotImplementedError


@primitive
def sqrt(x: Array, /) -> Array:
    """√x, NaN for x < 0; the slope 1/(2√x) is infinite at 0.

    >>> import adjoint as aj
    >>> float(aj.sqrt(4.0)), float(aj.grad(aj.sqrt)(4.0))
    (2.0, 0.25)
    """
    raise NotImplementedError


@primitive
def reciprocal(x: Array, /) -> Array:
    """1 / x.

    >>> import adjoint as aj
    >>> float(aj.reciprocal(2.0)), float(aj.grad(aj.reciprocal)(2.0))
    (0.5, -0.25)
    """
    raise NotImplementedError


@composition
def rsqrt(x: Array, /) -> Array:
    """1 / √x.

    >>> import adjoint as aj
    >>> float(aj.rsqrt(4.0)), float(aj.grad(aj.rsqrt)(4.0))
    (0.5, -0.0625)
    """
    return reciprocal(sqrt(x))


@primitive
def maximum(x: Array, y: Array, /) -> Array:
    """The larger of x and y; where they are equal each has slope ½.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.maximum, (0, 1))(2.0, 2.0)]
    [0.5, 0.5]
    """
    raise NotImplementedError


@primitive
def minimum(x: Array, y: Array, /) -> Array:
    """The smaller of x and y; where they are equal each has slope ½.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.minimum, (0, 1))(1.0, 2.0)]
    [1.0, 0.0]
    """
    raise NotImplementedError


@primitive
def where(condition: Array, x: Array, y: Array, /) -> Array:
    """x where the condition holds, y elsewhere; each gets the cotangent where it was chosen.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([-1.0, 4.0])
        >>> aj.where(x > 0.0, x, 0.0).tolist()
        [0.0, 4.0]
    """
    raise NotImplementedError


@composition
def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max] (numbers or None); the slope is 1 inside and on the bounds, 0 outside.

    >>> import numpy as np, adjoint as aj
    >>> aj.clip(np.array([-1.0, 1.0, 2.0]), 0.0, 1.0).tolist()
        [0.0, 1.0, 1.0]
        >>> [float(aj.grad(aj.clip)(x, 0.0, 1.0)) for x in (-1.0, 1.0, 2.0)]
        [0.0, 1.0, 0.0]
    """
    lower = x if min is None else maximum(x, min)
    return lower if max is None else minimum(lower, max)


# Exponentials, logarithms, trigonometry


@primitive
def exp(x: Array, /) -> Array:
    """eˣ.

    >>> import adjoint as aj
    >>> float(aj.exp(0.0)), float(aj.grad(aj.exp)(0.0))
    (1.0, 1.0)
    """
    raise NotImplementedError


@primitive
def exp2(x: Array, /) -> Array:
    """2ˣ, with slope 2ˣ log 2.

    >>> import adjoint as aj
    >>> float(aj.exp2(3.0)), float(aj.grad(aj.exp2)(3.0))
    (8.0, 5.5452)
    """
    raise NotImplementedError


@primitive
def expm1(x: Array, /) -> Array:
    """eˣ - 1, exact near 0.

    >>> import adjoint as aj
    >>> float(aj.expm1(1e-20)), float(aj.exp(1e-20)) - 1.0
    (1e-20, 0.0)
    """
    raise NotImplementedError


@primitive
def log(x: Array, /) -> Array:
    """The natural logarithm: -∞ at 0, NaN for x < 0.

    >>> import adjoint as aj
    >>> float(aj.log(2.0)), float(aj.grad(aj.log)(2.0))
    (0.6931, 0.5)
    """
    raise NotImplementedError


@primitive
def log2(x: Array, /) -> Array:
    """The logarithm to base 2, with slope 1/(x log 2).

    >>> import adjoint as aj
    >>> float(aj.log2(8.0)), float(aj.grad(aj.log2)(8.0))
    (3.0, 0.1803)
    """
    raise NotImplementedError


@primitive
def log10(x: Array, /) -> Array:
    """The logarithm to base 10, with slope 1/(x log 10).

    >>> import adjoint as aj
    >>> float(aj.log10(100.0)), float(aj.grad(aj.log10)(100.0))
    (2.0, 0.004343)
    """
    raise NotImplementedError


@primitive
def log1p(x: Array, /) -> Array:
    """log(1 + x), exact near 0.

    >>> import adjoint as aj
    >>> float(aj.log1p(1e-20)), float(aj.log(1.0 + 1e-20))
    (1e-20, 0.0)
    """
    raise NotImplementedError


@primitive
def logaddexp(x: Array, y: Array, /) -> Array:
    """log(eˣ + eʸ) without overflow; its slopes are the softmax of (x, y).

    >>> import adjoint as aj
    >>> float(aj.logaddexp(1000.0, 1000.0))
        1000.6931
        >>> [float(slope) for slope in aj.grad(aj.logaddexp, (0, 1))(1000.0, 1000.0)]
        [0.5, 0.5]
    """
    raise NotImplementedError


@primitive
def sin(x: Array, /) -> Array:
    """The sine, x in radians.

    >>> import adjoint as aj
    >>> float(aj.sin(0.0)), float(aj.grad(aj.sin)(0.0))
    (0.0, 1.0)
    """
    raise NotImplementedError


@primitive
def cos(x: Array, /) -> Array:
    """The cosine, x in radians.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.cos(np.pi / 2)), float(aj.grad(aj.cos)(np.pi / 2))
    (0.0, -1.0)
    """
    raise NotImplementedError


@primitive
def tan(x: Array, /) -> Array:
    """The tangent, x in radians; its slope is 1 + tan² x.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.tan(np.pi / 4)), float(aj.grad(aj.tan)(np.pi / 4))
    (1.0, 2.0)
    """
    raise NotImplementedError


@primitive
def asin(x: Array, /) -> Array:
    """The inverse sine of x in [-1, 1], in radians from -π/2 to π/2; its slope is 1/√(1 - x²).

    >>> import adjoint as aj
    >>> float(aj.asin(0.5)), float(aj.grad(aj.asin)(0.5))
    (0.5236, 1.1547)
    """
    raise NotImplementedError


@primitive
def acos(x: Array, /) -> Array:
    """The inverse cosine of x in [-1, 1], in radians from 0 to π; its slope is -1/√(1 - x²).

    >>> import adjoint as aj
    >>> float(aj.acos(0.0)), float(aj.grad(aj.acos)(0.0))
    (1.5708, -1.0)
    """
    raise NotImplementedError


@primitive
def atan(x: Array, /) -> Array:
    """The inverse tangent, in radians between -π/2 and π/2; its slope is 1/(1 + x²).

    >>> import adjoint as aj
    >>> float(aj.atan(1.0)), float(aj.grad(aj.atan)(1.0))
    (0.7854, 0.5)
    """
    raise NotImplementedError


@primitive
def atan2(y: Array, x: Array, /) -> Array:
    """The angle of the point (x, y), in radians from -π to π.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.atan2(1.0, -1.0)) / np.pi
        0.75
    """
    raise NotImplementedError


@primitive
def sinh(x: Array, /) -> Array:
    """The hyperbolic sine (eˣ - e⁻ˣ)/2.

    >>> import adjoint as aj
    >>> float(aj.sinh(0.0)), float(aj.grad(aj.sinh)(0.0))
    (0.0, 1.0)
    """
    raise NotImplementedError


@primitive
def cosh(x: Array, /) -> Array:
    """The hyperbolic cosine (eˣ + e⁻ˣ)/2.

    >>> import adjoint as aj
    >>> float(aj.cosh(0.0)), float(aj.grad(aj.cosh)(0.0))
    (1.0, 0.0)
    """
    raise NotImplementedError


@primitive
def tanh(x: Array, /) -> Array:
    """The hyperbolic tangent sinh x / cosh x; its slope is 1 - tanh² x.

    >>> import adjoint as aj
    >>> float(aj.tanh(0.0)), float(aj.grad(aj.tanh)(0.0))
    (0.0, 1.0)
    """
    raise NotImplementedError


@primitive
def asinh(x: Array, /) -> Array:
    """The inverse hyperbolic sine log(x + √(x² + 1)).

    >>> import adjoint as aj
    >>> float(aj.asinh(0.75)), float(aj.grad(aj.asinh)(0.75))
    (0.6931, 0.8)
    """
    raise NotImplementedError


@primitive
def acosh(x: Array, /) -> Array:
    """The inverse hyperbolic cosine log(x + √(x² - 1)) of x ≥ 1, NaN below.

    >>> import adjoint as aj
    >>> float(aj.acosh(1.25)), float(aj.grad(aj.acosh)(1.25))
    (0.6931, 1.3333)
    """
    raise NotImplementedError


@primitive
def atanh(x: Array, /) -> Array:
    """The inverse hyperbolic tangent ½ log((1 + x)/(1 - x)) of x in [-1, 1], NaN outside.

    >>> import adjoint as aj
    >>> float(aj.atanh(0.6)), float(aj.grad(aj.atanh)(0.6))
    (0.6931, 1.5625)
    """
    raise NotImplementedError


@primitive
def erf(x: Array, /) -> Array:
    """The error function 2/√π ∫₀ˣ e^(-t²) dt.

    >>> import adjoint as aj
    >>> float(aj.erf(0.0)), float(aj.grad(aj.erf)(0.0))
    (0.0, 1.1284)
    """
    raise NotImplementedError


# Activations


@primitive
def relu(x: Array, /) -> Array:
    """max(x, 0); the slope at 0 is 0, as in PyTorch.

    >>> import numpy as np, adjoint as aj
    >>> aj.relu(np.array([-2.0, 0.0, 3.0])).tolist()
        [0.0, 0.0, 3.0]
        >>> [float(aj.grad(aj.relu)(x)) for x in (-2.0, 0.0, 3.0)]
        [0.0, 0.0, 1.0]
    """
    raise NotImplementedError


@composition
def relu6(x: Array, /) -> Array:
    """min(max(x, 0), 6).

    >>> import numpy as np, adjoint as aj
    >>> aj.relu6(np.array([-1.0, 3.0, 8.0])).tolist()
    [0.0, 3.0, 6.0]
    """
    return clip(x, 0.0, 6.0)


@composition
def leaky_relu(x: Array, /, negative_slope: float = 0.01) -> Array:
    """x where x > 0, negative_slope · x elsewhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.leaky_relu(np.array([-2.0, 3.0]), negative_slope=0.1).tolist()
    [-0.2, 3.0]
    """
    return where(greater(x, 0.0), x, negative_slope * x)


@composition
def elu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (eˣ - 1) elsewhere (Clevert et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.elu(np.array([-1.0, 2.0])).tolist()
    [-0.6321, 2.0]
    """
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0)))


@composition
def selu(x: Array, /) -> Array:
    """λ · elu(x, α) with the λ and α at which layers keep mean 0 and variance 1 (Klambauer et al. 2017).

    >>> import numpy as np, adjoint as aj
    >>> aj.selu(np.array([-1.0, 1.0])).tolist()
    [-1.1113, 1.0507]
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@composition
def celu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (e^(x/α) - 1) elsewhere (Barron 2017).

    >>> import numpy as np, adjoint as aj
    >>> aj.celu(np.array([-2.0, 1.0]), alpha=2.0).tolist()
    [-1.2642, 1.0]
    """
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0) / alpha))


@primitive
def sigmoid(x: Array, /) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ), with slope σ(x) (1 - σ(x)).

    >>> import adjoint as aj
    >>> float(aj.sigmoid(0.0)), float(aj.grad(aj.sigmoid)(0.0))
    (0.5, 0.25)
    """
    raise NotImplementedError


@composition
def logsigmoid(x: Array, /) -> Array:
    """log σ(x) = -softplus(-x), without overflow.

    >>> import adjoint as aj
    >>> float(aj.logsigmoid(-1000.0))
    -1000.0
    """
    return negative(softplus(negative(x)))


@composition
def softplus(x: Array, /, beta: float = 1.0) -> Array:
    """log(1 + e^(βx)) / β, a smooth `relu`; its slope is σ(βx).

    >>> import adjoint as aj
    >>> float(aj.softplus(0.0)), float(aj.grad(aj.softplus)(0.0))
    (0.6931, 0.5)
    """
    return logaddexp(x, 0.0) if beta == 1.0 else logaddexp(beta * x, 0.0) / beta


@composition
def softsign(x: Array, /) -> Array:
    """x / (1 + |x|).

    >>> import adjoint as aj
    >>> float(aj.softsign(1.0)), float(aj.grad(aj.softsign)(1.0))
    (0.5, 0.25)
    """
    return x / (1.0 + abs(x))


@composition
def tanhshrink(x: Array, /) -> Array:
    """x - tanh x, with slope tanh² x.

    >>> import adjoint as aj
    >>> float(aj.tanhshrink(1.0)), float(aj.grad(aj.tanhshrink)(1.0))
    (0.2384, 0.58)
    """
    return x - tanh(x)


@composition
def silu(x: Array, /) -> Array:
    """x σ(x), also called swish (Elfwing et al. 2018).

    >>> import adjoint as aj
    >>> float(aj.silu(0.0)), float(aj.grad(aj.silu)(0.0))
    (0.0, 0.5)
    """
    return x * sigmoid(x)


@composition
def mish(x: Array, /) -> Array:
    """x tanh(softplus(x)) (Misra 2019).

    >>> import adjoint as aj
    >>> float(aj.mish(0.0)), float(aj.grad(aj.mish)(0.0))
    (0.0, 0.6)
    """
    return x * tanh(softplus(x))


@composition
def hardtanh(x: Array, /, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val].

    >>> import numpy as np, adjoint as aj
    >>> aj.hardtanh(np.array([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    return clip(x, min_val, max_val)


@composition
def hardsigmoid(x: Array, /) -> Array:
    """min(max(x + 3, 0), 6) / 6.

    >>> import numpy as np, adjoint as aj
    >>> aj.hardsigmoid(np.array([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return relu6(x + 3.0) / 6.0


@composition
def hardswish(x: Array, /) -> Array:
    """x · hardsigmoid(x) (Howard et al. 2019).

    >>> import numpy as np, adjoint as aj
    >>> aj.hardswish(np.array([-1.0, 1.0, 3.0])).tolist()
    [-0.3333, 0.6667, 3.0]
    """
    return x * hardsigmoid(x)


@composition
def gelu(x: Array, /, approximate: str = "none") -> Array:
    """x Φ(x), Φ the normal distribution function; approximate="tanh" is Hendrycks & Gimpel's formula (2016).

    Raises ValueError for another `approximate`.

    >>> import adjoint as aj
    >>> float(aj.gelu(1.0)), float(aj.gelu(1.0, approximate="tanh"))
        (0.84134, 0.84119)
    """
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
    """-1, 0 or 1, with derivative 0; rounding and comparisons are constants for derivatives, too.

    >>> import adjoint as aj
    >>> float(aj.sign(-2.0)), float(aj.grad(aj.sign)(-2.0))
    (-1.0, 0.0)
    """
    raise NotImplementedError


@primitive
def floor(x: Array, /) -> Array:
    """The largest integer not above x.

    >>> import numpy as np, adjoint as aj
    >>> aj.floor(np.array([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """
    raise NotImplementedError


@primitive
def ceil(x: Array, /) -> Array:
    """The smallest integer not below x.

    >>> import numpy as np, adjoint as aj
    >>> aj.ceil(np.array([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """
    raise NotImplementedError


@primitive
def round(x: Array, /) -> Array:
    """The nearest integer, halves to the even one.

    >>> import numpy as np, adjoint as aj
    >>> aj.round(np.array([0.5, 1.5, 2.6])).tolist()
    [0.0, 2.0, 3.0]
    """
    raise NotImplementedError


@primitive
def isfinite(x: Array, /) -> Array:
    """Whether x is neither infinite nor NaN.

    >>> import numpy as np, adjoint as aj
    >>> aj.isfinite(np.array([1.0, np.inf, np.nan])).tolist()
    [True, False, False]
    """
    raise NotImplementedError


@primitive
def isnan(x: Array, /) -> Array:
    """Whether x is NaN.

    >>> import numpy as np, adjoint as aj
    >>> aj.isnan(np.array([1.0, np.inf, np.nan])).tolist()
    [False, False, True]
    """
    raise NotImplementedError


@primitive
def equal(x: Array, y: Array, /) -> Array:
    """x == y.

    >>> import numpy as np, adjoint as aj
    >>> aj.equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, True, False]
    """
    raise NotImplementedError


@primitive
def not_equal(x: Array, y: Array, /) -> Array:
    """x != y.

    >>> import numpy as np, adjoint as aj
    >>> aj.not_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, False, True]
    """
    raise NotImplementedError


@primitive
def less(x: Array, y: Array, /) -> Array:
    """x < y.

    >>> import numpy as np, adjoint as aj
    >>> aj.less(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, False, False]
    """
    raise NotImplementedError


@primitive
def less_equal(x: Array, y: Array, /) -> Array:
    """x <= y.

    >>> import numpy as np, adjoint as aj
    >>> aj.less_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, True, False]
    """
    raise NotImplementedError


@primitive
def greater(x: Array, y: Array, /) -> Array:
    """x > y.

    >>> import numpy as np, adjoint as aj
    >>> aj.greater(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, False, True]
    """
    raise NotImplementedError


@primitive
def greater_equal(x: Array, y: Array, /) -> Array:
    """x >= y.

    >>> import numpy as np, adjoint as aj
    >>> aj.greater_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, True, True]
    """
    raise NotImplementedError


@primitive
def logical_and(x: Array, y: Array, /) -> Array:
    """Whether both hold.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_and(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, False, False]
    """
    raise NotImplementedError


@primitive
def logical_or(x: Array, y: Array, /) -> Array:
    """Whether one holds at least.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_or(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, True, False]
    """
    raise NotImplementedError


@primitive
def logical_not(x: Array, /) -> Array:
    """Whether it does not hold.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_not(np.array([True, False])).tolist()
    [False, True]
    """
    raise NotImplementedError
