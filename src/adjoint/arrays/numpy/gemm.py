"""matmul on NumPy, where MKL is at hand: its products of two matrices, shared by a crew.

Each thread of the crew has rows of the weight to itself, the columns of x Wᵀ and the rows of gᵀ x: in its core's cache
it finds them again at the next step. A thread that has a core to itself multiplies alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from numpy import dtype, empty, ndarray
from numpy import matmul as numpys

from adjoint.arrays.numpy import mkl, threads

ALONE = 1 << 15  # multiply-adds from which a thread with a core to itself is repaid the way to MKL
QUIET = 1 << 18  # from which NumPy's BLAS would wake its threads, which take the cores from a crew's
SHARED = 1 << 20  # from which a crew is repaid
FLOAT, DOUBLE = dtype("float32"), dtype("float64")
NO_BIAS = {kind: empty(0, kind) for kind in (FLOAT, DOUBLE)}
own = threads.own


def by_mkl(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias of NumPy arrays, the product MKL's where that is faster."""
    kind = x.dtype
    if x.ndim == 2 and y.ndim == 2 and kind is y.dtype and (kind is FLOAT or kind is DOUBLE):
        (n, k), (inner, m) = x.shape, y.shape
        size, alone = n * k * m, own.share
        large = size >= (ALONE if alone else QUIET) and (alone or size < SHARED or threads.blas() is not None)
        if large and k == inner and type(x) is type(y) is ndarray and x.flags.aligned and y.flags.aligned:
            parts = 1 if alone or size < SHARED else threads.at_hand()
            out = empty((n, m), kind)
            row = NO_BIAS[kind]
            if type(bias) is ndarray and bias.dtype is kind and bias.shape == (m,):
                row = bias if bias.flags.c_contiguous and bias.flags.aligned else row
            if way(parts, kind)(x, y, row, out):
                return out if row is bias or bias is None else plus(out, bias)
    elif x.size >= QUIET:
        threads.rest()
    return plain(x, y, bias)


def plain(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias by NumPy's BLAS."""
    out = numpys(x, y)
    return out if bias is None else plus(out, bias)


def plus(out: Any, bias: Any) -> Any:
    """out + bias, in out's memory where it has the sum's dtype."""
    if out.dtype != bias.dtype:
        return out + bias
    out += bias
    return out


@functools.cache
def way(parts: int, kind: Any) -> Callable[[Any, Any, Any, Any], bool]:
    """How so many threads make out = x @ y + bias; tells whether they did: not in a layout that BLAS does not take."""
    from adjoint.arrays.numpy.crew import crew
    from adjoint.arrays.numpy.gemm_kernels import multiply, part_of_product

    place = mkl.place("cblas_sgemm" if kind is FLOAT else "cblas_dgemm")
    return functools.partial(crew(parts).do, multiply, part_of_product.address, place)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=way.cache_clear)  # a forked process has none of its parent's threads

matmul = numpys if mkl.path is None else by_mkl
affine = plain if mkl.path is None else by_mkl
