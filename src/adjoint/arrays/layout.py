"""The seam's layout: the same numbers in another arrangement. Shapes are tuples of integers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from adjoint.arrays.dispatch import Array, Shape, composition, primitive
from adjoint.errors import ShapeError


@primitive
def reshape(x: Array, /, shape: Shape) -> Array:
    """The same entries in row-major order in another shape; one size may be -1, meaning what is left.

    >>> import numpy as np, adjoint as aj
    >>> aj.reshape(np.arange(6), (2, -1)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """


def positive(name: str, axis: int, ndim: int) -> int:
    """The axis counted from the front; raises `ShapeError` where the array has no such axis."""
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{name}: axis {axis} is out of bounds for {ndim} axes: use {-ndim} to {ndim - 1}.")
    return axis % ndim


@composition
def flatten(x: Array, /, start_dim: int = 0, end_dim: int = -1) -> Array:
    """Axes start_dim to end_dim joined into one, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.flatten(np.ones((5, 28, 28)), start_dim=1).shape
    (5, 784)
    """
    shape = tuple(x.shape) or (1,)
    start, end = positive("flatten", start_dim, len(shape)), positive("flatten", end_dim, len(shape))
    size = 1
    for n in shape[start : end + 1]:
        size *= n
    return reshape(x, (*shape[:start], size, *shape[end + 1 :]))


@primitive
def permute(x: Array, /, axes: Sequence[int]) -> Array:
    """Axis i of the result is axis axes[i] of x.

    >>> import numpy as np, adjoint as aj
    >>> aj.permute(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """


@composition
def swapaxes(x: Array, /, axis1: int, axis2: int) -> Array:
    """Axes axis1 and axis2 exchanged.

    >>> import numpy as np, adjoint as aj
    >>> aj.swapaxes(np.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    axes = list(range(len(x.shape)))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return permute(x, axes)


@composition
def moveaxis(x: Array, /, source: int, destination: int) -> Array:
    """Axis `source` moved to position `destination`, the others in order.

    >>> import numpy as np, adjoint as aj
    >>> aj.moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    axes = list(range(len(x.shape)))
    source, destination = (positive("moveaxis", a, len(axes)) for a in (source, destination))
    axes.insert(destination, axes.pop(source))
    return permute(x, axes)


@primitive
def broadcast_to(x: Array, /, shape: Shape) -> Array:
    """x repeated along axes that are 1 or missing, aligned from the right; the adjoint sums along them.

    >>> import numpy as np, adjoint as aj
    >>> aj.broadcast_to(np.array([1.0, 2.0]), (3, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """


@composition
def expand_dims(x: Array, /, axis: int) -> Array:
    """A new axis of size 1 at position `axis` of the result.

    >>> import numpy as np, adjoint as aj
    >>> aj.expand_dims(np.ones((2, 3)), 1).shape
    (2, 1, 3)
    """
    shape = list(x.shape)
    shape.insert(positive("expand_dims", axis, len(shape) + 1), 1)
    return reshape(x, tuple(shape))


@composition
def squeeze(x: Array, /, axis: int | tuple[int, ...] | None = None) -> Array:
    """x without its axes of size 1, or without the named ones of them.

    >>> import numpy as np, adjoint as aj
    >>> aj.squeeze(np.ones((1, 3, 1))).shape, aj.squeeze(np.ones((1, 3, 1)), 0).shape
    ((3,), (3, 1))
    """
    n = len(x.shape)
    named = range(n) if axis is None else (axis,) if isinstance(axis, int) else axis
    dropped = {positive("squeeze", a, n) for a in named if axis is not None or x.shape[a] == 1}
    return reshape(x, tuple(size for a, size in enumerate(x.shape) if a not in dropped or size != 1))


@primitive
def concatenate(arrays: Sequence[Array], /, axis: int = 0) -> Array:
    """Arrays one after the other along an existing axis; their other sizes must be equal.

    >>> import numpy as np, adjoint as aj
    >>> aj.concatenate([np.array([1.0]), np.array([2.0, 3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """


@composition
def stack(arrays: Sequence[Array], /, axis: int = 0) -> Array:
    """Arrays of one shape side by side along a new axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.stack([np.ones(3), np.ones(3)], axis=1).shape
    (3, 2)
    """
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


@composition
def split(x: Array, /, sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """x cut along an axis: into `sections` equal parts, or at the positions given (as NumPy's).

    Raises `ShapeError` where the axis does not divide into equal parts.

    >>> import numpy as np, adjoint as aj
    >>> [part.tolist() for part in aj.split(np.arange(4), [1])]
    [[0], [1, 2, 3]]
    """
    n = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or n % sections:
            raise ShapeError(f"split: axis {axis} of size {n} does not divide into {sections} equal parts.")
        sections = [i * (n // sections) for i in range(1, sections)]
    bounds = [0, *sections, n]
    lead = (slice(None),) * positive("split", axis, len(x.shape))
    return [getitem(x, (*lead, slice(a, b))) for a, b in itertools.pairwise(bounds)]


@primitive
def pad(x: Array, /, width: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    """x with width[i] = (before, after) entries of `value` added along axis i.

    >>> import numpy as np, adjoint as aj
    >>> aj.pad(np.array([1.0, 2.0]), [(1, 2)]).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """


@primitive
def getitem(x: Array, /, key: Any) -> Array:
    """x[key] with NumPy's meaning of integers, slices, None, Ellipsis, masks and index arrays.

    >>> import numpy as np, adjoint as aj
    >>> aj.grad(lambda x: x[1] ** 2)(np.array([3.0, 4.0, 5.0])).tolist()
    [0.0, 8.0, 0.0]
    """


@primitive
def put(u: Array, /, key: Any, shape: Shape) -> Array:
    """Zeros of `shape` with u written at key (integers, slices, None, Ellipsis): the adjoint of x[key]."""


@primitive
def take(x: Array, /, indices: Array, axis: int = 0) -> Array:
    """The slices of x at integer `indices` (any shape) along an axis, that axis replaced by the indices' axes.

    Raises IndexError for an index outside the axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.take(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1, 0])).tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """


@primitive
def segment_sum(u: Array, /, indices: Array, size: int) -> Array:
    """Sums of the rows of u, (n, d), with equal index: row i of the result, (size, d), sums u[indices == i].

    >>> import numpy as np, adjoint as aj
    >>> aj.segment_sum(np.array([[1.0], [2.0], [4.0]]), np.array([0, 2, 0]), 3).tolist()
    [[5.0], [0.0], [2.0]]
    """


@primitive
def take_along(x: Array, /, indices: Array, axis: int = -1) -> Array:
    """Entries of x picked along an axis by an index array of the same number of axes.

    >>> import numpy as np, adjoint as aj
    >>> aj.take_along(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]])).tolist()
    [[2.0], [3.0]]
    """


@primitive
def put_along(u: Array, /, indices: Array, axis: int, size: int) -> Array:
    """The adjoint of `take_along`: u added into zeros of length `size` along the axis."""


@primitive
def flip(x: Array, /, axis: int | tuple[int, ...] | None = None) -> Array:
    """x in reversed order along the axes (all when None).

    >>> import numpy as np, adjoint as aj
    >>> aj.flip(np.array([[1, 2], [3, 4]]), 1).tolist()
    [[2, 1], [4, 3]]
    """


@primitive
def roll(x: Array, /, shift: int, axis: int) -> Array:
    """x shifted cyclically along an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.roll(np.array([1, 2, 3]), 1, 0).tolist()
    [3, 1, 2]
    """


@composition
def tile(x: Array, /, reps: Sequence[int]) -> Array:
    """x repeated reps[i] times along axis i, axes aligned from the right.

    >>> import numpy as np, adjoint as aj
    >>> aj.tile(np.array([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    reps = (1,) * (len(x.shape) - len(reps)) + tuple(reps)
    shape = (1,) * (len(reps) - len(x.shape)) + tuple(x.shape)
    paired = [n for size in shape for n in (1, size)]
    full = [n for r, size in zip(reps, shape, strict=True) for n in (r, size)]
    joined = tuple(r * size for r, size in zip(reps, shape, strict=True))
    return reshape(broadcast_to(reshape(x, tuple(paired)), tuple(full)), joined)


@composition
def repeat(x: Array, /, repeats: int, axis: int) -> Array:
    """Every entry along an axis repeated, neighbours together.

    >>> import numpy as np, adjoint as aj
    >>> aj.repeat(np.array([1, 2]), 2, axis=0).tolist()
    [1, 1, 2, 2]
    """
    axis %= len(x.shape)
    shape = tuple(x.shape)
    wide = reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    full = broadcast_to(wide, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return reshape(full, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


@primitive
def tril(x: Array, /, k: int = 0) -> Array:
    """x with zeros above its k-th diagonal, on the last two axes.

    >>> import numpy as np, adjoint as aj
    >>> aj.tril(np.ones((2, 3))).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """


@primitive
def triu(x: Array, /, k: int = 0) -> Array:
    """x with zeros below its k-th diagonal, on the last two axes.

    >>> import numpy as np, adjoint as aj
    >>> aj.triu(np.ones((2, 3)), k=1).tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """


@primitive
def diagonal(x: Array, /) -> Array:
    """The main diagonals of the last two axes: shape (…, n, n) to (…, n).

    >>> import numpy as np, adjoint as aj
    >>> aj.diagonal(np.array([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """


@primitive
def diagonal_matrix(x: Array, /) -> Array:
    """Matrices with x on the main diagonal: shape (…, n) to (…, n, n).

    >>> import numpy as np, adjoint as aj
    >>> aj.diagonal_matrix(np.array([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """


@primitive
def astype(x: Array, /, dtype: Any) -> Array:
    """x in another dtype, named as NumPy names it; between floating ones the cotangent is cast back.

    >>> import numpy as np, adjoint as aj
    >>> aj.astype(np.ones(2), "float32")
    array([1., 1.], dtype=float32)
    """


@primitive
def copy(x: Array, /) -> Array:
    """x in memory of its own.

    >>> import numpy as np, adjoint as aj
    >>> x = np.ones(2)
    >>> np.shares_memory(x, aj.copy(x))
    False
    """


# New arrays, like another one in backend, device and (unless said) dtype


@primitive
def zeros(like: Array, /, shape: Shape, dtype: Any = None) -> Array:
    """Zeros of `shape`, in the backend, on the device and (unless said) of the dtype of `like`.

    >>> import numpy as np, adjoint as aj
    >>> aj.zeros(np.ones(1, "float32"), (2,))
    array([0., 0.], dtype=float32)
    """


@primitive
def full(like: Array, /, shape: Shape, value: float, dtype: Any = None) -> Array:
    """`value` everywhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.full(np.ones(1, "float32"), (2,), 7.0)
    array([7., 7.], dtype=float32)
    """


@primitive
def eye(like: Array, /, n: int, dtype: Any = None) -> Array:
    """The n×n identity matrix.

    >>> import numpy as np, adjoint as aj
    >>> aj.eye(np.ones(1, "float32"), 2)
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """


@primitive
def asarray(like: Array, /, values: Any, dtype: Any = None) -> Array:
    """NumPy values (or a list of numbers) moved beside `like`, in their own dtype unless one is given.

    >>> import numpy as np, adjoint as aj
    >>> aj.asarray(np.ones(1, "float32"), [1.0, 2.0], "float32")
    array([1., 2.], dtype=float32)
    """


@composition
def zeros_like(x: Array, /) -> Array:
    """Zeros of x's shape and dtype.

    >>> import numpy as np, adjoint as aj
    >>> aj.zeros_like(np.ones((2, 2))).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    return zeros(x, x.shape)


@composition
def ones_like(x: Array, /) -> Array:
    """Ones of x's shape and dtype.

    >>> import numpy as np, adjoint as aj
    >>> aj.ones_like(np.zeros((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return full(x, x.shape, 1.0)


@composition
def own(x: Array, /) -> Array:
    """x where it can be written to without changing another array of itself, else a copy (of a broadcast view, say)."""
    return x


@composition
def owner(x: Array, /) -> int:
    """Whose memory x is: what is written to an array can change those of the same number, and no others."""
    return id(x)


# Keeping arrays whole while a tape refers to them


@primitive
def hold(x: Array, /) -> Any:
    """Guard x against changes in place; the mark for `verify` and `release`, None where x cannot change.

    NumPy's arrays and their bases become read-only (the mark lists them); PyTorch's version is noted (an integer).
    """


@primitive
def verify(x: Array, /, mark: Any) -> None:
    """Raise `InPlaceError` where x was changed since it was held."""


@primitive
def release(x: Array, /, mark: Any) -> None:
    """End the guard."""
