"""matmul on NumPy: products of two matrices by the tiles of AMX or by MKL, where they are at hand, shared by a crew.

Each thread of the crew has rows of the weight to itself, the columns of x Wᵀ and the rows of gᵀ x: in its core's cache
it finds them again at the next step. A thread that has a core to itself multiplies alone.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numpy import ascontiguousarray, dtype, empty, frombuffer, ndarray
from numpy import matmul as numpys

from adjoint.arrays.numpy import amx, mkl, threads

ALONE = 1 << 15  # multiply-adds from which a thread with a core to itself is repaid the way to MKL
TILED, LEAST = 1 << 21, (32, 64, 64)  # of a thread, and rows, sums and columns, from which tiles are repaid
QUIET = 1 << 18  # from which NumPy's BLAS would wake its threads, which take the cores from a crew's
SHARED = 1 << 20  # from which a crew is repaid
SLIM = 16  # columns of a gradient up to which BLAS makes its transpose faster
LARGE = 2 << 20  # bytes of a large page
FLOAT, DOUBLE = dtype("float32"), dtype("float64")
NO_BIAS = {kind: empty(0, kind) for kind in (FLOAT, DOUBLE)}
own = threads.own
Way = Callable[[Any, Any, Any, Any], bool]


def product(x: Any, y: Any, bias: Any = None) -> Any:
    """x @ y + bias of NumPy arrays, the product by the way that is fastest for its size."""
    kind = x.dtype
    if x.ndim == 2 and y.ndim == 2 and kind is y.dtype and (kind is FLOAT or kind is DOUBLE):
        (n, k), (inner, m) = x.shape, y.shape
        size, alone = n * k * m, own.share
        large = size >= (ALONE if alone else QUIET) and (alone or size < SHARED or threads.blas() is not None)
        if large and k == inner and type(x) is type(y) is ndarray and x.flags.aligned and y.flags.aligned:
            if m <= SLIM <= n // SLIM and bias is None and x.flags.f_contiguous:
                return ascontiguousarray(product(y.T, x.T).T)
            parts = 1 if alone or size < SHARED else threads.at_hand()
            fits = n >= LEAST[0] and k >= LEAST[1] and m >= LEAST[2]
            tiled = amx.here and kind is FLOAT and size >= TILED * parts and fits
            if tiled or mkl.path is not None:
                out = empty((n, m), kind)
                row = NO_BIAS[kind]
                if type(bias) is ndarray and bias.dtype is kind and bias.shape == (m,):
                    row = bias if bias.flags.c_contiguous and bias.flags.aligned else row
                for way in ways(parts, kind, tiled):
                    if way(x, y, row, out):
                        return out if row is bias or bias is None else plus(out, bias)
            threads.rest()
    elif x.ndim + y.ndim == 3 and min(x.ndim, y.ndim) == 1 and shares(x, y, bias):
        return product(*((x, y.reshape(-1, 1)) if y.ndim == 1 else (x.reshape(1, -1), y))).reshape(-1)
    elif x.size >= QUIET:
        threads.rest()
    return plain(x, y, bias)


def shares(x: Any, y: Any, bias: Any) -> bool:
    """Whether a large matrix times a vector is a crew's: its threads are awake where BLAS's own have to wake first."""
    large = max(x.size, y.size) >= SHARED and x.shape[-1] == y.shape[0] and type(x) is type(y) is ndarray
    return large and bias is None and mkl.path is not None and not own.share


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
def ways(parts: int, kind: Any, tiled: bool) -> tuple[Way, ...]:
    """How so many threads make out = x @ y + bias, the fastest first; each tells whether it did.

    None does in a layout that BLAS does not take, tiles do not where a number of the result is not finite.
    """
    from adjoint.arrays.numpy.crew import crew

    found: list[Way] = []
    if tiled:
        from adjoint.arrays.numpy.tiles import compiled_for

        if compiled_for():
            found.append(by_tiles(parts, crew(parts)))
    if mkl.path is not None:
        from adjoint.arrays.numpy.gemm_kernels import multiply, part_of_product

        place = mkl.place("cblas_sgemm" if kind is FLOAT else "cblas_dgemm")
        found.append(functools.partial(crew(parts).do, multiply, part_of_product.address, place))
    return tuple(found)


def by_tiles(parts: int, crew: Any) -> Way:
    """How a crew of so many threads makes out = x @ y + bias by tiles."""
    from adjoint.arrays.numpy.tile_kernels import FORM, multiply_in_tiles, tiles_of_product

    def way(x: Any, y: Any, bias: Any, out: Any) -> bool:
        return bool(do(multiply_in_tiles, job, FORM, room(parts), x, y, bias, out))

    do, job = crew.do, tiles_of_product.address
    return way


def room(parts: int) -> Any:
    """This thread's place for the panels of so many threads, in large pages: small ones collide in the second cache."""
    if own.room is None or own.parts < parts:
        from adjoint.arrays.numpy.tile_kernels import ROOM

        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # by default a forked process would write to the same memory
        pages = mmap.mmap(-1, (parts * ROOM // LARGE + 2) * LARGE, private)
        with suppress(OSError):  # where Linux has no large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
        whole = frombuffer(pages, "uint8")
        own.room, own.parts = whole[-whole.ctypes.data % LARGE :], parts
    return own.room


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ways.cache_clear)  # a forked process has none of its parent's threads

compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
faster = compiled and (amx.here or mkl.path is not None)
matmul, affine = (product, product) if faster else (numpys, plain)
