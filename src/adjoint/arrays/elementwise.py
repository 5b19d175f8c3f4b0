"""The seam, element by element: every function takes any shape and gives the broadcast shape of its operands."""

from __future__ import annotations

from typing import Any

from adjoint.arrays.dispatch import Array, composition, primitive

# Arithmetic


@primitive
def add(x: Array, y: Array, /) -> Array:
    """x + y; raises `ShapeError` where the shapes do not broadcast, as every function of two arrays here.

    >>> import numpy as np, adjoint as aj
    >>> aj.add(np.ones((2, 1)), np.array([1.0, 2.0])).tolist()
    [[2.0, 3.0], [2.0, 3.0]]
    """


@primitive
def subtract(x: Array, y: Array, /) -> Array:
    """x - y.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.subtract, (0, 1))(5.0, 3.0)]
    [1.0, -1.0]
    """


@primitive
def multiply(x: Array, y: Array, /) -> Array:
    """x · y, the Hadamard product: its slopes are y and x.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.multiply, (0, 1))(2.0, 3.0)]
    [3.0, 2.0]
    """


@primitive
def divide(x: Array, y: Array, /) -> Array:
    """x / y: its slopes are 1/y and -x/y².

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.divide, (0, 1))(1.0, 2.0)]
    [0.5, -0.25]
    """


@primitive
def pow(x: Array, y: Array, /) -> Array:
    """x ** y; the derivative with respect to y exists for x > 0 and is 0 where x = 0.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.pow, (0, 1))(1.0, 3.0)]
    [3.0, 0.0]
    """


@primitive
def negative(x: Array, /) -> Array:
    """-x.

    >>> import adjoint as aj
    >>> float(aj.negative(3.0)), float(aj.grad(aj.negative)(3.0))
    (-3.0, -1.0)
    """


@primitive
def abs(x: Array, /) -> Array:
    """|x|; the slope at the kink x = 0 is 0.

    >>> import adjoint as aj
    >>> [float(aj.grad(aj.abs)(x)) for x in (-2.0, 0.0, 2.0)]
    [-1.0, 0.0, 1.0]
    """


@primitive
def square(x: Array, /) -> Array:
    """x².

    >>> import adjoint as aj
    >>> float(aj.square(3.0)), float(aj.grad(aj.square)(3.0))
    (9.0, 6.0)
    """


@primitive
def sqrt(x: Array, /) -> Array:
    """√x, NaN for x < 0; the slope 1/(2√x) is infinite at 0.

    >>> import adjoint as aj
    >>> float(aj.sqrt(4.0)), float(aj.grad(aj.sqrt)(4.0))
    (2.0, 0.25)
    """


@primitive
def reciprocal(x: Array, /) -> Array:
    """1 / x.

    >>> import adjoint as aj
    >>> float(aj.reciprocal(2.0)), float(aj.grad(aj.reciprocal)(2.0))
    (0.5, -0.25)
    """


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


@primitive
def minimum(x: Array, y: Array, /) -> Array:
    """The smaller of x and y; where they are equal each has slope ½.

    >>> import adjoint as aj
    >>> [float(slope) for slope in aj.grad(aj.minimum, (0, 1))(1.0, 2.0)]
    [1.0, 0.0]
    """


@primitive
def where(condition: Array, x: Array, y: Array, /) -> Array:
    """x where the condition holds, y elsewhere; each gets the cotangent where it was chosen.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([-1.0, 4.0])
    >>> aj.where(x > 0.0, x, 0.0).tolist()
    [0.0, 4.0]
    """


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


@primitive
def exp2(x: Array, /) -> Array:
    """2ˣ, with slope 2ˣ log 2.

    >>> import adjoint as aj
    >>> float(aj.exp2(3.0)), float(aj.grad(aj.exp2)(3.0))
    (8.0, 5.5452)
    """


@primitive
def expm1(x: Array, /) -> Array:
    """eˣ - 1, exact near 0.

    >>> import adjoint as aj
    >>> float(aj.expm1(1e-20)), float(aj.exp(1e-20)) - 1.0
    (1e-20, 0.0)
    """


@primitive
def log(x: Array, /) -> Array:
    """The natural logarithm: -∞ at 0, NaN for x < 0.

    >>> import adjoint as aj
    >>> float(aj.log(2.0)), float(aj.grad(aj.log)(2.0))
    (0.6931, 0.5)
    """


@primitive
def log2(x: Array, /) -> Array:
    """The logarithm to base 2, with slope 1/(x log 2).

    >>> import adjoint as aj
    >>> float(aj.log2(8.0)), float(aj.grad(aj.log2)(8.0))
    (3.0, 0.1803)
    """


@primitive
def log10(x: Array, /) -> Array:
    """The logarithm to base 10, with slope 1/(x log 10).

    >>> import adjoint as aj
    >>> float(aj.log10(100.0)), float(aj.grad(aj.log10)(100.0))
    (2.0, 0.004343)
    """


@primitive
def log1p(x: Array, /) -> Array:
    """log(1 + x), exact near 0.

    >>> import adjoint as aj
    >>> float(aj.log1p(1e-20)), float(aj.log(1.0 + 1e-20))
    (1e-20, 0.0)
    """


@primitive
def logaddexp(x: Array, y: Array, /) -> Array:
    """log(eˣ + eʸ) without overflow; its slopes are the softmax of (x, y).

    >>> import adjoint as aj
    >>> float(aj.logaddexp(1000.0, 1000.0))
    1000.6931
    >>> [float(slope) for slope in aj.grad(aj.logaddexp, (0, 1))(1000.0, 1000.0)]
    [0.5, 0.5]
    """


@primitive
def sin(x: Array, /) -> Array:
    """The sine, x in radians.

    >>> import adjoint as aj
    >>> float(aj.sin(0.0)), float(aj.grad(aj.sin)(0.0))
    (0.0, 1.0)
    """


@primitive
def cos(x: Array, /) -> Array:
    """The cosine, x in radians.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.cos(np.pi / 2)), float(aj.grad(aj.cos)(np.pi / 2))
    (0.0, -1.0)
    """


@primitive
def tan(x: Array, /) -> Array:
    """The tangent, x in radians; its slope is 1 + tan² x.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.tan(np.pi / 4)), float(aj.grad(aj.tan)(np.pi / 4))
    (1.0, 2.0)
    """


@primitive
def asin(x: Array, /) -> Array:
    """The inverse sine of x in [-1, 1], in radians from -π/2 to π/2; its slope is 1/√(1 - x²).

    >>> import adjoint as aj
    >>> float(aj.asin(0.5)), float(aj.grad(aj.asin)(0.5))
    (0.5236, 1.1547)
    """


@primitive
def acos(x: Array, /) -> Array:
    """The inverse cosine of x in [-1, 1], in radians from 0 to π; its slope is -1/√(1 - x²).

    >>> import adjoint as aj
    >>> float(aj.acos(0.0)), float(aj.grad(aj.acos)(0.0))
    (1.5708, -1.0)
    """


@primitive
def atan(x: Array, /) -> Array:
    """The inverse tangent, in radians between -π/2 and π/2; its slope is 1/(1 + x²).

    >>> import adjoint as aj
    >>> float(aj.atan(1.0)), float(aj.grad(aj.atan)(1.0))
    (0.7854, 0.5)
    """


@primitive
def atan2(y: Array, x: Array, /) -> Array:
    """The angle of the point (x, y), in radians from -π to π.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.atan2(1.0, -1.0)) / np.pi
    0.75
    """


@primitive
def sinh(x: Array, /) -> Array:
    """The hyperbolic sine (eˣ - e⁻ˣ)/2.

    >>> import adjoint as aj
    >>> float(aj.sinh(0.0)), float(aj.grad(aj.sinh)(0.0))
    (0.0, 1.0)
    """


@primitive
def cosh(x: Array, /) -> Array:
    """The hyperbolic cosine (eˣ + e⁻ˣ)/2.

    >>> import adjoint as aj
    >>> float(aj.cosh(0.0)), float(aj.grad(aj.cosh)(0.0))
    (1.0, 0.0)
    """


@primitive
def tanh(x: Array, /) -> Array:
    """The hyperbolic tangent sinh x / cosh x; its slope is 1 - tanh² x.

    >>> import adjoint as aj
    >>> float(aj.tanh(0.0)), float(aj.grad(aj.tanh)(0.0))
    (0.0, 1.0)
    """


@primitive
def asinh(x: Array, /) -> Array:
    """The inverse hyperbolic sine log(x + √(x² + 1)).

    >>> import adjoint as aj
    >>> float(aj.asinh(0.75)), float(aj.grad(aj.asinh)(0.75))
    (0.6931, 0.8)
    """


@primitive
def acosh(x: Array, /) -> Array:
    """The inverse hyperbolic cosine log(x + √(x² - 1)) of x ≥ 1, NaN below.

    >>> import adjoint as aj
    >>> float(aj.acosh(1.25)), float(aj.grad(aj.acosh)(1.25))
    (0.6931, 1.3333)
    """


@primitive
def atanh(x: Array, /) -> Array:
    """The inverse hyperbolic tangent ½ log((1 + x)/(1 - x)) of x in [-1, 1], NaN outside.

    >>> import adjoint as aj
    >>> float(aj.atanh(0.6)), float(aj.grad(aj.atanh)(0.6))
    (0.6931, 1.5625)
    """


@primitive
def erf(x: Array, /) -> Array:
    """The error function 2/√π ∫₀ˣ e^(-t²) dt.

    >>> import adjoint as aj
    >>> float(aj.erf(0.0)), float(aj.grad(aj.erf)(0.0))
    (0.0, 1.1284)
    """
