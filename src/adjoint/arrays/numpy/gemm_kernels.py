"""A matrix product in parts, each by a BLAS of one thread: a crew's job."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.np.numpy_support import carray

from adjoint.arrays.numpy.atoms import address, dgemm, doubles_at, floats_at, sgemm, words_at
from adjoint.arrays.numpy.compiling import OPTIONS, job, kept
from adjoint.arrays.numpy.crew import perform

PLAIN, TRANSPOSED = 111, 112  # CBLAS's own numbers
LONGEST = (1 << 31) - 1  # that MKL's whole numbers hold
FEW = 16  # rows or columns of a thread
SIZE, GEMM, N, M, K, LEFT, X, LDX, RIGHT, Y, LDY, OUT, LDO, BIAS, ARGS = range(15)


@numba.njit(error_model="numpy")
def add_to_rows(out, bias, n, m, apart):  # type: ignore[no-untyped-def]
    """out[i, :m] += bias for n rows that lie `apart`."""
    rows, one = carray(out, (n - 1) * apart + m), carray(bias, m)
    for i in range(n):
        row = rows[i * apart : i * apart + m]
        for j in range(m):
            row[j] += one[j]


@job
def part_of_product(args, part, parts):  # type: ignore[no-untyped-def]
    """Rows of the result where the left matrix is a transpose, else columns: where a weight's own rows are.

    The other way where those are few.
    """
    a = carray(words_at(args), ARGS)
    size, n, m, x, y, out, bias = a[SIZE], a[N], a[M], a[X], a[Y], a[OUT], a[BIAS]
    if n >= FEW * parts if a[LEFT] == TRANSPOSED else m < FEW * parts:
        start, stop = n * part // parts, n * (part + 1) // parts
        x += size * start * (1 if a[LEFT] == TRANSPOSED else a[LDX])
        n, out = stop - start, out + size * start * a[LDO]
    else:
        start, stop = m * part // parts, m * (part + 1) // parts
        y += size * start * (a[LDY] if a[RIGHT] == TRANSPOSED else 1)
        m, out, bias = stop - start, out + size * start, bias + size * start if bias else 0
    if not (n and m):
        return
    gemm = a[GEMM]
    if size == 4:
        sgemm(gemm, a[LEFT], a[RIGHT], n, m, a[K], x, a[LDX], y, a[LDY], out, a[LDO])
        if bias:
            add_to_rows(floats_at(out), floats_at(bias), n, m, a[LDO])
    else:
        dgemm(gemm, a[LEFT], a[RIGHT], n, m, a[K], x, a[LDX], y, a[LDY], out, a[LDO])
        if bias:
            add_to_rows(doubles_at(out), doubles_at(bias), n, m, a[LDO])


@numba.njit(inline="always")
def layout(x):  # type: ignore[no-untyped-def]
    """How CBLAS is told where a matrix's numbers lie; 0 where neither rows nor columns are in one piece."""
    (n, m), (down, along), size = x.shape, x.strides, x.itemsize
    if max(n, m, down // size, along // size) > LONGEST:
        return 0, 0
    if along == size and down >= m * size and down % size == 0:
        return PLAIN, down // size
    if down == size and along >= n * size and along % size == 0:
        return TRANSPOSED, along // size
    return 0, 0


def _signature(number: Any) -> Any:
    whole = numba.types.int64
    given = numba.types.Array(number, 2, "A", readonly=True)
    row = numba.types.Array(number, 1, "C", readonly=True)
    return numba.types.boolean(whole[::1], whole, whole, whole, given, given, row, number[:, ::1])


@kept(numba.njit, [_signature(numba.types.float32), _signature(numba.types.float64)], **OPTIONS)
def multiply(board, parts, function, gemm, x, y, bias, out):  # type: ignore[no-untyped-def]
    """out = x @ y + bias by the job, whether it could be: see `layout`; an empty bias is none."""
    a = np.empty(ARGS, np.int64)
    a[SIZE], a[GEMM], a[N], a[M], a[K] = out.itemsize, gemm, x.shape[0], y.shape[1], x.shape[1]
    a[LEFT], a[LDX] = layout(x)
    a[RIGHT], a[LDY] = layout(y)
    if not (a[LEFT] and a[RIGHT]):
        return False
    a[X], a[Y], a[OUT], a[LDO] = address(x), address(y), address(out), out.shape[1]
    a[BIAS] = address(bias) if bias.size else 0
    perform(board, parts, function, a)  # who is called keeps nothing: `a` is to live until all have read it
    return True
