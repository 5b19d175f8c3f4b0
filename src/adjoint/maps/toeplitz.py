"""A convolution's matrix: one Toeplitz matrix for every pair of channels, blocked for every further dimension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.maps.convolution import Convolution
from adjoint.maps.flat import to_numpy


def toeplitz(A: Convolution) -> Any:
    """The sparse matrix of shape A.shape, entries in the weight's dtype."""
    from scipy.sparse import coo_array

    weight, sizes, positions = to_numpy(A.weight), A.in_shape[1:], A.out_shape[1:]
    out, per, *kernel = weight.shape
    seen, inside = places(A)
    share = np.arange(out) // (out // A.groups) if out else np.arange(0)
    channel = share[:, None] * per + np.arange(per)
    columns = channel[:, :, None, None] * math.prod(sizes) + seen
    rows = np.arange(out)[:, None, None, None] * math.prod(positions) + np.arange(math.prod(positions))
    values = weight.reshape(out, per, math.prod(kernel), 1)
    shape = (out, per, *seen.shape)
    there = np.broadcast_to(inside, shape)
    entries = tuple(np.broadcast_to(x, shape)[there] for x in (values, rows, columns))
    return coo_array((entries[0], entries[1:]), A.shape).tocsr()


def places(A: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Where each entry of the kernel looks from each position, (∏kernel, positions); whether that is in the input."""
    kernel, positions = A.kernel_size, A.out_shape[1:]
    seen, inside = np.zeros((*kernel, *positions), int), np.ones((*kernel, *positions), bool)
    axes = zip(A.in_shape[1:], A.window.stride, A.window.padding, A.window.dilation, strict=True)
    for a, (size, stride, (before, _), dilation) in enumerate(axes):
        place = np.arange(positions[a]) * stride + dilation * np.arange(kernel[a])[:, None] - before
        place = place.reshape([*(m if i == a else 1 for i, m in enumerate(kernel)),
                               *(m if i == a else 1 for i, m in enumerate(positions))])  # fmt: skip
        inside &= (place >= 0) & (place < size)
        seen = seen * size + place
    shape = (math.prod(kernel), math.prod(positions))
    return seen.reshape(shape), inside.reshape(shape)
