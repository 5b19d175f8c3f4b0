"""Random numbers in NumPy: the hash in place over whole arrays, in one compiled pass over large ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import random
from adjoint.arrays.random import MULTIPLIERS, inverse, threshold

LARGE = 1 << 14  # words from which the Numba kernels repay their loading
FIRST, SECOND = np.uint32(MULTIPLIERS[0]), np.uint32(MULTIPLIERS[1])


def mix(h: Any, spare: Any) -> None:
    """The hash, in place."""
    for shift, multiplier in ((16, FIRST), (15, SECOND), (16, None)):
        np.right_shift(h, shift, out=spare)
        np.bitwise_xor(h, spare, out=h)
        if multiplier is not None:
            np.multiply(h, multiplier, out=h)


def random_bits(key: Any, shape: tuple[int, ...], count: int = 32, start: int = 0) -> Any:
    n = math.prod(shape)
    if n >= LARGE:
        from adjoint.arrays.numpy.random_kernels import words

        h = words(key, n, int(start))
    else:
        h = np.arange(start, start + n).astype(np.uint32)
        spare = np.empty_like(h)
        for word in key.astype(np.uint32):
            np.bitwise_xor(h, word, out=h)
            mix(h, spare)
    if count < 32:
        np.right_shift(h, 32 - count, out=h)
    return h.reshape(shape)


def random_mask(key: Any, shape: tuple[int, ...], p: float, dtype: Any) -> Any:
    dtype = np.dtype(dtype)
    if math.prod(shape) < LARGE or dtype.char not in "fd":
        composed = random.random_mask.table.composed  # type: ignore[attr-defined]
        return composed(key, shape, p, dtype).astype(dtype, copy=False)
    from adjoint.arrays.numpy.random_kernels import mask

    return mask(key, shape, threshold(p), dtype.type(inverse(p)))
