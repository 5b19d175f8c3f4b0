"""Maps of reductions: weighted sums, running sums, softmax."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import SYMMETRIC, LinearMap
from adjoint.maps.spaces import Space, lead_of, negative_axes


class Reduce(LinearMap):
    """x ↦ Σ w x over axes: the derivative of every reduction (sum, mean, max, variance, norm, logsumexp, a mean loss).

    `w` is an array of the input's shape, a number, None for 1, or a function that gives the array when first needed;
    `axes` as for `aj.sum`.

    >>> import numpy as np, adjoint as aj
    >>> aj.Reduce(np.array([[1.0, 2.0], [3.0, 4.0]]), -1, (2, 2)) @ np.ones((2, 2))
    array([3., 7.])
    """

    __slots__ = ("_w", "axes", "in_shape", "keepdims")

    def __init__(self, w: Any, axes: int | tuple[int, ...] | None, shape: Shape, keepdims: bool = False) -> None:
        self._w = w
        self.axes = negative_axes(axes, len(shape))
        self.in_shape = shape
        self.keepdims = keepdims

    @property
    def w(self) -> Any:
        """The weights."""
        if type(self._w) is FunctionType:
            self._w = self._w()
        return self._w

    @property
    def out_shape(self) -> Space:
        """The reduced shape."""
        kept = self._kept()
        return kept if self.keepdims else tuple(kept[a] for a in range(-len(kept), 0) if a not in self.axes)

    def _kept(self) -> Shape:
        return tuple(1 if a in self.axes else self.in_shape[a] for a in range(-len(self.in_shape), 0))

    def apply(self, v: Any) -> Any:
        """Σ w v over the axes."""
        w = self.w
        return xp.sum(v if w is None else w * v, self.axes, self.keepdims)

    def adjoint(self, u: Any) -> Any:
        """w u, u repeated along the axes."""
        w = self.w
        lead = lead_of(u, self.out_shape)
        u = xp.reshape(u, (*lead, *self._kept()))
        u = u if w is None else w * u
        full = (*lead, *self.in_shape)
        return u if tuple(u.shape) == full else xp.broadcast_to(u, full)

    def array(self) -> Array | None:
        """The weights, when they are an array."""
        return self.w if hasattr(self.w, "dtype") else None


class Surprisal(Reduce):
    """x ↦ Σ f (p - e) x over classes: the derivative of -f log softmax(logits)[target], p the softmax, e one-hot.

    The weights are not kept: each pullback makes them, times its cotangent, in one pass. `top` and `total` are the
    largest logit and Σ e^(logit - top), the factor f is a number or one for each target; where that is `ignored` the
    weights are 0. Sums over the classes alone, or over everything with `axes` None.

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(lambda x: aj.cross_entropy(x, np.array([1])), np.array([[0.0, 0.0]])) @ np.array([[1.0, 0.0]])
    np.float64(0.5)
    """

    __slots__ = ("_ndim", "at", "factor", "how", "logits")

    def __init__(
        self, logits: Array, target: Array, top: Array, total: Array, axis: int, ignored: int, factor: Any = 1.0,
        axes: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(None, axes, tuple(logits.shape))
        self.logits, self.at, self.how, self.factor = logits, (target, top, total), (axis, ignored), factor
        self._ndim = 0 if axes is None else len(self.in_shape) - 1

    @property
    def w(self) -> Any:
        """f (p - e), kept once it has been asked for."""
        if self._w is None:
            self._w = self._times(self.factor)
        return self._w

    def adjoint(self, u: Any) -> Any:
        """u f (p - e)."""
        return self._times(self.factor * u) if len(u.shape) == self._ndim else super().adjoint(u)

    def _times(self, factor: Any) -> Array:
        return xp.softmax_difference(self.logits, *self.at, factor, *self.how)


class CumulativeSum(LinearMap):
    """Running sums along an axis; the adjoint runs from the end.

    >>> import numpy as np, adjoint as aj
    >>> aj.CumulativeSum(0, (3,)) @ np.ones(3)
    array([1., 2., 3.])
    """

    __slots__ = ("axis", "in_shape")

    def __init__(self, axis: int, shape: Shape) -> None:
        (self.axis,) = negative_axes(axis, len(shape))
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """Running sums of v."""
        return xp.cumulative_sum(v, self.axis)

    def adjoint(self, u: Any) -> Any:
        """Running sums of u from the end."""
        return xp.reversed_cumulative_sum(u, self.axis)


class Softmax(LinearMap):
    """The Jacobian diag(p) - p pᵀ of softmax along an axis, p its result; symmetric, kernel: the constant vectors.

    >>> import numpy as np, adjoint as aj
    >>> J = aj.Softmax(np.array([0.5, 0.25, 0.25]), -1)
    >>> J @ np.ones(3)
    array([0., 0., 0.])
    """

    __slots__ = ("axis", "p")
    properties = SYMMETRIC | {"positive"}

    def __init__(self, p: Array, axis: int = -1) -> None:
        self.p = p
        (self.axis,) = negative_axes(axis, len(p.shape))

    @property
    def in_shape(self) -> Space:
        """The shape of p."""
        return tuple(self.p.shape)

    @property
    def out_shape(self) -> Space:
        """The shape of p."""
        return tuple(self.p.shape)

    def apply(self, v: Any) -> Any:
        """p (v - Σ p v)."""
        w = self.p * v
        return w - self.p * xp.sum(w, self.axis, True)

    adjoint = apply

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def array(self) -> Array | None:
        """p."""
        return self.p


class LogSoftmax(LinearMap):
    """The Jacobian I - 1 pᵀ of log-softmax along an axis, p the softmax.

    >>> import numpy as np, adjoint as aj
    >>> (aj.LogSoftmax(np.array([0.5, 0.5]), -1).T @ np.array([1.0, 0.0])).tolist()
    [0.5, -0.5]
    """

    __slots__ = ("_p", "axis", "in_shape")

    def __init__(self, p: Array | Callable[[], Array], axis: int = -1, shape: Shape | None = None) -> None:
        self._p = p
        self.in_shape = tuple(self.p.shape) if shape is None else shape
        (self.axis,) = negative_axes(axis, len(self.in_shape))

    @property
    def p(self) -> Array:
        """The softmax."""
        if type(self._p) is FunctionType:
            self._p = self._p()
        return self._p

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v - Σ p v."""
        return v - xp.sum(self.p * v, self.axis, True)

    def adjoint(self, u: Any) -> Any:
        """u - p Σ u."""
        return u - self.p * xp.sum(u, self.axis, True)

    def array(self) -> Array | None:
        """p."""
        return self.p
