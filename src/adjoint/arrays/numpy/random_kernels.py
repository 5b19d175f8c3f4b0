"""Numba kernels of the random hash: a word costs less than its way to memory. Loaded when first needed."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from adjoint.arrays.numpy.compiling import kernel
from adjoint.arrays.numpy.random import FIRST, SECOND

u32 = np.uint32
A, B = u32(16), u32(15)


@numba.njit(inline="always")
def word(i, a, b):  # type: ignore[no-untyped-def]
    h = u32(i) ^ a
    h = u32((h ^ (h >> A)) * FIRST)
    h = u32((h ^ (h >> B)) * SECOND)
    h = u32(h ^ (h >> A)) ^ b
    h = u32((h ^ (h >> A)) * FIRST)
    h = u32((h ^ (h >> B)) * SECOND)
    return u32(h ^ (h >> A))


@kernel
def _words(out, a, b, start):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = word(u32(i) + start, a, b)


@kernel
def _mask(out, a, b, limit, scale, zero):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = scale if word(u32(i), a, b) >= limit else zero


def words(key: Any, n: int, start: int) -> Any:
    """n words of the key's stream."""
    out = np.empty(n, np.uint32)
    _words(out, u32(key[0]), u32(key[1]), u32(start % 2**32))
    return out


def mask(key: Any, shape: tuple[int, ...], limit: int, scale: Any) -> Any:
    """`scale` where the word reaches the limit, else 0."""
    out = np.empty(shape, scale.dtype)
    _mask(out.reshape(-1), u32(key[0]), u32(key[1]), u32(limit), scale, scale.dtype.type(0))
    return out
