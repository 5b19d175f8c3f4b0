"""Sums of linear maps on NumPy, each added where the one before it has been written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import products
from adjoint.arrays.numpy.normalization import COMPILED, in_parts
from adjoint.arrays.numpy.updates import composed

NARROW = 16  # columns inside a product up to which the kernel beats BLAS


def linear_sum(x: Any, weight: Any, y: Any, other: Any, bias: Any = None) -> Any:
    z = products.linear(x, weight)
    if z.shape[:-1] != y.shape[:-1] or any(a is not None and a.dtype != z.dtype for a in (y, other, bias)):
        return composed(products.linear_sum)(x, weight, y, other, bias)
    return _grown(z, y, other, bias)


def linear_added(total: Any, x: Any, weight: Any) -> Any:
    if total.shape[:-1] != x.shape[:-1] or not total.dtype == x.dtype == weight.dtype or not total.flags.writeable:
        return composed(products.linear_added)(total, x, weight)
    return _grown(total, x, weight, None)


def _grown(z: Any, x: Any, weight: Any, bias: Any) -> Any:
    """z + x Wᵀ + b in z's memory."""
    m, inner = weight.shape
    fits = bias is None or bias.shape == (m,)
    fits = fits and z.size >= COMPILED and 0 < inner <= NARROW and z.dtype.char in "fd" and z.flags.c_contiguous
    if not (fits and x.size and type(z) is type(x) is np.ndarray):
        if bias is not None:
            z += bias
        z += products.linear(x, weight)
        return z
    from adjoint.arrays.numpy.sum_kernels import grow

    n, none = math.prod(z.shape[:-1]), np.empty(0, z.dtype)
    rows = (z.reshape(n, m), np.ascontiguousarray(x).reshape(n, inner))
    in_parts(grow, rows, np.ascontiguousarray(weight.T), none if bias is None else np.ascontiguousarray(bias))
    return z
