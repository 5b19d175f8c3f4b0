"""A Numba kernel of products with few columns inside, added to what is there: where BLAS would write a second array."""

from __future__ import annotations

from adjoint.arrays.numpy.compiling import kernel


@kernel
def grow(y, x, w, bias):  # type: ignore[no-untyped-def]
    """y += x w + bias row by row, eight rows of w at a time; an empty bias is none."""
    n, m = y.shape
    width = x.shape[1]
    eights = width // 8 * 8
    for i in range(n):
        row, c = y[i], x[i]
        for j in range(bias.size):
            row[j] += bias[j]
        for k in range(0, eights, 8):
            c0, c1, c2, c3, c4, c5, c6, c7 = c[k], c[k + 1], c[k + 2], c[k + 3], c[k + 4], c[k + 5], c[k + 6], c[k + 7]
            w0, w1, w2, w3, w4, w5, w6, w7 = w[k], w[k + 1], w[k + 2], w[k + 3], w[k + 4], w[k + 5], w[k + 6], w[k + 7]
            for j in range(m):
                total = row[j] + c0 * w0[j] + c1 * w1[j] + c2 * w2[j] + c3 * w3[j]
                row[j] = total + c4 * w4[j] + c5 * w5[j] + c6 * w6[j] + c7 * w7[j]
        for k in range(eights, width):
            c0, w0 = c[k], w[k]
            for j in range(m):
                row[j] += c0 * w0[j]
