"""The seam's reductions: `axis` is an integer, a tuple of them or None (all); keepdims leaves axes of size 1."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import Array, composition, primitive
from adjoint.arrays.layout import flip, getitem, pad, reshape, zeros_like
from adjoint.errors import ShapeError

Axis = int | tuple[int, ...] | None


def normalized(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as a tuple of negative numbers, so that leading batch axes do not disturb them.

    >>> normalized(None, 2), normalized(0, 3), normalized((0, -1), 3)
    ((-2, -1), (-3,), (-3, -1))
    """
    if axis is None:
        return tuple(range(-ndim, 0))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ShapeError(f"axis {a} is out of bounds for {ndim} axes: use {-ndim} to {ndim - 1}.")
    return tuple(sorted(a - ndim if a >= 0 else a for a in axes))


@primitive
def sum(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Σ x over the axes; `axis` None means all, keepdims leaves axes of size 1, as in all reductions.

    Raises `ShapeError` for an axis that x does not have.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> aj.sum(x, 0).tolist(), aj.sum(x, 1, keepdims=True).tolist()
    ([4.0, 6.0], [[3.0], [7.0]])
    """


@composition
def mean(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Σ x / n over the axes; NaN where n = 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.mean(np.array([[1.0, 2.0], [3.0, 6.0]]), -1).tolist()
    [1.5, 4.5]
    """
    n = math.prod(x.shape[a] for a in normalized(axis, len(x.shape)))
    return sum(x, axis, keepdims) * (1.0 / n if n else math.nan)


@composition
def var(x: Array, /, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Array:
    """Σ (x - mean)² / (n - correction) over the axes: NumPy's default 0, PyTorch's 1.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> float(aj.var(x)), float(aj.var(x, correction=1))
    (0.6667, 1.0)
    """
    n = math.prod(x.shape[a] for a in normalized(axis, len(x.shape)))
    centred = x - mean(x, axis, True)
    return sum(el.square(centred), axis, keepdims) * (1.0 / (n - correction) if n > correction else math.nan)


@composition
def std(x: Array, /, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> Array:
    """The square root of `var`.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.std(np.array([1.0, 2.0, 3.0]), correction=1))
    1.0
    """
    return el.sqrt(var(x, axis, keepdims, correction))


@primitive
def max(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """The largest entry over the axes; equal largest ones share the derivative evenly.

    Raises `ShapeError` where there is no entry.

    >>> import numpy as np, adjoint as aj
    >>> aj.grad(aj.max)(np.array([1.0, 3.0, 3.0])).tolist()
    [0.0, 0.5, 0.5]
    """


@primitive
def min(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """The smallest entry over the axes; equal smallest ones share the derivative evenly.

    >>> import numpy as np, adjoint as aj
    >>> aj.min(np.array([[1.0, 2.0], [4.0, 3.0]]), 1).tolist()
    [1.0, 3.0]
    """


@primitive
def prod(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Π x over the axes; its gradient, the products of the others, is right where entries are 0, too.

    >>> import numpy as np, adjoint as aj
    >>> aj.grad(aj.prod)(np.array([2.0, 0.0, 3.0])).tolist()
    [0.0, 6.0, 0.0]
    """


@composition
def norm(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """√Σ x², the Euclidean (Frobenius) norm over the axes; its derivative x/‖x‖ is taken as 0 at 0.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([3.0, 4.0])
    >>> float(aj.norm(x)), aj.grad(aj.norm)(x).tolist()
    (5.0, [0.6, 0.8])
    """
    return el.sqrt(sum(el.square(x), axis, keepdims))


@composition
def logsumexp(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """log Σ eˣ over the axes, without overflow; its gradient is the softmax.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([1000.0, 1000.0])
    >>> float(aj.logsumexp(x)), aj.grad(aj.logsumexp)(x).tolist()
    (1000.6931, [0.5, 0.5])
    """
    top = max(x, axis, True)
    top = el.where(pw.isfinite(top), top, zeros_like(top))
    total = el.log(sum(el.exp(x - top), axis, True)) + top
    return total if keepdims else reshape(total, _reduced(x.shape, axis))


def _reduced(shape: Any, axis: Axis) -> tuple[int, ...]:
    n = len(shape)
    gone = normalized(axis, n)
    return tuple(shape[a] for a in range(-n, 0) if a not in gone)


@primitive
def cumulative_sum(x: Array, /, axis: int = -1) -> Array:
    """Running sums along an axis; the adjoint runs from the end.

    >>> import numpy as np, adjoint as aj
    >>> aj.cumulative_sum(np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 3.0, 6.0]
    """


@composition
def reversed_cumulative_sum(x: Array, /, axis: int = -1) -> Array:
    """Running sums along an axis from its end: the adjoint of `cumulative_sum`."""
    return flip(cumulative_sum(flip(x, axis), axis), axis)


@composition
def compensated_sum(x: Array, /, axis: int = -1) -> Array:
    """Σ x along an axis by compensated pairwise summation: the error is about one rounding, whatever the length.

    Each halving adds pairs and carries their exact rounding errors along (TwoSum; Ogita, Rump & Oishi 2005).

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([1e16, 1.0, -1e16])
    >>> float(aj.compensated_sum(x)), float(aj.sum(x))
    (1.0, 0.0)
    """
    lead = len(x.shape) + axis if axis < 0 else axis
    error = el.multiply(0.0, x)
    while (n := x.shape[axis]) > 1:
        if n % 2:
            width = [(0, 0)] * lead + [(0, 1)] + [(0, 0)] * (len(x.shape) - lead - 1)
            x, error = pad(x, width), pad(error, width)
        half = (slice(None),) * lead
        even, odd = (*half, slice(0, None, 2)), (*half, slice(1, None, 2))
        a, b = getitem(x, even), getitem(x, odd)
        x = a + b
        t = x - a
        error = getitem(error, even) + getitem(error, odd) + ((a - (x - t)) + (b - t))
    return sum(x, axis) + sum(error, axis)


# Without derivative


@primitive
def argmax(x: Array, /, axis: int | None = None) -> Array:
    """The position of the (first) largest entry along an axis, in the flattened array when None; integers.

    >>> import numpy as np, adjoint as aj
    >>> aj.argmax(np.array([[1.0, 5.0, 5.0], [2.0, 0.0, 1.0]]), -1).tolist()
    [1, 0]
    """


@primitive
def argmin(x: Array, /, axis: int | None = None) -> Array:
    """The position of the (first) smallest entry along an axis, in the flattened array when None; integers.

    >>> import numpy as np, adjoint as aj
    >>> int(aj.argmin(np.array([[1.0, 5.0], [0.0, 2.0]])))
    2
    """


@primitive
def sort_order(x: Array, /, axis: int = -1, descending: bool = False) -> Array:
    """The positions that put the entries along an axis in order, of equal ones the first first; integers.

    >>> import numpy as np
    >>> sort_order(np.array([3.0, 1.0, 3.0, 2.0]), descending=True).tolist()
    [0, 2, 3, 1]
    """


@primitive
def any(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether one entry is true at least.

    >>> import numpy as np, adjoint as aj
    >>> aj.any(np.array([[True, False], [False, False]]), 1).tolist()
    [True, False]
    """


@primitive
def all(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether all entries are true.

    >>> import numpy as np, adjoint as aj
    >>> aj.all(np.array([[True, True], [True, False]]), 1).tolist()
    [True, False]
    """
