"""Sparse matrices of one axis by their rows: each output is a weighted sum of a few entries, its taps.

Average pooling, adaptive pooling and interpolation along an axis are such matrices, and so are their transposes; along
several axes a resampling is their Kronecker product.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from adjoint.arrays.pooling_windows import Windows
from adjoint.errors import ShapeError

NEAREST = ("nearest", "nearest-exact")
LINEAR = ("linear", "bilinear", "trilinear")


class Taps:
    """The matrix (n, size) whose row i has weights[i, t] at column indices[i, t]; at column `size` there is nothing.

    >>> import numpy as np
    >>> Taps(np.array([[0, 1], [2, 3]]), np.full((2, 2), 0.5), 3).matrix()
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0.5]])
    """

    def __init__(self, indices: Any, weights: Any, size: int) -> None:
        self.indices = np.asarray(indices, np.int32)
        self.weights = np.asarray(weights, np.float64)
        self.size = size
        self.count, self.width = self.indices.shape

    @functools.cached_property
    def padded(self) -> bool:
        """Whether a tap is missing somewhere."""
        return bool(np.any(self.indices == self.size))

    @functools.cached_property
    def selects(self) -> bool:
        """Whether every output is just one entry."""
        return self.width == 1 and bool(np.all(self.weights == 1.0))

    @functools.cached_property
    def keeps(self) -> bool:
        """Whether this is the identity."""
        return self.selects and self.count == self.size and bool(np.all(self.indices[:, 0] == np.arange(self.size)))

    @functools.cached_property
    def T(self) -> Taps:
        """The transposed matrix."""
        rows, places = np.nonzero(self.indices < self.size)
        columns = self.indices[rows, places]
        order = np.argsort(columns, kind="stable")
        many = np.bincount(columns, minlength=self.size)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(many) - many, many)
        indices = np.full((self.size, max(int(many.max(initial=1)), 1)), self.count)
        weights = np.zeros(indices.shape)
        indices[columns[order], rank] = rows[order]
        weights[columns[order], rank] = self.weights[rows, places][order]
        turned = Taps(indices, weights, self.count)
        turned.__dict__["T"] = self
        return turned

    def matrix(self) -> Any:
        """The matrix itself."""
        matrix = np.zeros((self.count, self.size + 1))
        np.add.at(matrix, (np.arange(self.count)[:, None], self.indices), self.weights)
        return matrix[:, : self.size]


@functools.lru_cache(4096)
def averaging(windows: Windows, count_include_pad: bool, divisor: float | None) -> Taps:
    """Means over windows; over their entries alone, or with the padding; or sums over a divisor."""
    start, stop = windows.spans
    entries = start[:, None] + np.arange(windows.kernel or int((stop - start).max(initial=1)))
    inside = (entries >= 0) & (entries < np.minimum(stop, windows.size)[:, None])
    if divisor is None:
        weights = 1.0 / (stop - start if count_include_pad else np.maximum(inside.sum(1), 1))
    else:
        weights = np.full(windows.count, 1.0 / divisor)
    return Taps(np.where(inside, entries, windows.size), inside * weights[:, None], windows.size)


@functools.lru_cache(4096)
def interpolating(mode: str, size: int, count: int, scale: float | None, corners: bool, antialias: bool) -> Taps:
    """`count` samples of an axis of `size` entries, by PyTorch's coordinates.

    `scale` is what the axis grows by, None for count / size; with `corners` the first and the last sample are the
    first and the last entry.
    """
    if size < 1 or count < 1:
        raise ShapeError(f"interpolate: {size} entries cannot be resampled to {count}: both must be positive.")
    if size == count and (antialias or mode in ("nearest", *LINEAR)):
        scale = None  # PyTorch copies an axis that keeps its size, whatever the scale
    step = 1.0 / scale if scale else size / count
    if corners:
        step = (size - 1) / (count - 1) if count > 1 else 0.0
    i = np.arange(count)
    if mode in NEAREST:
        at = np.floor(i * step if mode == "nearest" else (i + 0.5) * step)
        return Taps(np.minimum(at, size - 1)[:, None], np.ones((count, 1)), size)
    if antialias:
        return _antialiased(mode, size, count, step)
    at = i * step if corners else (i + 0.5) * step - 0.5
    if mode in LINEAR:
        at = np.maximum(at, 0.0)
        left = np.minimum(np.floor(at), size - 1)
        share = np.clip(at - left, 0.0, 1.0)
        return Taps(np.stack([left, np.minimum(left + 1, size - 1)], 1), np.stack([1.0 - share, share], 1), size)
    left = np.floor(at)
    indices = np.clip(left[:, None] + np.arange(-1, 3), 0, size - 1)
    return Taps(indices, _cubic((at - left)[:, None] - np.arange(-1, 3), -0.75), size)


def _cubic(t: Any, a: float) -> Any:
    """The cubic convolution kernel (Keys 1981)."""
    t = np.abs(t)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((t - 5.0) * t + 8.0) * t * a - 4.0 * a
    return np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))


def _antialiased(mode: str, size: int, count: int, step: float) -> Taps:
    """The kernel widened by the step where the axis shrinks, its weights of sum 1 inside the axis."""
    stretch = max(step, 1.0)
    support = stretch * (2.0 if mode == "bicubic" else 1.0)
    centre = step * (np.arange(count) + 0.5)
    first = np.maximum(np.floor(centre - support + 0.5), 0.0)
    last = np.minimum(np.floor(centre + support + 0.5), size)
    indices = first[:, None] + np.arange(math.ceil(support) * 2 + 1)
    t = (indices - centre[:, None] + 0.5) / stretch
    weights = _cubic(t, -0.5) if mode == "bicubic" else np.maximum(1.0 - np.abs(t), 0.0)
    inside = indices < last[:, None]
    weights = np.where(inside, weights, 0.0)
    return Taps(np.where(inside, indices, size), weights / weights.sum(1, keepdims=True), size)
