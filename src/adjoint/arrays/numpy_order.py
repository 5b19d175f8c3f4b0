"""NumPy's functions that sort and that look through windows, by their names, in the seam's functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.numpy_names import Entry, flat, many
from adjoint.arrays.torch_layout import sliding
from adjoint.errors import ShapeError


def sort(x: Array, axis: int | None = -1) -> Array:
    """The entries along an axis in order; x as one axis where none is named."""
    x, axis = flat(x, axis)
    return xp.take_along(x, xp.sort_order(x, axis), axis)


def median(x: Array, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The middle one of the entries in order, the mean of the middle two where their number is even."""
    lines, along = flat(x, axis)
    n = lines.shape[along]
    middle = xp.mean(xp.take(sort(lines, along), np.array([(n - 1) // 2, n // 2]), along), along)
    if not keepdims:
        return middle
    return xp.reshape(middle, (1,) * len(x.shape)) if axis is None else xp.expand_dims(middle, along)


def sliding_window_view(x: Array, window_shape: Any, axis: Any = None) -> Array:
    """The places of windows along axes, in their stead, and the windows' own axes last."""
    sizes, n = many(window_shape), len(x.shape)
    axes = tuple(xp.positive("sliding_window_view", a, n) for a in (range(n) if axis is None else many(axis)))
    if len(sizes) != len(axes):
        raise ShapeError(f"sliding_window_view: a window {sizes} has not the {len(axes)} axes {axes} of {x.shape}.")
    for a, size in zip(axes, sizes, strict=True):
        if not 0 <= size <= x.shape[a]:
            raise ShapeError(f"sliding_window_view: axis {a} of {x.shape} is too short for a window of {size}.")
        x = sliding(x, a, size, 1)
    return x


ORDER: dict[str, Entry] = {
    "sort": lambda a, axis=-1: sort(a, axis),
    "argsort": lambda a, axis=-1: xp.sort_order(*flat(a, axis)),
    "median": lambda a, axis=None, *, keepdims=False: median(a, axis, keepdims=keepdims),
    "lib.stride_tricks.sliding_window_view": sliding_window_view,
}
