"""Which shapes and indices fit the functions of layout, and what to say where they do not."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Shape
from adjoint.arrays.shapes.rules import axis_in, axis_remedy, broadcast, count_of
from adjoint.errors import DtypeError, ShapeError


def reshape(shape: Shape, target: Any) -> Shape:
    """The target with -1 filled in.

    >>> reshape((2, 3, 4), (6, -1))
    (6, 4)
    """
    new = tuple([operator.index(n) for n in target]) if isinstance(target, (tuple, list)) else (operator.index(target),)
    size, known = math.prod(shape), math.prod([n for n in new if n != -1])
    if new.count(-1) > 1 or any(n < -1 for n in new):
        raise ShapeError(f"reshape: {shape} to {new}: one size may be -1, the others must not be negative.")
    if -1 in new and known and size % known == 0:
        return tuple([size // known if n == -1 else n for n in new])
    if -1 in new or size != known:
        entries = f"the {count_of(size, 'entry', 'entries')} of {shape} do not fit {new}"
        reason = f"{size} is not divisible by {known}" if -1 in new and known else f"it takes {known}"
        remedy = ""
        if -1 not in new and known and size % known == 0:
            remedy = f" Keep the batch axis: {(-1, *new)} gives {(size // known, *new)}."
        raise ShapeError(f"reshape: {entries}: {reason}.{remedy}")
    return new


def permute(shape: Shape, axes: Any) -> tuple[int, ...]:
    """The axes counted from the front, every one once."""
    order = tuple([operator.index(a) for a in axes])
    if sorted([a % len(shape) if -len(shape) <= a < len(shape) else -1 for a in order]) != list(range(len(shape))):
        raise ShapeError(
            f"permute: axes {order} are no permutation of the {count_of(len(shape), 'axis', 'axes')} of {shape}: "
            f"every one of {tuple(range(len(shape)))} must occur once."
        )
    return tuple([a % len(shape) for a in order])


def concatenate(shapes: Sequence[Shape], axis: Any) -> Shape:
    """Sizes add along the axis and are equal elsewhere."""
    if not shapes:
        raise ShapeError("concatenate: no arrays; give one at least.")
    first = shapes[0]
    if () in shapes:
        raise ShapeError(
            f"concatenate: array {shapes.index(())} is a scalar, which has no axis to join along: use stack."
        )
    along = axis_in("concatenate", axis, first)
    for i, shape in enumerate(shapes):
        if len(shape) != len(first):
            small, large = sorted((first, shape), key=len)
            raise ShapeError(
                f"concatenate: {first} and {shape} (array {i}) have {len(first)} and {len(shape)} axes; all need the "
                f"same number.{axis_remedy(small, large, f'array_{i if small == shape else 0}', True)}"
            )
        for a, (m, n) in enumerate(zip(first, shape, strict=True)):
            if a != along and m != n:
                alone = all(b == a or first[b] == shape[b] for b in range(len(first)))
                raise ShapeError(
                    f"concatenate: {first} and {shape} (array {i}) differ on axis {a}, {m} against {n}; only axis "
                    f"{along}, along which they are joined, may differ.{f' Join along axis {a}.' if alone else ''}"
                )
    return (*first[:along], sum(shape[along] for shape in shapes), *first[along + 1 :])


def stack(shapes: Sequence[Shape], axis: Any) -> None:
    """Raise unless all arrays have one shape."""
    if not shapes:
        raise ShapeError("stack: no arrays; give one at least.")
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ShapeError(
                f"stack: array 0 is {shapes[0]} and array {i} is {shape}; all must have one shape, as stack adds a new "
                "axis. To join along an existing one use concatenate."
            )
    axis_in("stack", axis, shapes[0], len(shapes[0]) + 1)


def split(shape: Shape, sections: Any, axis: Any) -> None:
    """Raise unless the axis divides into `sections` equal parts."""
    n = shape[axis_in("split", axis, shape)]
    if isinstance(sections, int) and (sections < 1 or n % sections):
        raise ShapeError(
            f"split: axis {axis} of {shape} has size {n}, which does not divide into {sections} equal parts: give the "
            "positions to cut at instead."
        )


def pad(shape: Shape, width: Any) -> Shape:
    """Sizes with what is added before and after."""
    pairs = [tuple(pair) if isinstance(pair, (tuple, list)) else (pair,) for pair in width]
    if len(pairs) != len(shape) or any(len(pair) != 2 for pair in pairs):
        raise ShapeError(
            f"pad: width {width} for {shape}: give one (before, after) for each of its "
            f"{count_of(len(shape), 'axis', 'axes')}."
        )
    if any(n < 0 for pair in pairs for n in pair):
        raise ShapeError(f"pad: width {width} has negative entries: to remove entries slice, x[1:-1].")
    return tuple([before + n + after for n, (before, after) in zip(shape, pairs, strict=True)])


def matrices(name: str, shape: Shape) -> None:
    """Raise unless there are two axes at least."""
    if len(shape) < 2:
        raise ShapeError(f"{name}: {shape} is no matrix: two axes are needed at least.")


# Indexing


def integers(name: str, dtype: np.dtype[Any]) -> None:
    """Raise unless the dtype serves for indices."""
    if dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices are {dtype.name}; integers are needed, cast them to int64.")


def index_in(name: str, index: int, shape: Shape, axis: int) -> None:
    """Raise unless the index is within the axis."""
    n = shape[axis]
    if not -n <= index < n:
        remedy = f"use {-n} to {n - 1}" if n else "it is empty"
        raise ShapeError(f"{name}: index {index} is out of bounds for axis {axis} of {shape}, of size {n}: {remedy}.")


def bad_key(shape: Shape, parts: tuple[Any, ...], error: Exception) -> Exception:
    """What is wrong with x[parts], after NumPy refused it."""
    used = [0 if part is None or part is ... else _axes_taken(part) for part in parts]
    if sum(used) > len(shape):
        return ShapeError(
            f"getitem: {count_of(sum(used), 'index', 'indices')} for {shape}, which has "
            f"{count_of(len(shape), 'axis', 'axes')}: leave some out, or add axes with None."
        )
    for i, part in enumerate(parts):
        if isinstance(part, (int, np.integer)):
            after_ellipsis = any(p is ... for p in parts[:i])
            try:
                index_in("getitem", int(part), shape, len(shape) - sum(used[i:]) if after_ellipsis else sum(used[:i]))
            except ShapeError as clear:
                return clear
        elif not isinstance(part, slice) and np.dtype(getattr(part, "dtype", type(part))).kind not in "iubO":
            return DtypeError(f"getitem: {getattr(part, 'dtype', part)} is no index; use integers, slices or masks.")
    return ShapeError(f"getitem: {shape}: {error}.")


def _axes_taken(part: Any) -> int:
    """A mask takes as many axes as it has, other indices one."""
    return part.ndim if getattr(part, "dtype", None) == np.bool_ else 1


def along(name: str, shape: Shape, indices: Shape, axis: Any) -> Shape:
    """The shape of entries picked along an axis by indices with as many axes."""
    a = axis_in(name, axis, shape)
    picked_from = (*shape[:a], 1, *shape[a + 1 :])
    if len(shape) != len(indices):
        raise ShapeError(
            f"{name}: {shape} and indices {indices}: both need the same number of axes, {len(shape)} against "
            f"{len(indices)}.{axis_remedy(indices, picked_from, 'indices', True)}"
        )
    rest = broadcast(name, picked_from, (*indices[:a], 1, *indices[a + 1 :]))
    return (*rest[:a], indices[a], *rest[a + 1 :])


def segment_sum(u: Shape, indices: Shape) -> None:
    """Raise unless there is one index for each row."""
    if len(u) not in (1, 2) or len(indices) != 1 or u[0] != indices[0]:
        raise ShapeError(
            f"segment_sum: rows {u} with indices {indices}: u is (n, d) and there is one index a row, shape (n,); "
            "flatten the indices and join u's leading axes."
        )
