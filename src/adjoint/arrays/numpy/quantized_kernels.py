"""Numba kernels that find the codes of a block of entries, and that unpack a panel of them."""

from __future__ import annotations

import numpy as np

from adjoint.arrays.numpy.kernels import kernel

LEAST = np.float32(1e-38)  # below it a scale's inverse would be infinite; bitsandbytes' own


@kernel
def levels4(x, block, bounds, order, codes, absmax):  # type: ignore[no-untyped-def]
    """The code of the nearest of 16 levels for each entry over the largest of its block, and these largest ones."""
    one = np.float32(1.0)
    for b in range(absmax.size):
        start, stop = b * block, min((b + 1) * block, x.size)
        top = np.float32(0.0)
        for i in range(start, stop):
            top = max(top, abs(x[i]))
        partial = stop - start < block
        held = max(top, LEAST)
        absmax[b] = held if partial else top
        inverse = one / held
        for i in range(start, stop):
            v = x[i] / held if partial else x[i] * inverse
            v = min(max(v, -one), one)
            c = 8 if v > bounds[7] else 0
            c += 4 if v > bounds[c + 3] else 0
            c += 2 if v > bounds[c + 1] else 0
            c += 1 if v > bounds[c] else 0
            codes[i] = order[c]


@kernel
def levels8(x, block, table, codes, absmax):  # type: ignore[no-untyped-def]
    """The codes of `levels4` from a table of 65,536 for [-1, 1], and the largest entries."""
    one, half, last = np.float32(1.0), np.float32(0.5), np.float32(65535.0)
    for b in range(absmax.size):
        start, stop = b * block, min((b + 1) * block, x.size)
        top = np.float32(0.0)
        for i in range(start, stop):
            top = max(top, abs(x[i]))
        absmax[b] = top
        inverse = one / top
        for i in range(start, stop):
            v = x[i] * inverse
            v = -one if np.isnan(v) else min(max(v, -one), one)
            codes[i] = table[int((v + one) * half * last + half)]


@kernel
def affine(x, width, block, most, codes, scale, zeros):  # type: ignore[no-untyped-def]
    """Codes 0 to `most` of lines of x between the least and the largest entry of each block, and of 0."""
    each = -(-width // block)
    for b in range(scale.size):
        start = b // each * width + b % each * block
        stop = min(start + block, (b // each + 1) * width)
        low = high = np.float32(0.0)
        for i in range(start, stop):
            low, high = min(low, x[i]), max(high, x[i])
        s = np.float32((np.float64(high) - np.float64(low)) / most)
        if s == 0.0:
            s = np.float32(1.0)
        zero = min(np.rint(-low / s), np.float32(most))
        scale[b], zeros[b] = s, np.uint8(zero)
        for i in range(start, stop):
            codes[i] = np.uint8(min(max(np.rint(x[i] / s) + zero, np.float32(0.0)), np.float32(most)))


@kernel
def unpack4(codes, levels, zeros, scale, width, block, start, pitch, out):  # type: ignore[no-untyped-def]
    """Rows of entries, (levels[code] - zero) · scale: row r from start + r · pitch on; two codes to a byte."""
    each = -(-width // block)
    values = np.empty(16, np.float32)
    for r in range(out.shape[0]):
        row = out[r]
        first = start + r * pitch
        i, stop = first, first + row.size
        while i < stop:
            line = i // width
            b = (i - line * width) // block
            end = min(line * width + min((b + 1) * block, width), stop)
            for c in range(16):
                values[c] = (levels[c] - zeros[line * each + b]) * scale[line * each + b]
            if i % 2:
                row[i - first] = values[codes[i // 2] & 15]
                i += 1
            for k in range(i // 2, end // 2):
                row[2 * k - first] = values[codes[k] >> 4]
                row[2 * k + 1 - first] = values[codes[k] & 15]
            if end % 2 and end > i:
                row[end - 1 - first] = values[codes[end // 2] >> 4]
            i = end


@kernel
def unpack8(codes, levels, zeros, scale, width, block, start, pitch, out):  # type: ignore[no-untyped-def]
    """`unpack4` of codes of a byte each."""
    each = -(-width // block)
    for r in range(out.shape[0]):
        row = out[r]
        first = start + r * pitch
        i, stop = first, first + row.size
        while i < stop:
            line = i // width
            b = (i - line * width) // block
            end = min(line * width + min((b + 1) * block, width), stop)
            zero, s = zeros[line * each + b], scale[line * each + b]
            for j in range(i, end):
                row[j - first] = (levels[codes[j]] - zero) * s
            i = end
