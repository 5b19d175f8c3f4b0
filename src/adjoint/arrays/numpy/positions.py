"""Rotations in NumPy: written where they belong, without joining parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays.positions import halves


def rotate(x: Any, angles: Any, interleaved: bool = False) -> Any:
    c, s = np.cos(angles).astype(x.dtype, copy=False), np.sin(angles).astype(x.dtype, copy=False)
    first, second = halves(x.shape[-1], interleaved)
    a, b, out = x[first], x[second], np.empty(x.shape, x.dtype)
    np.subtract(a * c, b * s, out=out[first])
    np.add(a * s, b * c, out=out[second])
    return out
