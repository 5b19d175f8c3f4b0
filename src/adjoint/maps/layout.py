"""Maps that move entries: reshape, permute, broadcast and sum, slice and pad, gather and scatter, concatenate."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import ORTHOGONAL, LinearMap
from adjoint.maps.spaces import Space, lead_of, negative_axes, ravel, size, unravel


class Reshape(LinearMap):
    """The same entries in row-major order in another shape; the adjoint reshapes back.

    >>> import numpy as np, adjoint as aj
    >>> (aj.Reshape((28, 28), (784,)) @ np.ones((28, 28))).shape
    (784,)
    """

    __slots__ = ("in_shape", "out_shape")
    properties = ORTHOGONAL

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        self.in_shape = in_shape
        self.out_shape = out_shape

    def apply(self, v: Any) -> Any:
        """v reshaped."""
        return xp.reshape(v, (*lead_of(v, self.in_shape), *self.out_shape))

    def adjoint(self, u: Any) -> Any:
        """u reshaped back."""
        return xp.reshape(u, (*lead_of(u, self.out_shape), *self.in_shape))

    @property
    def T(self) -> LinearMap:
        """The reshape back."""
        return Reshape(self.out_shape, self.in_shape)

    def matrix(self) -> Array:
        """The identity matrix: flattened, nothing moves."""
        return np.eye(math.prod(self.in_shape))


class Flatten(LinearMap):
    """All entries in one vector, those of a product of spaces one after the other; the adjoint puts them back.

    >>> import adjoint as aj
    >>> aj.Flatten(((2, 3), (4,)))
    Flatten: ((2, 3), (4,)) → (10,)
    """

    __slots__ = ("in_shape",)
    properties = ORTHOGONAL

    def __init__(self, shape: Space) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """(n,)."""
        return (size(self.in_shape),)

    def apply(self, v: Any) -> Any:
        """v as a vector."""
        return ravel(v, self.in_shape)

    def adjoint(self, u: Any) -> Any:
        """The entries of u in the space."""
        return unravel(u, self.in_shape)

    def matrix(self) -> Array:
        """The identity matrix."""
        return np.eye(size(self.in_shape))


class Permute(LinearMap):
    """Axes in another order: axis i of the result is axis axes[i]; the adjoint is the inverse order.

    >>> import adjoint as aj
    >>> aj.Permute((1, 2, 0), (2, 3, 4))
    Permute: (2, 3, 4) → (3, 4, 2)
    """

    __slots__ = ("axes", "in_shape")
    properties = ORTHOGONAL

    def __init__(self, axes: Sequence[int], in_shape: Shape) -> None:
        self.axes = tuple(a - len(in_shape) if a >= 0 else a for a in axes)
        self.in_shape = in_shape

    @property
    def out_shape(self) -> Space:
        """The permuted shape."""
        return tuple(self.in_shape[a] for a in self.axes)

    def apply(self, v: Any) -> Any:
        """v with its axes in that order."""
        lead = len(v.shape) - len(self.axes)
        return xp.permute(v, (*range(lead), *self.axes))

    def adjoint(self, u: Any) -> Any:
        """u with its axes in the order before."""
        lead = len(u.shape) - len(self.axes)
        return xp.permute(u, (*range(lead), *inverse(self.axes)))

    @property
    def T(self) -> LinearMap:
        """The inverse order."""
        return Permute(inverse(self.axes), self.out_shape)


@functools.cache
def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes an order of negative axes.

    >>> inverse((-2, -1, -3))
    (-1, -3, -2)
    """
    n = len(axes)
    return tuple(axes.index(a) - n for a in range(-n, 0))


class Broadcast(LinearMap):
    """x repeated along new or size-1 axes; the adjoint is the sum along them.

    >>> import numpy as np, adjoint as aj
    >>> aj.Broadcast((3,), (2, 3)).T @ np.ones((2, 3))
    array([2., 2., 2.])
    """

    __slots__ = ("in_shape", "out_shape")

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        self.in_shape = in_shape
        self.out_shape = out_shape

    def apply(self, v: Any) -> Any:
        """v repeated."""
        lead = lead_of(v, self.in_shape)
        if lead:
            v = xp.reshape(v, (*lead, *(1,) * (len(self.out_shape) - len(self.in_shape)), *self.in_shape))
        return xp.broadcast_to(v, (*lead, *self.out_shape))

    def adjoint(self, u: Any) -> Any:
        """u summed to the input's shape."""
        return summed_to(u, self.out_shape, self.in_shape)


@functools.cache
def _summed_axes(big: Shape, small: Shape) -> tuple[tuple[int, ...], bool]:
    missing = len(big) - len(small)
    axes = [a - len(big) for a in range(missing)]
    kept = [a - len(small) for a, n in enumerate(small) if n == 1 and big[a + missing] != 1]
    return tuple(axes + kept), bool(kept)


def summed_to(u: Array, big: Shape, small: Shape) -> Array:
    """u, trailing axes `big`, summed over the axes along which `small` broadcasts to `big`: trailing axes `small`."""
    axes, kept = _summed_axes(big, small)
    if not axes:
        return u
    total = xp.sum(u, axes)
    return xp.reshape(total, (*lead_of(u, big), *small)) if kept else total


class Slice(LinearMap):
    """x ↦ x[key] for integers, slices, None and Ellipsis; the adjoint pads with zeros.

    >>> import numpy as np, adjoint as aj
    >>> aj.Slice(slice(1, 3), (4,)).T @ np.array([5.0, 6.0])
    array([0., 5., 6., 0.])
    """

    __slots__ = ("in_shape", "key", "out_shape")

    def __init__(self, key: Any, in_shape: Shape) -> None:
        self.key = explicit(key, len(in_shape))
        self.in_shape = in_shape
        self.out_shape = np.empty(in_shape, "V0")[self.key].shape

    def apply(self, v: Any) -> Any:
        """v[…, key]."""
        return xp.getitem(v, (Ellipsis, *self.key))

    def adjoint(self, u: Any) -> Any:
        """Zeros with u at the key."""
        return xp.put(u, (Ellipsis, *self.key), (*lead_of(u, self.out_shape), *self.in_shape))


def explicit(key: Any, ndim: int) -> tuple[Any, ...]:
    """A basic key written out for every axis, so that batch axes can stand in front of it.

    >>> explicit((0, Ellipsis), 3)
    (0, slice(None, None, None), slice(None, None, None))
    """
    key = key if isinstance(key, tuple) else (key,)
    used = sum(k is not None and k is not Ellipsis for k in key)
    rest = (slice(None),) * (ndim - used)
    if Ellipsis not in key:
        return (*key, *rest)
    at = key.index(Ellipsis)
    return (*key[:at], *rest, *key[at + 1 :])


class Take(LinearMap):
    """Slices at integer indices along an axis (gather); the adjoint adds them back in place (scatter-add).

    >>> import numpy as np, adjoint as aj
    >>> aj.Take(np.array([0, 0, 2]), 0, (3,)).T @ np.ones(3)
    array([2., 0., 1.])
    """

    __slots__ = ("axis", "in_shape", "indices")

    def __init__(self, indices: Array, axis: int, in_shape: Shape) -> None:
        self.indices = indices
        self.axis = axis - len(in_shape) if axis >= 0 else axis
        self.in_shape = in_shape

    @property
    def out_shape(self) -> Space:
        """The axis replaced by the indices' axes."""
        at = len(self.in_shape) + self.axis
        return (*self.in_shape[:at], *self.indices.shape, *self.in_shape[at + 1 :])

    def apply(self, v: Any) -> Any:
        """The slices of v."""
        return xp.take(v, self.indices, len(v.shape) + self.axis)

    def adjoint(self, u: Any) -> Any:
        """The slices of u summed at their indices."""
        count, after = len(self.indices.shape), -self.axis - 1
        before = len(u.shape) - count - after
        front = (*range(before, before + count), *range(before), *range(before + count, len(u.shape)))
        moved = xp.permute(u, front) if before else u
        shape = tuple(moved.shape)[count:]
        flat = xp.reshape(moved, (math.prod(self.indices.shape), math.prod(shape)))
        summed = xp.segment_sum(flat, xp.reshape(self.indices, (-1,)), self.in_shape[self.axis])
        summed = xp.reshape(summed, (self.in_shape[self.axis], *shape))
        return xp.permute(summed, (*range(1, before + 1), 0, *range(before + 1, len(shape) + 1))) if before else summed


class TakeAlong(LinearMap):
    """Entries picked along an axis by indices of the same number of axes; the adjoint adds them back.

    >>> import numpy as np, adjoint as aj
    >>> aj.TakeAlong(np.array([[2], [0]]), -1, (2, 3)) @ np.arange(6.0).reshape(2, 3)
    array([[2.],
           [3.]])
    """

    __slots__ = ("axis", "in_shape", "indices")

    def __init__(self, indices: Array, axis: int, in_shape: Shape) -> None:
        self.indices = indices
        self.axis = axis - len(in_shape) if axis >= 0 else axis
        self.in_shape = in_shape

    @property
    def out_shape(self) -> Space:
        """The indices' shape."""
        return tuple(self.indices.shape)

    def _indices(self, lead: Shape) -> Array:
        if not lead:
            return self.indices
        shape = tuple(self.indices.shape)
        return xp.broadcast_to(xp.reshape(self.indices, (*(1,) * len(lead), *shape)), (*lead, *shape))

    def apply(self, v: Any) -> Any:
        """The picked entries of v."""
        return xp.take_along(v, self._indices(lead_of(v, self.in_shape)), self.axis)

    def adjoint(self, u: Any) -> Any:
        """u added to its places."""
        return xp.put_along(u, self._indices(lead_of(u, self.out_shape)), self.axis, self.in_shape[self.axis])


class Concatenate(LinearMap):
    """Arrays, an element of a product space, one after the other along an axis; the adjoint cuts them apart.

    >>> import adjoint as aj
    >>> aj.Concatenate(((2, 3), (4, 3)), 0)
    Concatenate: ((2, 3), (4, 3)) → (6, 3)
    """

    __slots__ = ("axis", "in_shape")

    def __init__(self, shapes: tuple[Shape, ...], axis: int) -> None:
        self.in_shape = shapes
        (self.axis,) = negative_axes(axis, len(shapes[0]))

    @property
    def out_shape(self) -> Space:
        """The joined shape."""
        shape = list(self.in_shape[0])
        shape[self.axis] = sum(s[self.axis] for s in self.in_shape)
        return tuple(shape)

    def apply(self, v: Any) -> Any:
        """The parts joined."""
        return xp.concatenate(v, self.axis)

    def adjoint(self, u: Any) -> Any:
        """The parts of u."""
        return tuple(xp.getitem(u, (Ellipsis, *placed(self.in_shape, self.axis, i))) for i in range(len(self.in_shape)))


def placed(shapes: Sequence[Shape], axis: int, i: int) -> tuple[Any, ...]:
    """The key of the i-th of several arrays in their concatenation along a negative axis."""
    start = sum(s[axis] for s in shapes[:i])
    key: list[Any] = [slice(None)] * len(shapes[i])
    key[axis] = slice(start, start + shapes[i][axis])
    return tuple(key)


class Flip(LinearMap):
    """Reversed order along axes; its own adjoint and inverse.

    >>> import numpy as np, adjoint as aj
    >>> aj.Flip(0, (3,)) @ np.array([1.0, 2.0, 3.0])
    array([3., 2., 1.])
    """

    __slots__ = ("axes", "in_shape")
    properties = ORTHOGONAL | {"symmetric"}

    def __init__(self, axes: int | Sequence[int] | None, shape: Shape) -> None:
        self.axes = negative_axes(axes, len(shape))
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v reversed."""
        return xp.flip(v, self.axes)

    adjoint = apply

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self


class Roll(LinearMap):
    """A cyclic shift along an axis; the adjoint shifts back.

    >>> import numpy as np, adjoint as aj
    >>> aj.Roll(1, 0, (3,)) @ np.array([1.0, 2.0, 3.0])
    array([3., 1., 2.])
    """

    __slots__ = ("axis", "in_shape", "shift")
    properties = ORTHOGONAL

    def __init__(self, shift: int, axis: int, shape: Shape) -> None:
        self.shift = shift
        (self.axis,) = negative_axes(axis, len(shape))
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v shifted."""
        return xp.roll(v, self.shift, self.axis)

    def adjoint(self, u: Any) -> Any:
        """u shifted back."""
        return xp.roll(u, -self.shift, self.axis)

    @property
    def T(self) -> LinearMap:
        """The shift back."""
        return Roll(-self.shift, self.axis, self.in_shape)


class DiagonalPart(LinearMap):
    """The main diagonals of matrices, (…, m, n) to (…, min(m, n)); the adjoint makes diagonal matrices.

    >>> import numpy as np, adjoint as aj
    >>> aj.DiagonalPart((2, 2)).T @ np.array([1.0, 2.0])
    array([[1., 0.],
           [0., 2.]])
    """

    __slots__ = ("in_shape",)

    def __init__(self, shape: Shape) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """One axis for the last two."""
        return (*self.in_shape[:-2], min(self.in_shape[-2:]))

    def apply(self, v: Any) -> Any:
        """The diagonals of v."""
        return xp.diagonal(v)

    def adjoint(self, u: Any) -> Any:
        """Diagonal matrices with u, padded where they are not square."""
        square, k = xp.diagonal_matrix(u), u.shape[-1]
        missing = [(0, n - k) for n in self.in_shape[-2:]]
        return xp.pad(square, [(0, 0)] * (len(u.shape) - 1) + missing) if any(b for _, b in missing) else square
