"""The seam, element by element: what is piecewise constant, or a truth value, and has no derivative."""

from __future__ import annotations

from adjoint.arrays.dispatch import Array, primitive

# Signs, rounding, comparisons, logic


@primitive
def sign(x: Array, /) -> Array:
    """-1, 0 or 1, with derivative 0; rounding and comparisons are constants for derivatives, too.

    >>> import adjoint as aj
    >>> float(aj.sign(-2.0)), float(aj.grad(aj.sign)(-2.0))
    (-1.0, 0.0)
    """


@primitive
def floor(x: Array, /) -> Array:
    """The largest integer not above x.

    >>> import numpy as np, adjoint as aj
    >>> aj.floor(np.array([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """


@primitive
def ceil(x: Array, /) -> Array:
    """The smallest integer not below x.

    >>> import numpy as np, adjoint as aj
    >>> aj.ceil(np.array([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """


@primitive
def round(x: Array, /) -> Array:
    """The nearest integer, halves to the even one.

    >>> import numpy as np, adjoint as aj
    >>> aj.round(np.array([0.5, 1.5, 2.6])).tolist()
    [0.0, 2.0, 3.0]
    """


@primitive
def isfinite(x: Array, /) -> Array:
    """Whether x is neither infinite nor NaN.

    >>> import numpy as np, adjoint as aj
    >>> aj.isfinite(np.array([1.0, np.inf, np.nan])).tolist()
    [True, False, False]
    """


@primitive
def isnan(x: Array, /) -> Array:
    """Whether x is NaN.

    >>> import numpy as np, adjoint as aj
    >>> aj.isnan(np.array([1.0, np.inf, np.nan])).tolist()
    [False, False, True]
    """


@primitive
def equal(x: Array, y: Array, /) -> Array:
    """x == y.

    >>> import numpy as np, adjoint as aj
    >>> aj.equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, True, False]
    """


@primitive
def not_equal(x: Array, y: Array, /) -> Array:
    """x != y.

    >>> import numpy as np, adjoint as aj
    >>> aj.not_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, False, True]
    """


@primitive
def less(x: Array, y: Array, /) -> Array:
    """x < y.

    >>> import numpy as np, adjoint as aj
    >>> aj.less(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, False, False]
    """


@primitive
def less_equal(x: Array, y: Array, /) -> Array:
    """x <= y.

    >>> import numpy as np, adjoint as aj
    >>> aj.less_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [True, True, False]
    """


@primitive
def greater(x: Array, y: Array, /) -> Array:
    """x > y.

    >>> import numpy as np, adjoint as aj
    >>> aj.greater(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, False, True]
    """


@primitive
def greater_equal(x: Array, y: Array, /) -> Array:
    """x >= y.

    >>> import numpy as np, adjoint as aj
    >>> aj.greater_equal(np.array([1.0, 2.0, 3.0]), 2.0).tolist()
    [False, True, True]
    """


@primitive
def logical_and(x: Array, y: Array, /) -> Array:
    """Whether both hold.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_and(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, False, False]
    """


@primitive
def logical_or(x: Array, y: Array, /) -> Array:
    """Whether one holds at least.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_or(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [True, True, False]
    """


@primitive
def logical_not(x: Array, /) -> Array:
    """Whether it does not hold.

    >>> import numpy as np, adjoint as aj
    >>> aj.logical_not(np.array([True, False])).tolist()
    [False, True]
    """
